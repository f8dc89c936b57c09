"""A session on virtual time: scripted speech-to-text, scripted gateway, real everything else."""

from typing import Any

import anyio
import pytest

from pipeline.errors import GatewayLost, InputError, SttLost, SttRefused
from pipeline.interfaces.stt import SpeechBegan, StreamLost, StreamOpened, StreamResumed, Transcript
from pipeline.protocol.commands import (
    PlaybackReportCommand,
    ResponseCancelCommand,
    ResponseCreateCommand,
    SessionUpdateCommand,
    TurnCommitCommand,
    TurnCreateCommand,
)
from pipeline.protocol.events import Engine
from pipeline.session.usage_limits import Exhausted
from tests.support.session_fixture import Stage, turn

SECOND = b"\0" * 32_000


async def test_a_turn_is_answered_and_the_session_ends_with_its_totals() -> None:
    stage = Stage()
    async with stage.open() as session:
        await session.audio(SECOND)
        stage.speech.hear(turn(0, "Hello there.", end=0.5))
        await session.finish()
    assert stage.types() == [
        "session.created",
        "turn.completed",
        "response.created",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.done",
        "session.ended",
    ]
    assert stage.said("response.done")[0]["text"] == "One two."
    ended = stage.said("session.ended")[0]
    assert ended["reason"] == "source_ended"
    assert ended["totals"]["turns"] == ended["totals"]["completed"] == 1
    assert ended["totals"]["audio_seconds"] == 1.0


async def test_the_next_turn_supersedes_before_its_own_response_is_created() -> None:
    # 0 s: turn 1 asked.  2.5 s: turn 2 ends, one word of the answer is out.
    stage = Stage()
    async with stage.open() as session:
        stage.speech.hear(turn(0, "Book a train."))
        await anyio.sleep(2.5)
        stage.speech.hear(turn(1, "And a taxi."))
        assert stage.gateway.open_now == 1
        await session.finish()
    created, done = stage.said("response.created"), stage.said("response.done")
    assert (done[0]["status"], done[0]["reason"]) == ("cancelled", "superseded")
    assert done[0]["superseded_by"] == created[1]["response_id"]
    assert created[1]["supersedes"] == created[0]["response_id"]
    assert done[0]["seq"] < created[1]["seq"]
    assert done[0]["text"] == "One"
    asked = [(m.role, m.content) for m in stage.gateway.requests[1].messages]
    assert asked == [
        ("system", "Be brief."),
        ("user", "Book a train."),
        ("assistant", "One [interrupted]"),
        ("user", "And a taxi."),
    ]


async def test_a_source_that_ends_after_a_limit_waits_for_the_same_last_answer() -> None:
    # 0 s: turn 1 requested.  0.5 s: the limit.  0.6 s: the source ends.  5 s: the answer is done.
    stage = Stage()
    stage.gateway.gap = 1.0
    async with stage.open() as session, anyio.create_task_group() as tasks:
        stage.speech.hear(turn(0, "Tell me something."))
        await anyio.sleep(0.5)
        limit = Exhausted("limits.session_tokens", 6, "tokens", "the session has")
        tasks.start_soon(session.stop_at_limit, limit)
        await anyio.sleep(0.1)
        await session.finish()
    (done,), (ended,) = stage.said("response.done"), stage.said("session.ended")
    assert (done["status"], ended["reason"]) == ("completed", "limit")
    assert session.limit_reached


async def test_a_turn_that_goes_on_before_anything_was_said_becomes_one_message() -> None:
    stage = Stage()
    async with stage.open() as session:
        stage.speech.hear(turn(0, "Book a train"))
        await anyio.sleep(0.5)
        stage.speech.hear(turn(1, "to Oslo."))
        await session.finish()
    assert stage.gateway.requests[1].messages[-1].content == "Book a train to Oslo."
    assert stage.said("response.created")[1]["turns"] == [1, 2]


async def test_times_are_taken_on_the_audio_clock() -> None:
    # 0 s: one second of audio, words until 0.4 s.  1.5 s: end of turn.  3.5 s: first token.
    stage = Stage()
    async with stage.open() as session:
        for _ in range(20):
            await session.audio(SECOND[:1600])
            await anyio.sleep(0.05)
        await anyio.sleep(0.5)
        stage.speech.hear(turn(0, "Hello.", end=0.4))
        await session.finish()
    times = stage.said("response.done")[0]["times"]
    assert times["end_of_turn_delay"] == pytest.approx(1500 - 400, abs=60)
    assert times["queue"] == pytest.approx(0)
    assert times["time_to_first_token"] == pytest.approx(2000)
    assert times["end_to_end"] == pytest.approx(times["end_of_turn_delay"] + 2000)


