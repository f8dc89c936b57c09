"""The embedded engines as one child process: started, waited for, ended. Never a model in here."""

import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from subprocess import PIPE
from typing import Literal

import anyio
import msgspec
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.text import TextReceiveStream
from msgspec import Struct

from pipeline.config.settings import LocalSettings
from pipeline.errors import EngineError

_GOODBYE_SECONDS = 5.0
_LONGEST_READY_LINE = 65_536  #: bytes
_LONGEST_LINE = 2_000  #: characters of what the child says that are passed on

OnProgress = Callable[[str], None]


class Engines(Struct, frozen=True):
    """Where the engines answer; the ready line of ``pipeline local --json``."""

    stt_url: str
    llm_url: str
    llm_key: str  #: empty: any will do
    stt_model: str
    llm_model: str
    pid: int


class EngineMessage(Struct, frozen=True):
    """A chat message."""

    role: Literal["system", "user", "assistant"]
    content: str


class Orders(Struct, frozen=True):
    """The first line on the child's stdin; it lives until its stdin ends."""

    settings: LocalSettings
    llm_key: str = ""
    prefill: tuple[EngineMessage, ...] = ()


@asynccontextmanager
async def start_engines(
    settings: LocalSettings,
    on_progress: OnProgress,
    *,
    llm_key: str = "",
    prefill: tuple[EngineMessage, ...] = (),
) -> AsyncGenerator[Engines]:
    """Run the engines while the context is open.

    ``on_progress`` gets what they say: while they load, and a line when a generation is stopped.
    ``prefill`` is how conversations will begin: read into the model's memory before they do.
    Raises EngineError, with the child's last words, when they do not start; if they die later,
    their sockets close.
    """
    orders = msgspec.json.encode(Orders(settings, llm_key, prefill)) + b"\n"
    command = [sys.executable, "-m", "pipeline", "local", "--json", "--child"]
    # a session of its own: Ctrl-C is for us, and we still want the last turn's words
    process = await anyio.open_process(
        command, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=os.name == "posix"
    )
    words = _Words(on_progress)
    engines: Engines | None = None
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(words.relay, process)
            engines = await _ready(process, orders)
            if engines is not None:
                yield engines
                await _end(process)
            tasks.cancel_scope.cancel()
    finally:
        await _end(process)
    if engines is None:
        raise EngineError(f"the embedded engines did not start: {words.last}")


class _Words:
    """What the child says on stderr, passed on line by line."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self.last = "they said nothing"

    async def relay(self, process: Process) -> None:
        assert process.stderr is not None
        rest = ""
        # on a busy machine ``_end`` may close the pipe before its end was read
        with suppress(anyio.ClosedResourceError):
            async for text in TextReceiveStream(process.stderr, errors="replace"):
                *lines, rest = (rest + text).split("\n")
                for line in lines:
                    self._say(line)
                rest = rest[-_LONGEST_LINE:]
        self._say(rest)

    def _say(self, line: str) -> None:
        if line := line.strip()[:_LONGEST_LINE]:
            self.last = line.removeprefix("error: ")
            self._on_progress(line)


async def _ready(process: Process, orders: bytes) -> Engines | None:
    """The child's ready line; None when it ended before it had one."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        await process.stdin.send(orders)
        lines = BufferedByteReceiveStream(process.stdout)
        line = await lines.receive_until(b"\n", _LONGEST_READY_LINE)
        return msgspec.json.decode(line, type=Engines)
    except (anyio.BrokenResourceError, anyio.IncompleteRead, anyio.DelimiterNotFound):
        return None
    except msgspec.DecodeError:
        return None


async def _end(process: Process) -> None:
    """Close its stdin, which ends it; wait; insist; and leave nothing behind.

    No SIGTERM: it would do the same, and asyncio 3.11 loses the exit code if it comes too late.
    """
    with anyio.move_on_after(_GOODBYE_SECONDS, shield=True):
        assert process.stdin is not None
        await process.stdin.aclose()
        await process.wait()
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
    with anyio.CancelScope(shield=True):
        await process.aclose()
