"""What AssemblyAI's streaming server is known to do, played by the scripted server: one test each.

Sources: AssemblyAI docs, streaming message sequence, Universal-3 Pro message sequence, and common
session errors, 2026-03; live observations of 2026-09.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import anyio
import pytest
from msgspec.structs import replace

from pipeline.app.plan import plan
from pipeline.app.startup import open_app
from pipeline.cli.runner import leaves
from pipeline.config.settings import Fallback, LlmSettings, Prompt, Settings, SttSettings
from pipeline.errors import SttBusy, SttError, SttLost, SttRefused
from pipeline.interfaces.stt import Heard, InStreamReply, Transcript
from pipeline.protocol.commands import SessionUpdateCommand, StartCommand
from pipeline.protocol.events import (
    ErrorEvent,
    Frame,
    ResponseDone,
    ServerEvent,
    SessionEnded,
    TurnCompleted,
    UnknownEvent,
    decode_event,
)
from pipeline.simulator.serve import simulate
from pipeline.stt.assemblyai.endpoint import endpoint_for
from pipeline.stt.client import SttClient
from tests.turns.shapes import lines, track

Script = dict[str, Any]
FRAME = b"\0\x40" * 800  #: 50 ms, loud: silence would make each partial a pause
US: Script = {"stt": "connection", "style": "us"}


class Row(NamedTuple):
    """One behaviour."""

    script: Sequence[Script]
    turns: Sequence[str] = ()  #: what the tracker makes of it
    fails: tuple[type[SttError], str] | None = None  #: how the client ends
    code: int | None = None  #: and by which code, if that matters
    again: bool = False  #: the client may connect anew
    force: bool = False  #: the client sends ForceEndpoint after its first frames
    update: Mapping[str, Any] | None = None  #: the client changes this after its first frames
    flushed: bool = False  #: the last turn ends only because the client says Terminate


def message(at_ms: float, **fields: Any) -> Script:
    return {"stt": "message", "at_ms": at_ms, "message": fields}


def us_turn(at_ms: float, transcript: str, *words: str, **more: Any) -> Script:
    said = [
        {"text": word, "start": 0, "end": 90, "word_is_final": word in transcript.split()}
        for word in words
    ]
    fields: Script = {"type": "Turn", "turn_order": 0, "transcript": transcript, "words": said}
    return message(at_ms, **fields, **more)


BOOKED = ["1 started", "1 ended: Book it."]
BOOK_IT: Script = {"stt": "end", "at_ms": 100, "text": "Book it."}

ROWS = {
    "Begin comes late": Row([{"stt": "connection", "begin_ms": 300}, BOOK_IT], BOOKED),
    "a wrong key is refused after the upgrade": Row(
        [{"stt": "connection", "key": "right"}], fails=(SttRefused, "Invalid API key")
    ),
    "universal-streaming: words grow, the utterance leads, then the end and a formatted copy": Row(
        [
            US,
            us_turn(50, "", "book"),
            us_turn(100, "book", "book", "it"),
            us_turn(150, "book", "book", "it", utterance="book it"),
            us_turn(200, "book it", "book", "it", end_of_turn=True),
            us_turn(250, "Book it.", "Book", "it.", end_of_turn=True, turn_is_formatted=True),
        ],
        [
            "1 started",
            "1: book",
            "1: book it",
            "1 paused: book it",
            "1 ended: book it",
            "1 revised: Book it.",
        ],
    ),
    "universal-streaming: one end that is formatted already": Row(
        [US, us_turn(50, "Book it.", "Book", "it.", end_of_turn=True, turn_is_formatted=True)],
        BOOKED,
    ),
    "universal-3: partials replace each other and the final differs": Row(
        [
            {"stt": "partial", "at_ms": 50, "text": "Cook"},
            {"stt": "partial", "at_ms": 100, "text": "Book bit", "formatted": True},  # or not
            {"stt": "end", "at_ms": 150, "text": "Book it."},
        ],
        ["1 started", "1: Cook", "1: Book bit", "1 ended: Book it."],
    ),
    "Terminate brings an empty final": Row(
        [{"stt": "connection", "on_terminate": "empty"}, BOOK_IT], BOOKED
    ),
    "Terminate flushes the open turn": Row(
        [{"stt": "partial", "at_ms": 50, "text": "Book it."}],
        ["1 started", "1: Book it.", "1 ended: Book it."],
        flushed=True,
    ),
    "ForceEndpoint ends the open turn": Row(
        [{"stt": "partial", "at_ms": 50, "text": "Book it."}],
        ["1 started", "1: Book it.", "1 ended: Book it."],
        force=True,
    ),
    "the user goes on 200 ms after the end": Row(
        [BOOK_IT, {"stt": "end", "after_ms": 200, "text": "For two."}],
        [*BOOKED, "2 started", "2 ended: For two."],
    ),
    "ForceEndpoint without an open turn is not answered": Row([BOOK_IT], BOOKED, force=True),
    "a close with 1009 comes without an Error": Row(
        [{"stt": "close", "code": 1009, "at_ms": 50}], fails=(SttRefused, "128 KB")
    ),
    "a connection is lost without a close": Row(
        [{"stt": "drop", "by": "rst", "at_ms": 50}], fails=(SttLost, "broke off"), code=1006
    ),
    "the server just ends the stream, without a close": Row(
        [{"stt": "drop", "by": "fin", "at_ms": 50}], fails=(SttLost, "broke off"), code=1006
    ),
    "a session is too long with 3008": Row(
        [{"stt": "error", "error_code": 3008, "error": "Maximum session duration exceeded"}],
        fails=(SttLost, "Maximum session duration"),
    ),
    "too many sessions with 1008": Row(
        [{"stt": "error", "error_code": 1008, "error": "Too many concurrent sessions"}],
        fails=(SttBusy, "no session left"),
    ),
    "too many sessions with 3009": Row(
        [{"stt": "error", "error_code": 3009, "error": "Too many concurrent sessions"}],
        fails=(SttBusy, "no session left"),
    ),
    "an unknown type and an unknown field": Row(
        [message(50, type="Weather", sky="blue"), BOOK_IT | {"extra": {"mood": 1}}], BOOKED
    ),
    "an Error without a type": Row(
        [{"stt": "error", "error_code": 3005, "error": "Oh", "typed": False}],
        fails=(SttLost, "Oh"),
    ),
    "a change that it does not like ends the session with 3006": Row(
        [
            {
                "stt": "error",
                "on": "UpdateConfiguration",
                "error_code": 3006,
                "error": "prompt is too long",
            }
        ],
        fails=(SttRefused, "prompt is too long"),
        code=3006,
        update={"prompt": "x" * 1750},  # the longest that we let through
    ),
    "a new connection begins again at turn 0": Row(
        [
            BOOK_IT,
            {"stt": "drop", "after_ms": 20},
            {"stt": "connection"},
            {"stt": "end", "wall_ms": 50, "text": "For two."},
        ],
        [*BOOKED, "2 started", "2 ended: For two."],
        again=True,
    ),
}


async def run(row: Row) -> list[Heard]:
    heard: list[Heard] = []
    expected = sum("ended" in line for line in row.turns)
    all_ended = anyio.Event()

    def hear(one: Heard) -> None:
        heard.append(one)
        if sum(isinstance(h, Transcript) and h.ended for h in heard) >= expected:
            all_ended.set()

    async with simulate(list(row.script)) as simulation:
        model = "universal-streaming-english" if US in row.script else "universal-3-6-pro"
        settings = SttSettings(connect_timeout=2.0, speech_model=model)
        made = endpoint_for(settings, "wrong", simulation.stt_url)
        patience = made.patience if row.again else -1.0
        client = SttClient(replace(made, patience=patience), hear)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                await tasks.start(client.run)
                for _ in range(8):
                    await client.send(FRAME)
                if row.force:
                    await client.force_endpoint()
                if row.update is not None:
                    await client.update(row.update)
                if row.fails is not None:
                    await anyio.sleep_forever()  # the server ends it
                if not row.flushed:
                    await all_ended.wait()
                await client.finish()
    return heard


@pytest.mark.parametrize("behaviour", ROWS)
async def test_what_the_vendor_does(behaviour: str) -> None:
    row = ROWS[behaviour]
    if row.fails is None:
        assert lines(track(await run(row))) == row.turns
        return
    kind, says = row.fails
    with pytest.raises((kind, BaseExceptionGroup)) as failed:
        await run(row)
    (error,) = leaves(failed.value)
    assert isinstance(error, kind)
    assert says in str(error)
    assert row.code in (None, error.code)


@pytest.mark.parametrize("kind", ["LLMGatewayResponse", "LlmGatewayResponse"])
async def test_an_in_stream_reply_comes_late_and_out_of_order(kind: str) -> None:
    replies = [
        message(at, type=kind, turn_order=order, transcript="x", data={"choices": []})
        for at, order in ((150, 1), (200, 0))
    ]
    second = {"stt": "end", "at_ms": 100, "text": "For two."}
    heard = await run(Row([BOOK_IT, second, *replies], BOOKED))
    kinds = [one for one in heard if isinstance(one, InStreamReply | Transcript)]
    assert [one.order for one in kinds] == [0, 1, 1, 0]


# --- a whole session -------------------------------------------------------------------------


async def events_of(
    script: Sequence[Script], update: Mapping[str, Any] | None = None, **llm: Any
) -> list[ServerEvent | UnknownEvent]:
    """Return every event of a session in which the server does this."""
    events: list[ServerEvent | UnknownEvent] = []

    def note(frame: Frame) -> None:
        events.append(decode_event(frame.data))

    async with simulate(list(script)) as sim:
        given = Settings(
            stt=SttSettings(engine=sim.stt_url, key="env:NONE"),
            llm=LlmSettings(
                model="m", key="env:NONE", fallbacks=(Fallback(engine=sim.llm_url),), **llm
            ),
            prompts={"reply": Prompt(policy="parallel", history=0)},
        )
        async with (
            open_app(given, plan(given, {}), on_progress=lambda line: None, on_frame=note) as app,
            app.open(StartCommand(), source="test") as session,
        ):
            with anyio.fail_after(10):
                for _ in range(8):
                    await session.audio(FRAME)
                if update is not None:
                    await session.command(SessionUpdateCommand(stt=dict(update)))
                    await session.topic.ended.wait()
                await session.finish()
    return events


async def test_an_in_stream_reply_is_missing_and_its_turn_is_answered_all_the_same() -> None:
    script = [
        BOOK_IT,
        {"stt": "llm_response", "text": "It is booked."},
        {"stt": "end", "at_ms": 200, "text": "For two."},
    ]
    events = await events_of(script, engine="in-stream", in_stream_after=0.3)
    turns = [event.text for event in events if isinstance(event, TurnCompleted)]
    answers = [event for event in events if isinstance(event, ResponseDone)]
    assert turns == ["Book it.", "For two."]
    assert [(done.status, done.text) for done in answers] == [
        ("completed", "It is booked."),
        ("completed", "You said: For two."),
    ]
    assert not [event for event in events if isinstance(event, ErrorEvent)]  # it was only one


async def test_a_change_that_the_server_refuses_is_published_and_ends_the_session() -> None:
    refusal = {
        "stt": "error",
        "on": "UpdateConfiguration",
        "error_code": 3006,
        "error": "prompt is too long",
    }
    events = await events_of(
        [BOOK_IT, refusal], {"prompt": "x" * 1750}, engine="http://127.0.0.1:1/v1"
    )
    (error,) = [event.error for event in events if isinstance(event, ErrorEvent)]
    assert error.code == 3006
    assert "prompt is too long" in error.message
    assert isinstance(events[-1], SessionEnded)
    assert events[-1].reason == "error"
