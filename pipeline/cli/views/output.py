"""Output of events to a view or as JSON lines, from a worker thread.

A terminal or the reader of a pipe may be slow; the event loop never waits for it.
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

#: seconds for the last lines to reach the reader
CLOSE_TIMEOUT = 2.0


#: an item of output: an encoded event, or a discarded speculative response, which has no event
Item = Frame | Discarded


class View(Protocol):
    """Interface of a view of events."""

    def show(self, event: ServerEvent) -> None: ...

    def discarded(self, speculation: Discarded) -> None: ...

    def close(self) -> None: ...


class Printer(Protocol):
    """Interface of an output of items."""

    def write(self, items: Sequence[Item]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """JSON output: every event as received, one per line."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def write(self, items: Sequence[Item]) -> None:
        frames = (item for item in items if isinstance(item, Frame))
        self._out.write(b"".join(frame.data + b"\n" for frame in frames))
        self._out.flush()

    def close(self) -> None:
        self._out.flush()


class ViewPrinter:
    """Output of decoded events to a view; events of unknown types are skipped."""

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
    """The reader of our output is too far behind."""


def printer(*, json: bool, name_sessions: bool = False, footer: Callable[[], str] = str) -> Printer:
    """Return the output for stdout: JSON lines, a live view above ``footer``, or plain lines."""
    if json:
        return JsonLines(sys.stdout.buffer)
    if sys.stdout.isatty() and not name_sessions:
        from rich.console import Console  # slow to import: only for a terminal

        from pipeline.cli.views.live import LiveView

        return ViewPrinter(LiveView(Console(), footer))
    from pipeline.cli.views.lines import LineView

    return ViewPrinter(LineView(sys.stdout, name_sessions=name_sessions))


@asynccontextmanager
async def printing(to: Printer) -> AsyncGenerator[Callable[[Item], None]]:
    """Return a function that passes an item to ``to`` and never waits.

    On leaving, also when cancelled, pending items are still written, within ``CLOSE_TIMEOUT``.
    The function raises ``OutputStuck`` when the reader is too far behind.
    """
    send, receive = anyio.create_memory_object_stream[Item](BACKLOG)
    done = anyio.Event()

    def put(item: Item) -> None:
        try:
            send.send_nowait(item)
        except anyio.BrokenResourceError:
            pass  # the reader is gone; ``_write`` has raised the reason
        except anyio.WouldBlock:
            raise OutputStuck(f"the reader of our output is {BACKLOG} events behind") from None

    async with anyio.create_task_group() as tg:
        writing = anyio.CancelScope(shield=True)
        tg.start_soon(_write, receive, to, done, writing)
        try:
            yield put
        finally:
            send.close()
            with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
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
    """Return the items that are already buffered."""
    waiting = receive.statistics().current_buffer_used
    return [receive.receive_nowait() for _ in range(waiting)]


_logs: list[logging.Logger] = []  # at most one, in place of plain lines on stderr


def log_instead(log: logging.Logger) -> None:
    """Send messages to ``log`` instead of stderr: its records have a format."""
    _logs[:] = [log]


def progress(line: str) -> None:
    """Print a progress message to stderr or the log; never to standard output."""
    if _logs:
        _logs[0].info("%s", line)
        return
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def print_error(message: str, *, prefix: str = "error: ") -> None:
    """Print an error to stderr: the first line after ``prefix``, further lines indented."""
    if _logs:
        _logs[0].error("%s", message.strip())
        return
    text = message.strip().replace("\n", "\n" + " " * len(prefix))
    sys.stderr.write(f"{prefix}{text}\n")
