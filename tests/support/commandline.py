"""The ``pipeline`` command in a child process, with its output."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE

import anyio
from anyio.abc import Process
from msgspec import Struct

from pipeline.protocol.events import ServerEvent, UnknownEvent, decode_event

RECORDING = Path(__file__).parents[2] / "samples" / "audio" / "jfk-inaugural.wav"
COMMAND = [sys.executable, "-m", "pipeline"]

#: seconds for a command to end; imports are slow on a busy machine
PATIENCE = 40.0


class Ran(Struct, frozen=True):
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[ServerEvent | UnknownEvent]:
        return [decode_event(line) for line in self.out.splitlines()]


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without our own variables, and with ``more``.

    Commands keep no request log in the state directory of the user who runs the tests.
    """
    ours = ("PIPELINE_", "ASSEMBLYAI_", "XDG_STATE_HOME")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PIPELINE_JOURNAL__RUN_REQUESTS": "false", **more}


async def pipeline(*words: object, env: Mapping[str, str] | None = None, **places: Path) -> Ran:
    """Run ``pipeline`` with ``words`` to its end, without a terminal or a key."""
    with anyio.fail_after(PATIENCE):
        done = await anyio.run_process(
            [*COMMAND, *map(str, words)],
            input=b"",
            check=False,
            env=environment(**(env or {})),
            cwd=places.get("cwd"),
        )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


class Running:
    """A command that runs until it is stopped."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._stderr = b""  # as far as it was read

    @property
    def pid(self) -> int:
        return self._process.pid

    async def line(self, *, holding: str, of: str = "stderr") -> str:
        """Wait for a line with ``holding`` in it and return it."""
        stream = self._process.stderr if of == "stderr" else self._process.stdout
        assert stream is not None
        seen = b""
        with anyio.fail_after(PATIENCE):
            while True:
                data = await stream.receive()
                seen += data
                if of == "stderr":
                    self._stderr += data
                *whole, _ = seen.decode(errors="replace").split("\n")
                for line in whole:
                    if holding in line:
                        return line

    async def stderr(self) -> str:
        """Wait for the end of stderr and return all that was written to it."""
        assert self._process.stderr is not None
        with anyio.fail_after(PATIENCE):
            async for data in self._process.stderr:
                self._stderr += data
        return self._stderr.decode()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for the end and return the exit code."""
        with anyio.fail_after(PATIENCE):
            return await self._process.wait()

    async def stop(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        self._process.send_signal(number)
        return await self.ended()


@asynccontextmanager
async def running(*words: object, env: Mapping[str, str] | None = None) -> AsyncGenerator[Running]:
    """Start ``pipeline`` with ``words``; on exit, kill it if it still runs."""
    process = await anyio.open_process(
        [*COMMAND, *map(str, words)],
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env=environment(**(env or {})),
    )
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()


def loaded_by(*words: str) -> set[str]:
    """Return the modules that are imported when ``pipeline`` runs with ``words``."""
    program = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('\\0' + ' '.join(sys.modules)))\n"
        f"sys.argv = ['pipeline', *{words!r}]\n"
        "from pipeline.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=PATIENCE)
    return set(done.stdout.decode().partition("\0")[2].split())