async def test_a_refused_speech_to_text_raises_before_anything_is_published() -> None:
    stage = Stage(refusal=SttRefused("wrong key", code=1008))
    with pytest.raises(SttRefused, match="wrong key"):
        async with stage.open():
            pytest.fail("the session must not open")
    assert stage.events == []


async def test_a_lost_speech_to_text_ends_every_response_and_the_session() -> None:
    stage = Stage()
    async with stage.open() as session:
        stage.speech.hear(turn(0, "Hello."))
        await anyio.sleep(2.5)
        stage.speech.fail(SttLost("gone", code=1006))
        await session.topic.ended.wait()
    assert stage.types()[-3:] == ["error", "response.done", "session.ended"]
    assert stage.said("session.ended")[0]["reason"] == "error"
    assert isinstance(session.failure, SttLost)


async def test_a_failing_call_is_an_event_and_the_session_goes_on() -> None:
    stage = Stage()
    stage.gateway.failure = GatewayLost("the model is out of reach", status=502)
    async with stage.open() as session:
        stage.speech.hear(turn(0, "Hello."))
        await anyio.sleep(2)
        stage.gateway.failure = None
        stage.speech.hear(turn(1, "Are you there?"))
        await session.finish()
    first, second = stage.said("response.done")
    assert first["status"] == "failed"
    assert first["error"] == {"type": "lost", "message": "the model is out of reach", "code": 502}
    assert second["status"] == "completed"
    assert session.failed_responses == 1


async def test_leaving_early_ends_what_is_open_and_terminates_speech_to_text() -> None:
    stage = Stage()
    async with stage.open():
        stage.speech.hear(turn(0, "Hello."))
        await anyio.sleep(0.5)
    assert stage.types()[-2:] == ["response.done", "session.ended"]
    assert stage.said("session.ended")[0]["reason"] == "shutdown"
    assert stage.speech.terminated
    assert stage.gateway.open_now == 0


async def test_an_error_of_the_source_reaches_the_code_that_opened_the_session() -> None:
    stage = Stage()
    with pytest.raises(InputError, match="broken file"):
        async with stage.open():
            raise InputError("broken file")
    assert stage.said("session.ended")[0]["reason"] == "error"


async def test_cancelling_the_session_still_ends_it_in_the_log() -> None:
    stage = Stage()
    with anyio.move_on_after(5):
        async with stage.open():
            stage.speech.hear(Transcript(0, "Hello"))
            await anyio.sleep_forever()
    assert stage.types()[-1] == "session.ended"


async def test_an_open_turn_is_answered_when_the_source_ends() -> None:
    stage = Stage()
    async with stage.open() as session:
        stage.speech.hear(Transcript(0, "never ended"))
        await session.finish()
    assert stage.said("turn.completed")[0]["text"] == "never ended"
    assert stage.said("response.done")[0]["status"] == "completed"


async def test_speech_warms_a_connection() -> None:
    stage = Stage()
    async with stage.open() as session:
        await anyio.wait_all_tasks_blocked()
        before = stage.gateway.warmed
        stage.speech.hear(SpeechBegan(0.1))
        await anyio.wait_all_tasks_blocked()
        assert stage.gateway.warmed == before + 1
        await session.finish()


async def test_losing_the_connection_is_published_and_does_not_end_a_response() -> None:
    stage = Stage()
    async with stage.open() as session:
        stage.speech.hear(turn(0, "Hello."))
        stage.speech.hear(StreamLost("reset by peer"))
        await session.finish()
    assert stage.said("stt.interrupted")[0]["cause"] == "reset by peer"
    assert stage.said("response.done")[0]["status"] == "completed"


async def test_clients_type_turns_cancel_and_ask_again() -> None:
    stage = Stage()
    async with stage.open() as session:
        await session.command(TurnCreateCommand(text="Hello?", speaker="Ann"))
        await anyio.sleep(0.5)
        await session.command(ResponseCancelCommand())
        await session.command(ResponseCreateCommand())
        await session.command(TurnCommitCommand())
        await session.finish()
    assert stage.said("turn.completed")[0]["speaker"] == "Ann"
    assert [done["status"] for done in stage.said("response.done")] == ["cancelled", "completed"]
    assert stage.gateway.requests[1].messages[-1].content == "Hello?"
    assert stage.speech.forced == 1


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (TurnCreateCommand(text="  "), "empty"),
        (ResponseCreateCommand(prompt="nope"), "there is reply"),
        (ResponseCreateCommand(prompt="reply"), "no turn has ended yet"),
        (SessionUpdateCommand(vars={"tome": "x"}), "no prompt has a variable 'tome'"),
        (PlaybackReportCommand(response_id="r1"), "text, characters or duration"),
    ],
)
async def test_a_command_without_sense_is_refused_in_words(command: Any, words: str) -> None:
    async with Stage().open() as session:
        with pytest.raises(InputError, match=words):
            await session.command(command)
        await session.finish()


