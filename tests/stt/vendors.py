"""A spoken session with any vendor of speech-to-text, on the test's own clock."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio
from msgspec.structs import replace

from pipeline.config.settings import SttSettings
from pipeline.interfaces.stt import Heard, Transcript
from pipeline.interfaces.stt_protocol import SttEndpoint
from pipeline.stt.assemblyai.endpoint import endpoint_for
from pipeline.stt.client import SttClient
from pipeline.stt.transport import SttSocket
from tests.stt.second_vendor import SECOND, SecondSocket
from tests.stt.server import MemoryServer, MemorySocket, frames


class Vendor(NamedTuple):
    """An endpoint, and the translation of the scripted server's messages into its own."""

    endpoint: SttEndpoint
    translate: Callable[[MemorySocket], SttSocket]


def untranslated(socket: MemorySocket) -> SttSocket:
    return socket


ASSEMBLYAI = Vendor(endpoint_for(SttSettings(), None, "ws://127.0.0.1:9"), untranslated)
VENDORS = {"assemblyai": ASSEMBLYAI, "second": Vendor(SECOND, SecondSocket)}


class Session:
    """A client that is being spoken to in real time."""

    vendor: Vendor = ASSEMBLYAI

    def __init__(self, server: MemoryServer, **connection: Any) -> None:
        settings = self.vendor.endpoint
        self.server = server
        self.heard: list[Heard] = []
        self.slowest = 0.0  #: seconds that one ``send`` took
        self.client = SttClient(
            replace(settings, **{"pace": 1.25, "keep_disk": 0.0, "run_up": 0.5} | connection),
            self.heard.append,
            dial=self._dial,
        )

    async def _dial(self, endpoint: SttEndpoint) -> SttSocket:
        return self.vendor.translate(await self.server.dial(endpoint))

    @property
    def words(self) -> list[int]:
        ended = [h for h in self.heard if isinstance(h, Transcript) and h.ended]
        return [int(word) for heard in ended for word in heard.text.split()]

    def of(self, kind: type[Any]) -> list[Any]:
        return [heard for heard in self.heard if isinstance(heard, kind)]

    async def say(self, audio: bytes, *, real_time: bool = True, size: int = 1600) -> None:
        start = anyio.current_time()
        for i, frame in enumerate(frames(audio, size), start=1):
            if real_time:
                await anyio.sleep_until(start + i * size / 32_000)
            before = anyio.current_time()
            await self.client.send(frame)
            self.slowest = max(self.slowest, anyio.current_time() - before)


@asynccontextmanager
async def session(server: MemoryServer, **connection: Any) -> AsyncGenerator[Session]:
    """Run a session; leaving finishes it."""
    one = Session(server, **connection)
    async with anyio.create_task_group() as tasks:
        await tasks.start(one.client.run)
        yield one
        await one.client.finish()
