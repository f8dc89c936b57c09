"""A connected source that sends nothing: its session ends after a limit."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from websockets.asyncio.client import ClientConnection, connect

from pipeline.app.plan import plan
from pipeline.app.startup import open_app
from pipeline.config.settings import LlmSettings, Prompt, ServeSettings, Settings, SttSettings
from pipeline.hub.server import serve
from pipeline.ingest.formats import ADAPTERS
from tests.ingest import calls
from tests.support import Simulation, simulate

IDLE = 0.4  #: seconds
FRAME = b"\0\x40" * 800  #: 50 ms


@asynccontextmanager
async def service(
    *lines: Mapping[str, Any], idle: float = IDLE
) -> AsyncGenerator[tuple[str, Simulation]]:
    async with simulate(lines) as sim:
        settings = Settings(
            stt=SttSettings(engine=sim.stt_url, key="env:NONE"),
            llm=LlmSettings(engine=sim.llm_url, key="env:NONE", model="scripted"),
            serve=ServeSettings(port=0, idle=idle),
            prompts={"reply": Prompt()},
        )
        async with (
            open_app(settings, plan(settings, {}), on_progress=lambda line: None) as app,
            serve(app, settings.serve, adapters=ADAPTERS) as hub,
        ):
            with anyio.fail_after(10):
                yield hub.url, sim


async def heard(socket: ClientConnection) -> Sequence[dict[str, Any]]:
    """Return every event until the socket is closed."""
    return [json.loads(message) async for message in socket]


async def test_a_source_that_says_no_more_has_its_session_ended_in_order() -> None:
    async with (
        service({"stt": "partial", "at_ms": 100, "text": "Are you"}) as (url, sim),
        connect(f"{url}/v1/ingest/raw", proxy=None) as socket,
    ):
        await socket.send('{"type":"session.start"}')
        for _ in range(3):
            await socket.send(FRAME)
        events = await heard(socket)
        with anyio.fail_after(2):
            connection = await sim.stt.closed(1)
    assert connection.control_types[-1] == "Terminate"
    (turn,) = [event for event in events if event["type"] == "turn.completed"]
    (answer,) = [event for event in events if event["type"] == "response.done"]
    assert (turn["text"], answer["status"]) == ("Are you", "completed")
    assert (events[-1]["type"], events[-1]["reason"]) == ("session.ended", "idle")
    assert socket.close_code == 1000
    assert socket.close_reason == "no message for 0.4 s (serve.idle): the session has ended"


async def test_a_source_that_sends_turns_is_not_idle() -> None:
    async with service() as (url, _), connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
        await socket.send('{"type":"session.start","audio":null}')
        for _ in range(6):
            await socket.send('{"type":"turn.create","text":"Still here."}')
            await anyio.sleep(IDLE / 2)
        events = await heard(socket)
    assert sum(event["type"] == "turn.completed" for event in events) == 6
    assert events[-1]["reason"] == "idle"


async def test_a_call_that_brings_only_marks_is_idle() -> None:
    async with service() as (url, sim), connect(f"{url}/v1/ingest/twilio", proxy=None) as socket:
        await socket.send(calls.text(calls.TWILIO_START))
        mark = '{"event":"mark","streamSid":"MZ","mark":{"name":"m"}}'
        async with anyio.create_task_group() as tasks:

            async def go_on() -> None:
                while True:
                    await socket.send(mark)
                    await anyio.sleep(IDLE / 4)

            tasks.start_soon(go_on)
            await heard(socket)
            tasks.cancel_scope.cancel()
        assert (await sim.stt.closed(1)).control_types == ["Terminate"]


async def test_with_0_a_source_may_be_silent_for_ever() -> None:
    async with (
        service(idle=0) as (url, sim),
        connect(f"{url}/v1/ingest/raw", proxy=None) as socket,
    ):
        await socket.send('{"type":"session.start"}')
        with anyio.move_on_after(2 * IDLE) as waited:
            await heard(socket)
        assert waited.cancelled_caught
        assert sim.stt.connections[0].control_types == []