async def test_what_was_played_is_what_the_next_request_tells() -> None:
    stage = Stage()
    async with stage.open() as session:
        stage.speech.hear(turn(0, "Hello."))
        await anyio.sleep(10)
        await session.command(PlaybackReportCommand(response_id="r1", characters=3))
        stage.speech.hear(turn(1, "Stop."))
        await session.finish()
    assert stage.gateway.requests[1].messages[2].content == "One [interrupted]"


async def test_what_was_played_is_an_event_that_may_follow_the_end_of_its_response() -> None:
    stage = Stage()
    async with stage.open() as session:
        stage.speech.hear(turn(0, "Hello."))
        await anyio.sleep(10)
        await session.command(PlaybackReportCommand(response_id="r1", text="ONE"))
        await session.command(PlaybackReportCommand(response_id="r1", text="one"))
        await session.command(PlaybackReportCommand(response_id="r1", duration=60_000.0))
        await session.finish()
    done, *played = stage.said("response.done", "response.played")
    parts = [(one["characters"], one["interrupted"]) for one in played]
    assert parts == [(3, True), (len(done["text"]), False)]
    assert all(done["text"].startswith(one["text"]) for one in played)


async def test_a_back_channel_is_a_turn_that_is_not_answered() -> None:
    stage = Stage()
    async with stage.open() as session:
        stage.speech.hear(turn(0, "Hello."))
        await anyio.sleep(0.5)
        stage.speech.hear(turn(1, "Uh-huh."))
        await anyio.sleep(10)
        stage.speech.hear(turn(2, "Yes."))
        await session.finish()
    assert len(stage.gateway.requests) == 2
    types = stage.types()
    at = types.index("response.skipped")
    assert types[at - 1] == "turn.completed"
    assert (stage.events[at]["turns"], stage.events[at]["reason"]) == ([2], "back_channel")


async def test_speech_to_text_and_variables_change_in_a_running_session() -> None:
    stage = Stage(user="{{turn}} for {{vars.name}}", vars={"name": "a guest"})
    async with stage.open() as session:
        await session.command(
            SessionUpdateCommand(stt={"keyterms_prompt": ["Oslo"]}, vars={"name": "Ann"})
        )
        stage.speech.hear(turn(0, "A taxi"))
        await session.finish()
    assert stage.speech.updates == [{"keyterms_prompt": ["Oslo"]}]
    assert str(stage.gateway.requests[0].messages[-1].content).endswith("for Ann")


async def test_every_frame_goes_to_the_tape_as_the_audio_clock_counts_it() -> None:
    stage = Stage()
    tape = Tape()
    stage.session.audio_sink = tape
    sound = bytes(range(250)) * 13  # two frames and a bit, and half a sample more
    async with stage.open() as session:
        await session.audio(sound[:1601])
        await session.audio(sound[1601:] + b"\1")
        await session.finish()
    assert tape.heard == stage.speech.heard_audio == sound
    assert stage.said("session.ended")[0]["t"] == round(len(sound) / 32)


class Tape:
    def __init__(self) -> None:
        self.heard = b""

    def write(self, frame: bytes) -> None:
        self.heard += frame


async def test_another_engine_of_speech_to_text_is_published() -> None:
    stage = Stage(
        stt_engines={
            name: Engine(name="assemblyai", url=f"wss://{name}", model="m") for name in ("us", "eu")
        }
    )
    async with stage.open() as session:
        stage.speech.hear(StreamOpened("1", 0.0, engine="us"))
        stage.speech.hear(StreamLost("the region is down", "us"))
        stage.speech.hear(StreamOpened("2", 0.0, engine="eu"))
        stage.speech.hear(StreamResumed(2.5, engine="eu"))
        stage.speech.hear(StreamOpened("3", 0.0, engine="eu"))
        await session.finish()
    assert [
        (event["type"], event.get("engine") or event["stt"]["url"])
        for event in stage.events
        if event["type"] in ("stt.interrupted", "session.updated", "stt.resumed")
    ] == [("stt.interrupted", "us"), ("session.updated", "wss://eu"), ("stt.resumed", "eu")]
