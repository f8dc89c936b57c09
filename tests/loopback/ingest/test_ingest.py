"""Every ingest format over real sockets: audio or text in, turns and answers out."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pipeline.app.plan import plan
from pipeline.app.startup import open_app
from pipeline.cli.serve import guards_of
from pipeline.config.settings import LlmSettings, Prompt, ServeSettings, Settings, SttSettings
from pipeline.hub.server import serve
from pipeline.ingest.formats import ADAPTERS
from pipeline.ingest.signature import HEADER, sign
from tests.ingest import calls
from tests.support import Simulation, simulate

Message = bytes | str
EMPTY: Mapping[str, str] = {}

#: two turns; the second comes while the first is being answered, slowly
OVERTAKEN: Sequence[dict[str, Any]] = (
    {"stt": "end", "at_ms": 200, "text": "Book the late train."},
    {"stt": "end", "at_ms": 600, "text": "And a taxi."},
    {"llm": "reply", "match": "taxi", "text": "Both are booked."},
    {"llm": "reply", "match": "train", "text": "One two three four five six", "token_ms": 100},
)


@asynccontextmanager
async def service(
    lines: Sequence[dict[str, Any]], env: Mapping[str, str] = EMPTY
) -> AsyncGenerator[tuple[str, Simulation]]:
    async with simulate(lines) as sim:
        settings = Settings(
            stt=SttSettings(engine=sim.stt_url, key="env:NONE"),
            llm=LlmSettings(engine=sim.llm_url, key="env:NONE", model="scripted"),
            serve=ServeSettings(port=0),
            prompts={"reply": Prompt(system="Be brief.")},
        )
        async with (
            open_app(settings, plan(settings, {}), on_progress=lambda line: None) as app,
            serve(app, settings.serve, adapters=ADAPTERS, guards=guards_of(settings, env)) as hub,
        ):
            with anyio.fail_after(20):
                yield hub.url, sim


@asynccontextmanager
async def watching(url: str) -> AsyncGenerator[AsyncIterator[dict[str, Any]]]:
    """The events of the session that begins next, to its end."""
    async with connect(f"{url}/v1/events?session_id=*&after_seq=0", proxy=None) as socket:

        async def events() -> AsyncIterator[dict[str, Any]]:
            async for frame in socket:
                event = json.loads(frame)
                if event["type"] != "heartbeat":
                    yield event
                if event["type"] == "session.ended":
                    return

        yield events()


def twilio(audio: Sequence[bytes]) -> list[Message]:
    media = [calls.text(calls.twilio_media(n, chunk)) for n, chunk in enumerate(audio, 2)]
    media[3], media[4] = media[4], media[3]
    start = [calls.text(calls.TWILIO_CONNECTED), calls.text(calls.TWILIO_START)]
    return [*start, *media, calls.text(calls.twilio_stop(len(audio) + 2))]


def telnyx(audio: Sequence[bytes]) -> list[Message]:
    media = [calls.text(calls.telnyx_media(n, chunk)) for n, chunk in enumerate(audio, 1)]
    media[3], media[5] = media[5], media[3]
    start = [calls.text(calls.TELNYX_CONNECTED), calls.text(calls.TELNYX_START)]
    return [*start, *media, calls.text(calls.telnyx_stop())]


def attendee(audio: Sequence[bytes]) -> list[Message]:
    return [calls.text(calls.attendee(chunk)) for chunk in audio]


def recall(audio: Sequence[bytes]) -> list[Message]:
    joined = calls.text({"event": "participant_events.join", "data": {"participant": {"id": 1}}})
    return [joined, *[calls.text(calls.recall(chunk)) for chunk in audio]]


def livekit(audio: Sequence[bytes]) -> list[Message]:
    return ['{"muted":false}', *audio]


async def speak(socket: ClientConnection, messages: Sequence[Message]) -> None:
    for message in messages:
        await socket.send(message)
        await anyio.sleep(0.008)


async def commands_to(socket: ClientConnection) -> list[str]:
    """Everything that is sent back until the socket is closed."""
    messages: list[str] = []
    with suppress(ConnectionClosed):
        while True:
            messages.append(str(await socket.recv()))
    return messages


@pytest.mark.parametrize(
    ("path", "script", "second", "vendor"),
    [
        ("twilio", twilio, 8_000, "pcm_mulaw"),
        ("telnyx", telnyx, 8_000, "pcm_mulaw"),
        ("attendee", attendee, 32_000, "pcm_s16le"),
        ("recall", recall, 32_000, "pcm_s16le"),
        ("livekit", livekit, 192_000, "pcm_s16le"),
    ],
)
async def test_what_is_said_is_heard_and_answered(
    path: str, script: Any, second: int, vendor: str
) -> None:
    audio = [bytes([1 + n % 100]) * (second // 50) for n in range(50)]  # 1 s in 20 ms chunks
    async with service(OVERTAKEN) as (url, sim), watching(url) as events:
        async with connect(f"{url}/v1/ingest/{path}", proxy=None) as socket:
            await speak(socket, script(audio))
            if path in ("attendee", "recall", "livekit"):
                await socket.close()  # these hang up; the others say so first
            got = [event async for event in events]
        heard = sim.stt.connections[0]
    turns = [event["text"] for event in got if event["type"] == "turn.completed"]
    answers = [event for event in got if event["type"] == "response.done"]
    assert got[0]["source"] == path
    assert turns == ["Book the late train.", "And a taxi."]
    assert [answer["status"] for answer in answers] == ["cancelled", "completed"]
    assert answers[1]["text"] == "Both are booked."
    assert heard.query["encoding"] == vendor
    assert heard.audio_ms == pytest.approx(1000)


async def test_twilio_gets_a_clear_for_superseded_audio() -> None:
    audio = [b"\xff" * 160] * 50
    async with service(OVERTAKEN) as (url, _):
        async with connect(f"{url}/v1/ingest/twilio", proxy=None) as socket:
            await speak(socket, twilio(audio))
            (clear,) = await commands_to(socket)
        assert json.loads(clear) == {"event": "clear", "streamSid": calls.STREAM}
        assert socket.close_code == 1000


async def test_a_service_is_sent_nothing_it_would_not_understand() -> None:
    async with (
        service(()) as (url, _),
        connect(f"{url}/v1/ingest/twilio", proxy=None) as socket,
    ):
        await socket.send(calls.text(calls.TWILIO_START))
        for _ in range(19):
            await socket.send('{"event":"media"}')
        await socket.send("not even JSON")
        assert await commands_to(socket) == []
        assert socket.close_code == 4400
        assert socket.close_reason == "20 messages were refused"


async def test_a_call_that_cannot_be_taken_is_closed_with_the_reason() -> None:
    async with (
        service(()) as (url, _),
        connect(f"{url}/v1/ingest/telnyx", proxy=None) as socket,
    ):
        start = json.loads(calls.text(calls.TELNYX_START))
        start["start"]["media_format"]["encoding"] = "OPUS"
        await socket.send(json.dumps(start))
        assert await commands_to(socket) == []
        assert socket.close_code == 4400
        assert (socket.close_reason or "").startswith("media_format is OPUS, 1 channels")


async def test_stereo_of_a_browser_is_mixed_and_brought_to_16_khz() -> None:
    async with service(OVERTAKEN) as (url, sim):
        async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
            start = {"type": "session.start", "audio": {"sample_rate": 44100, "channels": 2}}
            await socket.send(json.dumps(start))
            await speak(socket, [bytes(8820)] * 20)  # 50 ms each
            await socket.send('{"type":"session.end"}')
            got = [json.loads(message) async for message in socket]
        heard = sim.stt.connections[0]
    assert heard.query["sample_rate"] == "16000"
    assert heard.audio_ms == pytest.approx(1000)
    assert [event["text"] for event in got if event["type"] == "turn.completed"] == [
        "Book the late train.",
        "And a taxi.",
    ]


async def test_both_sides_of_a_twilio_call_are_two_speakers() -> None:
    start = json.loads(calls.text(calls.TWILIO_START))
    start["start"]["tracks"] = ["inbound", "outbound"]
    start["start"]["customParameters"] = {"track": "both"}
    script = ({"stt": "end", "at_ms": 200, "text": "Hello?"},)
    async with service(script) as (url, sim), watching(url) as events:
        async with connect(f"{url}/v1/ingest/twilio", proxy=None) as socket:
            await socket.send(json.dumps(start))
            for n in range(2, 102):
                sound = b"\xff\x7f"[n % 2 : n % 2 + 1] * 160
                message = calls.twilio_media(n, sound, ("inbound", "outbound")[n % 2])
                message["media"]["timestamp"] = str(20 * ((n - 2) // 2))
                await socket.send(calls.text(message))
            await socket.send(calls.text(calls.twilio_stop(102)))
            got = [event async for event in events]
        heard = sorted(bytes(one.audio) for one in sim.stt.connections)
    assert heard == [b"\x7f" * 8000, b"\xff" * 8000]
    turns = [event for event in got if event["type"] == "turn.completed"]
    assert sorted(turn["speaker"] for turn in turns) == ["agent", "caller"]
    assert sorted(turn["turn"] for turn in turns) == [1, 2]


async def test_both_sides_of_a_telnyx_call_are_two_speakers() -> None:
    script = ({"stt": "end", "at_ms": 200, "text": "Hello?"},)
    async with service(script) as (url, sim), watching(url) as events:
        async with connect(f"{url}/v1/ingest/telnyx?track=both", proxy=None) as socket:
            await socket.send(calls.text(calls.TELNYX_START))
            for n in range(1, 51):
                for side, sound in (("outbound", b"\x7f"), ("inbound", b"\xff")):
                    await socket.send(calls.text(calls.telnyx_media(n, sound * 160, side)))
            await socket.send(calls.text(calls.telnyx_stop()))
            got = [event async for event in events]
        heard = sorted(bytes(one.audio) for one in sim.stt.connections)
    assert heard == [b"\x7f" * 8000, b"\xff" * 8000]
    turns = [event for event in got if event["type"] == "turn.completed"]
    assert sorted(turn["speaker"] for turn in turns) == ["agent", "caller"]


async def test_a_source_that_stalls_without_closing_leaves_no_turn_open() -> None:
    script = ({"stt": "partial", "at_ms": 200, "text": "Are you still"},)
    async with (
        service(script) as (url, sim),
        watching(url) as events,
        connect(f"{url}/v1/ingest/raw", proxy=None) as socket,
    ):
        await socket.send('{"type":"session.start"}')
        await speak(socket, [bytes(640)] * 20)
        # Nothing more is sent, and yet the turn ends.
        while (event := await anext(events))["type"] != "turn.completed":
            pass
        assert event["text"] == "Are you still"
        assert "ForceEndpoint" in str(sim.stt.connections[0].control)


async def test_a_chat_box_needs_no_speech_to_text() -> None:
    async with service(TALK) as (url, sim):
        async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
            await socket.send('{"type":"session.start","audio":null}')
            await socket.send(bytes(1600))
            await socket.send('{"type":"turn.create","text":"Do you have bread?"}')
            await socket.send('{"type":"session.end"}')
            got = [json.loads(message) async for message in socket]
        assert sim.stt.connections == []
    (error,) = [event["error"]["message"] for event in got if event["type"] == "error"]
    (answer,) = [event["text"] for event in got if event["type"] == "response.done"]
    assert (error, answer) == (
        "audio came, but session.start has audio: null",
        "We bake it every day.",
    )


# --- ConversationRelay ---

TALK: Sequence[dict[str, Any]] = (
    {"llm": "reply", "match": "bread", "text": "We bake it every day."},
    {"llm": "reply", "match": "life", "text": "Life is a complex set of cells", "token_ms": 50},
)


def said(text: str, *, last: bool = True) -> str:
    return json.dumps({"type": "prompt", "voicePrompt": text, "lang": "en-US", "last": last})


async def tokens(socket: ClientConnection, until: str | None = None) -> str:
    """What is to be spoken, to the end of the answer or until it holds a text."""
    text = ""
    async for message in socket:
        token = json.loads(message)
        assert token["type"] == "text"
        text += token["token"]
        if token["last"] or (until is not None and until in text):
            break
    return text


async def test_a_relayed_call_is_answered_without_speech_to_text() -> None:
    async with service(TALK) as (url, sim), watching(url) as events:
        async with connect(f"{url}/v1/relay/twilio", proxy=None) as socket:
            await socket.send('{"type":"setup","sessionId":"VX1","callSid":"CA1"}')
            await socket.send(said("Do you have", last=False))
            await socket.send(said("Do you have bread?"))
            assert await tokens(socket) == "We bake it every day."
        got = [event async for event in events]
    assert sim.stt.connections == []
    created, open_turn, turn = got[:3]
    assert (created["session_id"], created["source"]) == ("VX1", "relay/twilio")
    assert created["stt"]["name"] == "none"
    assert (open_turn["type"], open_turn["text"]) == ("turn.updated", "Do you have")
    assert (turn["type"], turn["text"]) == ("turn.completed", "Do you have bread?")
    assert (turn["turn"], got[-1]["totals"]["turns"]) == (1, 1)


async def test_an_interruption_cuts_the_history_to_what_the_caller_heard() -> None:
    async with service(TALK) as (url, sim), watching(url) as events:
        async with connect(f"{url}/v1/relay/twilio", proxy=None) as socket:
            await socket.send('{"type":"setup","sessionId":"VX1","callSid":"CA1"}')
            await socket.send(said("What is life?"))
            await tokens(socket, until="complex")
            interrupt = {"type": "interrupt", "utteranceUntilInterrupt": "Life is"}
            await socket.send(json.dumps(interrupt))
            await socket.send(said("And bread?"))
            assert (await tokens(socket)).endswith("We bake it every day.")
        got = [event async for event in events]
        await sim.llm.closed(1)
    done = [event for event in got if event["type"] == "response.done"]
    assert [event["status"] for event in done] == ["cancelled", "completed"]
    assert sim.llm.requests[0].was_cancelled
    messages = sim.llm.requests[1].body["messages"]
    assert [message["content"] for message in messages[-3:]] == [
        "What is life?",
        "Life is [interrupted]",
        "And bread?",
    ]


@pytest.mark.parametrize("path", ["/v1/relay/twilio", "/v1/ingest/twilio"])
async def test_once_there_is_a_token_only_twilio_may_call(path: str) -> None:
    token = "0123456789abcdef"
    async with service((), {"TWILIO_AUTH_TOKEN": token}) as (url, sim):
        address = f"wss://{url.removeprefix('ws://')}{path}"
        for headers in (
            {},
            {HEADER: sign(address, "another token")},
            {HEADER: sign(f"{address}?more=1", token)},
        ):
            with pytest.raises(InvalidStatus) as refused:
                await connect(url + path, proxy=None, additional_headers=headers)
            assert refused.value.response.status_code == 403
        signed = {HEADER: sign(address, token)}
        async with connect(url + path, proxy=None, additional_headers=signed) as socket:
            await socket.send('{"type":"setup","event":"connected"}')
        async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
            await socket.send('{"type":"session.end"}')
            assert "session.start" in str(await socket.recv())
        assert sim.stt.connections == []
