"""The whole service over real sockets: scripted servers upstream, its hub on a free port.

async with service(SUPERSEDE) as (url, sim, app):
    ...                            # url: ws://HOST:PORT; sim: see ``tests.support``
"""

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from websockets.asyncio.client import ClientConnection

from pipeline.app.app import App
from pipeline.app.plan import plan
from pipeline.app.startup import open_app
from pipeline.config.settings import (
    Fallback,
    LimitSettings,
    LlmSettings,
    McpSettings,
    Prompt,
    ServeSettings,
    Settings,
    StoredSettings,
    SttSettings,
    ToolSettings,
)
from pipeline.hub.server import serve
from pipeline.ingest.raw import RawAdapter
from tests.support import Simulation, simulate

FRAME = bytes(1600)

SUPERSEDE: Sequence[dict[str, Any]] = (
    {"stt": "partial", "at_ms": 100, "text": "book the"},
    {"stt": "end", "at_ms": 200, "text": "Book the late train."},
    {"stt": "end", "at_ms": 600, "text": "And a taxi."},
    {"llm": "reply", "match": "taxi", "text": "Both are booked."},
    {"llm": "reply", "match": "train", "text": "One two three four five six", "token_ms": 100},
)


@asynccontextmanager
async def service(
    lines: Sequence[dict[str, Any]],
    *,
    max_sessions: int = 200,
    limits: LimitSettings | None = None,
    tool_table: dict[str, ToolSettings] | None = None,
    servers: dict[str, McpSettings] | None = None,
    chain: Sequence[Fallback] = (),
    stall_timeout: float = 15.0,
    on_progress: Callable[[str], None] = lambda line: None,
    **prompt: Any,
) -> AsyncGenerator[tuple[str, Simulation, App]]:
    async with simulate(lines) as sim:
        settings = Settings(
            stt=SttSettings(engine=sim.stt_url, key="env:NONE"),
            llm=LlmSettings(
                engine=sim.llm_url,
                key="env:NONE",
                model="scripted",
                fallbacks=tuple(chain),
                stall_timeout=stall_timeout,
            ),
            stored=StoredSettings(url=sim.llm_url),
            serve=ServeSettings(port=0, max_sessions=max_sessions),
            limits=limits or LimitSettings(),
            tools=tool_table or {},
            mcp=servers or {},
            prompts={"reply": Prompt(system="Be brief.", **prompt)},
        )
        planned = plan(settings, {})
        async with (
            open_app(settings, planned, on_progress=on_progress) as app,
            serve(app, settings.serve, adapters={"raw": RawAdapter}) as hub,
        ):
            with anyio.fail_after(20):
                yield hub.url, sim, app


async def speak(socket: ClientConnection, seconds: float, session_id: str | None = None) -> None:
    start = {"type": "session.start"} | ({"session_id": session_id} if session_id else {})
    await socket.send(json.dumps(start))
    for _ in range(round(seconds * 20)):
        await socket.send(FRAME)
        await anyio.sleep(0.02)
    await socket.send('{"type":"session.end"}')


async def received(socket: ClientConnection) -> list[str]:
    return [str(frame) async for frame in socket if '"heartbeat"' not in str(frame)]
