"""The service as the side-by-side benchmark runs it: real sessions between scripted servers.

Sessions, hub and gateway are the package's own; only the addresses are the harness's. It reads
STT_URL, LLM_BASE_URL, SUBSCRIBE_PORT, SESSIONS, AUDIO and PROFILE and runs until it is killed.
PROFILE may hold, joined by "+": speculate, durable (a journal's file in the directory for
temporary ones), and any policy or interrupt setting.
"""

import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import cycle
from typing import get_args

import anyio
from msgspec.structs import replace
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from pipeline.app.plan import plan
from pipeline.app.startup import open_app
from pipeline.audio.pcm import Format
from pipeline.audio.sources import play
from pipeline.config.settings import (
    Interrupt,
    JournalSettings,
    LlmSettings,
    Policy,
    Prompt,
    ServeSettings,
    Settings,
    SttSettings,
)
from pipeline.hub import server
from pipeline.interfaces.stt_client import Hear
from pipeline.protocol.commands import StartCommand
from pipeline.session.session import Session
from pipeline.stt.assemblyai.endpoint import endpoint_for
from pipeline.stt.client import SttClient

ENV = os.environ
#: what the harness counts are tokens, and response.done repeats them all
DELTAS = r"/v1/events?session_id=s\1&events=response.output_text.delta"


class Loop:
    """A recording, or silence, that never ends."""

    name = "loop"
    format = Format()
    duration = None

    def __init__(self, pcm: bytes) -> None:
        size = self.format.frame_bytes
        whole = range(0, len(pcm) - size + 1, size)
        self._frames = cycle([pcm[at : at + size] for at in whole] or [bytes(size)])

    async def read(self) -> Sequence[bytes]:
        return [next(self._frames)]

    async def aclose(self) -> None:
        pass


def settings(sessions: int, profile: Sequence[str]) -> Settings:
    policy = next((word for word in profile if word in get_args(Policy)), "supersede")
    interrupt = next((word for word in profile if word in get_args(Interrupt)), "turn")
    reply = Prompt(
        system="You are a helpful assistant. Answer briefly.",
        policy=policy,  # type: ignore[arg-type]  # one of the words it lists
        interrupt=interrupt,  # type: ignore[arg-type]  # likewise
        speculate="speculate" in profile,
    )
    return Settings(
        stt=SttSettings(engine=ENV["STT_URL"] + "/v3/ws", key="env:NONE"),
        llm=LlmSettings(
            engine=ENV["LLM_BASE_URL"], key="env:NONE", model="fake", connections=4 * sessions
        ),
        serve=ServeSettings(
            port=int(ENV["SUBSCRIBE_PORT"]), max_sessions=sessions, max_subscribers=100_000
        ),
        journal=JournalSettings(store=f"{tempfile.mkdtemp()}/journal.db")
        if "durable" in profile
        else JournalSettings(),
        prompts={"reply": reply},
    )


def answer_short_paths() -> None:
    """Let the harness's ``/s/<session>`` stand for our own path."""
    handshake = server.Hub.handshake

    async def renamed(
        hub: server.Hub, connection: ServerConnection, request: Request
    ) -> Response | None:
        request.path = re.sub(r"^/s/(\d+)$", DELTAS, request.path)
        return await handshake(hub, connection, request)

    setattr(server.Hub, "handshake", renamed)  # noqa: B010 - on purpose, and only here


def listen(wanted: Settings, index: int, audio: Format, hear: Hear) -> SttClient:
    return SttClient(endpoint_for(wanted.stt, None, f"{ENV['STT_URL']}/s/{index}/v3/ws"), hear)


async def converse(index: int, session: Session, pcm: bytes) -> None:
    await anyio.sleep(index * 7 % 50 / 1000)  # not all of them at the same moment
    await play(Loop(pcm), session.audio)


async def main() -> None:
    sessions = int(ENV.get("SESSIONS", "1"))
    wanted = settings(sessions, ENV.get("PROFILE", "").split("+"))
    answer_short_paths()
    pcm = await anyio.Path(ENV["AUDIO"]).read_bytes() if ENV.get("AUDIO") else b""
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(open_app(wanted, plan(wanted, {}), on_progress=print))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        for index in range(sessions):
            # The harness tells sessions apart by the path they connect to.
            app.dependencies = replace(app.dependencies, listen=partial(listen, wanted, index))
            start = StartCommand(session_id=f"s{index}")
            session = await stack.enter_async_context(app.open(start, source="loop"))
            tasks.start_soon(converse, index, session, pcm)
        await stack.enter_async_context(server.serve(app, wanted.serve, adapters={}))
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main, backend_options={"use_uvloop": True})
