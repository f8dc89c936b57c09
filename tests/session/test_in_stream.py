"""In-stream replies in a session on virtual time: the events that subscribers get."""

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.gateway.attempts import Target
from pipeline.gateway.call_log import CallLog
from pipeline.gateway.in_stream import InStreamConfig, InStreamGateway
from pipeline.gateway.retry import RetryPolicy
from pipeline.interfaces.stt import InStreamReply, StreamLost, StreamOpened, StreamResumed
from pipeline.protocol.commands import SessionUpdateCommand, TurnCreateCommand
from pipeline.protocol.events import Engine
from pipeline.session.in_stream import InStreamSetup
from tests.conftest import VirtualTimeLoop
from tests.support.session_fixture import Stage, turn

OTHER = Engine(name="assemblyai", url="https://llm", model="m")


def stage(*, fallbacks: bool = True, **prompt: Any) -> Stage:
    """Answers in-stream, or within 3 s of a gateway that is asked after 5 s."""

    def order(made: Stage) -> InStreamSetup:
        targets = [Target(made.gateway, "other")] if fallbacks else []
        means = InStreamConfig(targets, RetryPolicy(), CallLog(), 5.0)
        return InStreamSetup(partial(InStreamGateway, means), OTHER if fallbacks else None)

    return Stage(in_stream=order, policy="parallel", history=0, **prompt)


def reply(order: int, text: str, **more: Any) -> InStreamReply:
    """An answer as AssemblyAI's reference shows it."""
    message = {"role": "assistant", "content": text}
    body: dict[str, Any] = {
        "request_id": f"q{order}",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"input_tokens": 31, "output_tokens": 7, "total_tokens": 38},
        **more,
    }
    return InStreamReply(order, msgspec.json.encode(body))


async def test_an_answer_becomes_the_events_of_any_other() -> None:
    # 0 s: end of turn 1.  0.7 s: its answer.
    staged = stage()
    async with staged.open() as session:
        staged.speech.hear(turn(0, "Hello there."))
        await anyio.sleep(0.7)
        staged.speech.hear(reply(0, "Hello to you."))
        await session.finish()
    assert staged.types() == [
        "session.created",
        "turn.completed",
        "response.created",
        "response.output_text.delta",
        "response.done",
        "session.ended",
    ]
    (done,) = staged.said("response.done")
    assert (done["status"], done["text"]) == ("completed", "Hello to you.")
    assert done["usage"] == {"input_tokens": 31, "output_tokens": 7, "estimated": False}
    assert done["request"]["id"] == "q0"
    assert done["times"]["time_to_first_token"] == pytest.approx(700)
    assert staged.gateway.requests == []


async def test_the_session_does_not_end_before_the_last_answer_is_there() -> None:
    staged = stage()
    async with staged.open() as session, anyio.create_task_group() as tasks:
        staged.speech.hear(turn(0, "Hello there."))
        tasks.start_soon(session.finish)
        await anyio.sleep(2)
        assert not staged.speech.finishing
        staged.speech.hear(reply(0, "Hello to you."))
    assert staged.said("response.done")[0]["text"] == "Hello to you."


async def test_an_open_turn_is_ended_first_so_that_it_is_answered() -> None:
    staged = stage()
    async with staged.open() as session, anyio.create_task_group() as tasks:
        staged.speech.hear(msgspec.structs.replace(turn(0, "Hello"), ended=False))
        tasks.start_soon(session.finish)
        await anyio.sleep(1)
        assert staged.speech.forced == 1
        staged.speech.hear(turn(0, "Hello there."))
        staged.speech.hear(reply(0, "Hello to you."))
    assert staged.said("response.done")[0]["text"] == "Hello to you."
    assert staged.gateway.requests == []


