"""Child process of the embedded engines: start, readiness, end. Loads no model itself."""

import logging
import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from subprocess import PIPE
from typing import Literal

import anyio
import msgspec
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.text import TextReceiveStream
from msgspec import Struct

from pipeline.config.settings import LocalSettings
from pipeline.errors import EngineError

_CLOSE_SECONDS = 5.0
_LONGEST_READY_LINE = 65_536  #: bytes
_LONGEST_LINE = 2_000  #: characters of a line of the child's stderr that are passed on

_log = logging.getLogger(__name__)

OnProgress = Callable[[str], None]


class Engines(Struct, frozen=True):
    """Addresses of the running engines; the ready line of ``pipeline local --json``."""

    stt_url: str
    llm_url: str
    llm_key: str  #: empty: any key is accepted
    stt_model: str
    llm_model: str
    pid: int


class EngineMessage(Struct, frozen=True):
    """A chat message."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChildConfig(Struct, frozen=True):
    """Configuration of the child, the first line on its stdin; it runs until stdin ends."""

    settings: LocalSettings
    llm_key: str = ""
    prefill: tuple[EngineMessage, ...] = ()
    speech: bool = True  #: whether to serve speech-to-text


@asynccontextmanager
async def start_engines(
    settings: LocalSettings,
    on_progress: OnProgress,
    *,
    llm_key: str = "",
    prefill: tuple[EngineMessage, ...] = (),
    speech: bool = True,
) -> AsyncGenerator[Engines]:
    """Run the engines while the context is open.

    ``on_progress`` receives their messages while they load, and the last one if they end by
    themselves; what they write in between goes to the log: a view may be open on the terminal.
    ``prefill`` is the beginning of conversations, processed by the model in advance. Without
    ``speech`` there is no speech-to-text, which saves its memory and time at the start. Raises
    EngineError, with the child's last message, if they do not start; if they fail later, their
    sockets close.
    """
    config = msgspec.json.encode(ChildConfig(settings, llm_key, prefill, speech)) + b"\n"
    command = [sys.executable, "-m", "pipeline", "local", "--json", "--child"]
    # its own process session: Ctrl-C must not end it before the last turn is transcribed
    process = await anyio.open_process(
        command, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=os.name == "posix"
    )
    words = ChildLog(on_progress)
    engines: Engines | None = None
    try:
        async with anyio.create_task_group() as tasks:
            assert process.stderr is not None
            tasks.start_soon(words.relay, process.stderr)
            engines = await _ready(process, config)
            if engines is not None:
                words.state = "ready"
                yield engines
                words.state = "ending"
                await _end(process)
            tasks.cancel_scope.cancel()
    finally:
        await _end(process)
    if engines is None:
        raise EngineError(f"the embedded engines did not start: {words.last}")


class ChildLog:
    """The child's stderr, passed on line by line."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self.state: Literal["loading", "ready", "ending"] = "loading"
        self.last = "no message on stderr"

    async def relay(self, stderr: ByteReceiveStream) -> None:
        """Read ``stderr`` to its end."""
        rest = ""
        # on a busy machine ``_end`` may close the pipe before its end was read
        with suppress(anyio.ClosedResourceError):
            async for text in TextReceiveStream(stderr, errors="replace"):
                *lines, rest = (rest + text).split("\n")
                for line in lines:
                    self._pass_on(line)
                rest = rest[-_LONGEST_LINE:]
        self._pass_on(rest)
        if self.state == "ready":
            self._on_progress(f"the embedded engines ended: {self.last}")

    def _pass_on(self, line: str) -> None:
        if line := line.strip()[:_LONGEST_LINE]:
            self.last = line.removeprefix("error: ")
            if self.state == "loading":
                self._on_progress(line)
            else:
                _log.info("%s", line)


async def _ready(process: Process, config: bytes) -> Engines | None:
    """Return the child's ready line; None if it ended without one."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        await process.stdin.send(config)
        lines = BufferedByteReceiveStream(process.stdout)
        line = await lines.receive_until(b"\n", _LONGEST_READY_LINE)
        return msgspec.json.decode(line, type=Engines)
    except (anyio.BrokenResourceError, anyio.IncompleteRead, anyio.DelimiterNotFound):
        return None
    except msgspec.DecodeError:
        return None


async def _end(process: Process) -> None:
    """End the child: close its stdin, wait, kill it if needed, and release its pipes.

    No SIGTERM: it has the same effect, and asyncio 3.11 loses the exit code if it is late.
    """
    with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
        assert process.stdin is not None
        await process.stdin.aclose()
        await process.wait()
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
    with anyio.CancelScope(shield=True):
        await process.aclose()
