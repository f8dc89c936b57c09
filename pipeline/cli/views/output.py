"""Where events go that a person or a program wants to see: a view, fed from its own thread.

A terminal or a reader of our pipe may be slow; the event loop never waits for it.
"""

import logging
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import BinaryIO, Protocol

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectReceiveStream

from pipeline.cli.views.timeline import Discarded
from pipeline.errors import PipelineError
from pipeline.protocol.events import Frame, ServerEvent, UnknownEvent, decode_event

#: events that may wait for a slow reader: as many as a session's log keeps
BACKLOG = 100_000

#: seconds for the last words to reach the reader
GOODBYE = 2.0


#: what may be shown: events as they stand in the log, and what none of them tells
Item = Frame | Discarded


class View(Protocol):
    """Something that shows events."""

    def show(self, event: ServerEvent) -> None: ...

    def discarded(self, guess: Discarded) -> None: ...

    def close(self) -> None: ...


class Printer(Protocol):
    """Something that takes what may be shown."""

    def write(self, items: Sequence[Item]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """Every event as it came, one per line."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def write(self, items: Sequence[Item]) -> None:
        frames = (item for item in items if isinstance(item, Frame))
        self._out.write(b"".join(frame.data + b"\n" for frame in frames))
        self._out.flush()

    def close(self) -> None:
        self._out.flush()


class Viewed:
    """Every event decoded, for a view; events of a newer server are passed over."""

    def __init__(self, view: View) -> None:
        self._view = view

    def write(self, items: Sequence[Item]) -> None:
        for item in items:
            if isinstance(item, Discarded):
                self._view.discarded(item)
                continue
            event = decode_event(item.data)
            if not isinstance(event, UnknownEvent):
                self._view.show(event)

    def close(self) -> None:
        self._view.close()


class OutputStuck(PipelineError):
    """Whoever reads our output has stopped reading it."""


def printer(*, json: bool, name_sessions: bool = False) -> Printer:
    """Return what suits standard output: JSON lines, a live view, or plain lines."""
    if json:
        return JsonLines(sys.stdout.buffer)
    if sys.stdout.isatty() and not name_sessions:
        from rich.console import Console  # heavy: only for a terminal

        from pipeline.cli.views.live import LiveView

        return Viewed(LiveView(Console()))
    from pipeline.cli.views.lines import LineView

    return Viewed(LineView(sys.stdout, name_sessions=name_sessions))


@asynccontextmanager
async def printing(to: Printer) -> AsyncGenerator[Callable[[Item], None]]:
    """Give a function that hands an item to ``to`` and never waits.

    On leaving, also when cancelled, what was handed over is still written, for a while.
    Raises ``OutputStuck`` from that function when the reader is too far behind.
    """
    send, receive = anyio.create_memory_object_stream[Item](BACKLOG)
    done = anyio.Event()

    def put(item: Item) -> None:
        try:
            send.send_nowait(item)
        except anyio.BrokenResourceError:
            pass  # nobody reads any more; ``_write`` has raised why
        except anyio.WouldBlock:
            raise OutputStuck(f"the reader of our output is {BACKLOG} events behind") from None

    async with anyio.create_task_group() as tg:
        writing = anyio.CancelScope(shield=True)
        tg.start_soon(_write, receive, to, done, writing)
        try:
            yield put
        finally:
            send.close()
            with anyio.move_on_after(GOODBYE, shield=True):
                await done.wait()
            writing.cancel()


async def _write(
    receive: MemoryObjectReceiveStream[Item],
    to: Printer,
    done: anyio.Event,
    scope: anyio.CancelScope,
) -> None:
    try:
        with scope, receive:
            async for item in receive:
                batch = [item, *_waiting(receive)]
                await to_thread.run_sync(to.write, batch, abandon_on_cancel=True)
            await to_thread.run_sync(to.close, abandon_on_cancel=True)
    finally:
        done.set()


def _waiting(receive: MemoryObjectReceiveStream[Item]) -> list[Item]:
    """Return what else is there already."""
    waiting = receive.statistics().current_buffer_used
    return [receive.receive_nowait() for _ in range(waiting)]


_logs: list[logging.Logger] = []  # at most one, instead of bare lines on stderr


def log_instead(log: logging.Logger) -> None:
    """Have ``log`` told what would stand as a bare line on stderr: what it writes has a form."""
    _logs[:] = [log]


def progress(line: str) -> None:
    """Tell a person how far something is; never on standard output."""
    if _logs:
        _logs[0].info("%s", line)
        return
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def say(message: str, *, prefix: str = "error: ") -> None:
    """Write a message to stderr: the first line behind ``prefix``, the others below it."""
    if _logs:
        _logs[0].error("%s", message.strip())
        return
    text = message.strip().replace("\n", "\n" + " " * len(prefix))
    sys.stderr.write(f"{prefix}{text}\n")