async def test_the_first_words_of_a_last_turn_are_waited_for_too() -> None:
    staged = stage()
    async with staged.open() as session, anyio.create_task_group() as tasks:
        tasks.start_soon(session.finish)
        await anyio.sleep(0.9)
        staged.speech.hear(msgspec.structs.replace(turn(0, "Hello"), ended=False))
        await anyio.sleep(0.1)
        assert staged.speech.forced == 1
        staged.speech.hear(turn(0, "Hello there."))
        staged.speech.hear(reply(0, "Hello to you."))
    assert staged.said("response.done")[0]["text"] == "Hello to you."


async def test_answers_may_come_out_of_order_and_before_the_end_of_their_turn() -> None:
    staged = stage()
    async with staged.open() as session:
        staged.speech.hear(turn(0, "One."))
        staged.speech.hear(msgspec.structs.replace(turn(1, "Two"), ended=False))
        staged.speech.hear(reply(1, "TWO"))
        staged.speech.hear(turn(1, "Two."))
        await anyio.sleep(1)
        staged.speech.hear(reply(0, "ONE"))
        await session.finish()
    created = {e["response_id"]: e["turns"] for e in staged.said("response.created")}
    answers = [(created[e["response_id"]], e["text"]) for e in staged.said("response.done")]
    assert answers == [([2], "TWO"), ([1], "ONE")]


async def test_silence_is_noticed_said_and_made_up_for() -> None:
    # 0 s: end of turn 1.  5 s: no answer, so the other gateway is asked; it needs 4 s.
    staged = stage()
    async with staged.open() as session:
        staged.speech.hear(turn(0, "Hello there."))
        await anyio.sleep(10)
        staged.speech.hear(turn(1, "Still there?"))
        await session.finish()
    assert [done["text"] for done in staged.said("response.done")] == ["One two.", "One two."]
    first, second = (done["times"] for done in staged.said("response.done"))
    assert first["time_to_first_token"] == pytest.approx(5000 + 2000)
    assert second["time_to_first_token"] == pytest.approx(2000)
    (error,), (updated,) = staged.said("error"), staged.said("session.updated")
    assert error["error"]["type"] == "in_stream"
    assert "no access to LLM Gateway" in error["error"]["message"]
    assert error["error"]["message"].endswith("; from here on requests go to https://llm")
    assert updated["llm"] == {"name": "assemblyai", "url": "https://llm", "model": "m"}


async def test_without_a_fallback_the_answer_fails_and_the_next_one_is_expected() -> None:
    staged = stage(fallbacks=False)
    async with staged.open() as session:
        staged.speech.hear(turn(0, "Hello there."))
        await anyio.sleep(6)
        staged.speech.hear(turn(1, "Still there?"))
        staged.speech.hear(reply(1, "Yes."))
        await session.finish()
    first, second = staged.said("response.done")
    assert (first["status"], second["text"]) == ("failed", "Yes.")
    assert "within 5 s (llm.in_stream_after)" in first["error"]["message"]
    assert staged.said("session.updated") == []


async def test_an_answer_that_comes_too_late_is_not_given_as_well() -> None:
    staged = stage()
    async with staged.open() as session:
        staged.speech.hear(turn(0, "Hello there."))
        await anyio.sleep(6)
        staged.speech.hear(reply(0, "Hello to you."))
        await session.finish()
    assert [done["text"] for done in staged.said("response.done")] == ["One two."]
    assert "a larger llm.in_stream_after" in staged.said("error")[-1]["error"]["message"]


async def test_what_was_due_on_a_lost_connection_is_not_waited_for() -> None:
    staged = stage()
    async with staged.open() as session:
        staged.speech.hear(turn(0, "Hello there."))
        await anyio.sleep(1)
        staged.speech.hear(StreamLost("reset"))
        staged.speech.hear(StreamResumed(0.5))
        staged.speech.hear(StreamOpened("2", 0.5))
        staged.speech.hear(reply(0, "For another turn, whose number is 0 again."))
        await session.finish()
    assert staged.said("response.done")[0]["text"] == "One two."
    assert staged.said("response.done")[0]["times"]["time_to_first_token"] == pytest.approx(3000)
    assert staged.said("error") == []


