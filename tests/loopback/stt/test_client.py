"""The speech-to-text client against a scripted server, over real sockets."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from pipeline.config.settings import SttSettings
from pipeline.errors import SttBusy, SttError, SttLost, SttRefused
from pipeline.interfaces.stt import Heard, StreamClosed, StreamOpened, Transcript
from pipeline.simulator.serve import Simulation, simulate
from pipeline.stt import source_pace
from pipeline.stt.assemblyai.endpoint import endpoint_for
from pipeline.stt.client import SttClient

FRAME = bytes(1600)
Script = dict[str, Any]


class Ear:
    """A client, and what it has heard."""

    def __init__(self, url: str, key: str | None, settings: SttSettings) -> None:
        self.heard: list[Heard] = []
        once = replace(endpoint_for(settings, key, url), patience=-1.0)  # never again
        self.client = SttClient(once, self.heard.append)

    @property
    def texts(self) -> list[str]:
        return [heard.text for heard in self.heard if isinstance(heard, Transcript)]


@asynccontextmanager
async def listening(
    *script: Script, key: str | None = None, **settings: Any
) -> AsyncGenerator[tuple[Ear, Simulation]]:
    """A server that plays ``script`` and a client that has not connected yet."""
    async with simulate(script) as simulation:
        yield Ear(simulation.stt_url, key, SttSettings(**settings)), simulation


async def spoken(ear: Ear, frames: int = 20, *, finish: bool = True) -> None:
    """Run one whole session, or one that only the server ends."""
    async with anyio.create_task_group() as tasks:
        await tasks.start(ear.client.run)
        for _ in range(frames):
            await ear.client.send(FRAME)
        await (ear.client.finish() if finish else anyio.sleep_forever())


async def test_a_session_from_begin_to_termination() -> None:
    script: list[Script] = [
        {"stt": "partial", "at_ms": 200, "text": "Book the"},
        {"stt": "end", "at_ms": 600, "text": "Book the late train, please."},
    ]
    async with listening(*script, key="secret") as (ear, simulation):
        await spoken(ear)
        seen = await simulation.stt.closed(1)
    assert isinstance(ear.heard[0], StreamOpened)
    assert ear.texts == ["Book the", "Book the late train, please."]
    assert ear.heard[-1] == StreamClosed(1.0)
    assert (seen.audio_ms, seen.control_types, seen.close_code) == (1000.0, ["Terminate"], 1000)
    assert seen.headers["authorization"] == "secret"
    assert seen.query["speech_model"] == "universal-3-6-pro"


async def test_what_is_said_before_begin_is_not_lost() -> None:
    async with listening({"stt": "connection", "begin_ms": 150}) as (ear, simulation):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ear.client.run)
            for number in range(10):
                await ear.client.send(bytes([number, 0]) * 800)
            await ear.client.finish()  # before Begin as well
        seen = await simulation.stt.closed(1)
    assert bytes(seen.audio[::1600]) == bytes(range(10))
    assert isinstance(ear.heard[-1], StreamClosed)


async def test_the_open_turn_is_awaited_after_terminate() -> None:
    script: list[Script] = [
        {"stt": "connection", "termination_ms": 100},
        {"stt": "partial", "at_ms": 100, "text": "and one more"},
    ]
    async with listening(*script) as (ear, _):
        await spoken(ear)
    last = [heard for heard in ear.heard if isinstance(heard, Transcript)][-1]
    assert last.ended
    assert last.text.casefold().startswith("and one more")
    assert isinstance(ear.heard[-1], StreamClosed)


async def test_a_server_that_never_terminates_is_left() -> None:
    script: Script = {"stt": "connection", "on_terminate": "never"}
    async with listening(script, close_timeout=0.2) as (ear, _):
        with anyio.fail_after(3):
            await spoken(ear)
    assert ear.heard[-1] == StreamClosed()


async def test_an_empty_final_and_unknown_messages_pass() -> None:
    script: list[Script] = [
        {"stt": "connection", "on_terminate": "empty"},
        {"stt": "message", "message": {"type": "SomethingNew", "x": [1]}},
        {"stt": "end", "at_ms": 100, "text": "Hello.", "extra": {"new_field": {}}},
    ]
    async with listening(*script) as (ear, _):
        await spoken(ear)
    assert ear.texts == ["Hello.", ""]


async def test_many_turns_at_once_are_heard_in_order() -> None:
    script = [{"stt": "end", "at_ms": 50, "text": f"Turn {n}."} for n in range(200)]
    async with listening(*script) as (ear, _):
        await spoken(ear, frames=2)
    assert ear.texts == [f"Turn {n}." for n in range(200)]


async def test_force_endpoint_ends_the_open_turn() -> None:
    script: Script = {"stt": "partial", "at_ms": 50, "text": "Stop"}
    async with listening(script) as (ear, simulation), anyio.create_task_group() as tasks:
        await tasks.start(ear.client.run)
        await ear.client.send(FRAME)
        await simulation.stt.audio_received(1, 50)
        await ear.client.force_endpoint()
        await simulation.stt.control_received(1, "ForceEndpoint")
        await ear.client.finish()
    assert [heard.ended for heard in ear.heard if isinstance(heard, Transcript)] == [False, True]


REFUSALS: list[tuple[Script, type[SttError], str]] = [
    ({"stt": "connection", "key": "right"}, SttRefused, "check ASSEMBLYAI_API_KEY"),
    ({"stt": "connection", "http_status": 403}, SttRefused, "HTTP 403"),
    ({"stt": "connection", "http_status": 404}, SttRefused, "in place of a websocket"),
    ({"stt": "connection", "http_status": 429}, SttBusy, "wait a minute"),
    ({"stt": "connection", "http_status": 503}, SttLost, "HTTP 503"),
    ({"stt": "connection", "begin": False}, SttLost, "no Begin within 0.2 s"),
]


@pytest.mark.parametrize(("script", "kind", "says"), REFUSALS)
async def test_a_server_that_does_not_begin(script: Script, kind: Any, says: str) -> None:
    async with listening(script, key="wrong", connect_timeout=0.2) as (ear, _):
        with pytest.raises(kind, match=says), anyio.fail_after(5):
            await ear.client.run()
        assert ear.heard == []
        await ear.client.send(FRAME)  # no server; nothing happens
        await ear.client.finish()


async def test_a_message_that_cannot_be_read_costs_itself_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    odd = ["<html>", "[]", {"type": "Turn", "turn_order": "one"}, {"type": "Warning", "warning": 7}]
    script = [
        {"stt": "end", "at_ms": 50, "text": "Hello."},
        *({"stt": "message", "at_ms": 60, "message": message} for message in odd),
        {"stt": "end", "at_ms": 100, "text": "Still here."},
    ]
    async with listening(*script) as (ear, _):
        await spoken(ear, frames=3)
    assert ear.texts == ["Hello.", "Still here."]
    warnings = [record for record in caplog.records if "cannot be read" in record.message]
    assert len(warnings) == 2  # of three: the first and the second


ENDINGS: list[tuple[Script, type[SttError], str]] = [
    ({"stt": "error", "error_code": 3005, "error": "Server error"}, SttLost, "Server error"),
    ({"stt": "error", "error_code": 3005, "error": "Oh", "typed": False}, SttLost, "Oh"),
    ({"stt": "error", "error_code": 3009, "error": "Too many"}, SttBusy, "wait"),
    ({"stt": "error", "error_code": 3006, "error": "bad prompt"}, SttRefused, "bad prompt"),
    ({"stt": "close", "code": 1009}, SttRefused, "128 KB"),
    ({"stt": "close", "code": 1000}, SttLost, "client did not request it"),
    (
        {"stt": "message", "message": {"type": "Termination", "audio_duration_seconds": 1}},
        SttLost,
        "client did not request it",
    ),
    ({"stt": "drop", "by": "rst"}, SttLost, "broke off"),
    ({"stt": "drop", "by": "fin"}, SttLost, "broke off"),
]


@pytest.mark.parametrize(("ending", "kind", "says"), ENDINGS)
async def test_a_session_that_ends_unasked(ending: Script, kind: Any, says: str) -> None:
    script = [{"stt": "end", "at_ms": 50, "text": "Hello."}, ending | {"at_ms": 100}]
    async with listening(*script) as (ear, _):
        with pytest.raises(BaseExceptionGroup) as failed, anyio.fail_after(5):
            await spoken(ear, frames=3, finish=False)
    (error,) = failed.value.exceptions
    assert isinstance(error, kind)
    assert says in str(error)
    assert ear.texts == ["Hello."]


async def test_no_server_at_the_address() -> None:
    async with simulate() as simulation:
        url = simulation.stt_url
    with pytest.raises(SttLost, match="was refused; is it running"):
        await Ear(url, None, SttSettings(connect_timeout=0.1)).client.run()


async def test_a_cancelled_session_is_terminated_all_the_same() -> None:
    async with listening() as (ear, simulation):
        async with anyio.create_task_group() as tasks:
            await tasks.start(ear.client.run)
            await ear.client.send(FRAME)
            tasks.cancel_scope.cancel()
        seen = await simulation.stt.closed(1)
    assert seen.control_types == ["Terminate"]


async def test_a_server_that_stops_reading_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """F14: a zero window; a live source does not wait for the server."""
    monkeypatch.setattr(source_pace, "REAL_TIME", 1e6)
    script: Script = {"stt": "stop_reading", "at_ms": 50}
    async with listening(script) as (ear, _):
        with pytest.raises(BaseExceptionGroup) as failed, anyio.fail_after(10):
            await spoken(ear, frames=20_000)
    (error,) = failed.value.exceptions
    assert isinstance(error, SttLost)
    assert "took no audio for 2 s" in str(error)
