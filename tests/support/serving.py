"""``pipeline serve`` in a child process, with scripted servers and real clients."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect

from tests.support import Simulation, simulate
from tests.support.commandline import Running, running

FRAME = bytes(1600)  #: 50 ms of silence

Event = dict[str, Any]


class Served(Struct, frozen=True):
    """A running server."""

    process: Running
    sim: Simulation
    url: str  #: ws://HOST:PORT

    async def request(
        self, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        address = self.url.replace("ws:", "http:") + path
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.request(method, address, headers=headers)


@asynccontextmanager
async def serving(
    lines: Sequence[Mapping[str, Any]] = (),
    *words: object,
    env: Mapping[str, str] | None = None,
    patience: float = 30.0,
) -> AsyncGenerator[Served]:
    """Start a server on a free port; ``words`` are further flags.

    The block may take ``patience`` seconds.
    """
    async with simulate(lines) as sim:
        engines = ("--port", 0, "--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "scripted")
        async with running("serve", *engines, *words, env=env) as process:
            line = await process.line(holding="listening on")
            url = line.partition("listening on ")[2].split(";")[0]
            with anyio.fail_after(patience):
                yield Served(process, sim, url)


async def begin(socket: ClientConnection, session_id: str, **start: Any) -> None:
    """Start a session and wait for ``session.created``."""
    await socket.send(json.dumps({"type": "session.start", "session_id": session_id, **start}))
    await until(socket, "session.created")


async def until(socket: ClientConnection, kind: str, *, holding: str = "") -> list[Event]:
    """Return the events up to one of type ``kind`` with ``holding`` in its JSON."""
    events: list[Event] = []
    async for frame in socket:
        events.append(json.loads(frame))
        if events[-1]["type"] == kind and holding in str(frame):
            return events
    raise AssertionError(f"the session ended before {kind} {holding}")


async def speak(socket: ClientConnection, seconds: float) -> None:
    """Send silence, 2.5 times as fast as real time."""
    for _ in range(round(seconds * 20)):
        await socket.send(FRAME)
        await anyio.sleep(0.02)


async def finish(socket: ClientConnection) -> list[Event]:
    """Send ``session.end`` and return all events up to the end."""
    await socket.send('{"type":"session.end"}')
    return [json.loads(frame) async for frame in socket]


async def call(
    url: str, session_id: str, *, seconds: float = 1.0, headers: Mapping[str, str] | None = None
) -> list[Event]:
    """Run one whole session with audio; return its events but the first."""
    address = f"{url}/v1/ingest/raw"
    async with connect(address, proxy=None, additional_headers=headers) as socket:
        await begin(socket, session_id)
        await speak(socket, seconds)
        return await finish(socket)