async def test_a_formatted_copy_of_a_turn_brings_no_second_answer() -> None:
    staged = stage()
    async with staged.open() as session:
        staged.speech.hear(turn(0, "hello there"))
        staged.speech.hear(turn(0, "Hello there."))
        staged.speech.hear(reply(0, "Hello to you."))
        await session.finish()
    assert [done["text"] for done in staged.said("response.done")] == ["Hello to you."]
    assert staged.gateway.requests == []


async def test_a_turn_that_was_typed_is_not_waited_for_either() -> None:
    staged = stage()
    async with staged.open() as session:
        await session.command(TurnCreateCommand(text="Hello there."))
        await session.finish()
    assert staged.said("response.done")[0]["times"]["time_to_first_token"] == pytest.approx(2000)


async def test_variables_went_along_with_the_order() -> None:
    staged = stage()
    async with staged.open() as session:
        with pytest.raises(InputError, match="vars cannot change in-stream"):
            await session.command(SessionUpdateCommand(vars={"tone": "kind"}))
        await session.finish()


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"choices": []}, "completed"),  # nothing in it: the fallback gets the request
        ({"choices": None, "usage": None, "message": "overloaded", "code": 503}, "completed"),
        ({"choices": None, "usage": None, "message": "no such model", "code": 400}, "completed"),
        ({"choices": None, "usage": None, "message": "invalid field", "code": 400}, "failed"),
    ],
    ids=["empty", "overloaded", "refused", "malformed"],
)
async def test_an_answer_that_is_an_error(more: dict[str, Any], status: str) -> None:
    staged = stage()
    async with staged.open() as session:
        staged.speech.hear(turn(0, "Hello there."))
        staged.speech.hear(reply(0, "", **more))
        await session.finish()
    assert staged.said("response.done")[0]["status"] == status


#: what happens next: seconds pass, a turn ends, some turn's answer comes, or the line is cut
HAPPENINGS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 6.0])),
        st.tuples(st.just("turn"), st.just(0)),
        st.tuples(st.just("reply"), st.integers(0, 6)),
        st.tuples(st.just("lost"), st.just(0)),
    ),
    max_size=20,
)


@given(HAPPENINGS)
@settings(max_examples=150, deadline=None)
def test_whatever_comes_when_each_response_ends_once(happenings: list[tuple[str, float]]) -> None:
    staged: list[Stage] = []

    async def play() -> None:
        staged.append(stage())
        ended = 0
        async with staged[0].open() as session:
            for what, value in happenings:
                await HAPPEN[what](staged[0], int(value) if what == "reply" else value, ended)
                ended += what == "turn"
            await session.finish()

    anyio.run(play, backend_options={"loop_factory": VirtualTimeLoop})
    events = staged[0].events
    created = [e["response_id"] for e in events if e["type"] == "response.created"]
    done = [e["response_id"] for e in events if e["type"] == "response.done"]
    assert sorted(created) == sorted(done)
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    turns = [n for e in events if e["type"] == "response.created" for n in e["turns"]]
    assert turns == list(range(1, len(turns) + 1))
    for one in done:
        whole = next(e for e in events if e["type"] == "response.done" and e["response_id"] == one)
        said = [e for e in events if e.get("response_id") == one and "delta" in e]
        assert "".join(e["delta"] for e in said) == whole["text"]
        assert all(e["seq"] < whole["seq"] for e in said)


async def _wait(staged: Stage, seconds: float, ended: int) -> None:
    await anyio.sleep(seconds)


async def _turn(staged: Stage, _: float, ended: int) -> None:
    staged.speech.hear(turn(ended, f"Turn {ended}."))


async def _reply(staged: Stage, order: float, ended: int) -> None:
    staged.speech.hear(reply(int(order), f"Answer {order:g}."))


async def _lost(staged: Stage, _: float, ended: int) -> None:
    staged.speech.hear(StreamLost("reset"))


HAPPEN: dict[str, Callable[..., Any]] = {
    "wait": _wait,
    "turn": _turn,
    "reply": _reply,
    "lost": _lost,
}
