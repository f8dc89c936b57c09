"""Pipes as audio input: opened once, read without a position, and stopped from another thread."""

import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.lowlevel
from anyio import to_thread

from pipeline.errors import InputError
from pipeline.runtime.containers import MOST_HEAD, is_undecided
from pipeline.runtime.tasks import plain_errors

T = TypeVar("T")

PIPE_BYTES = 65_536  #: per read at most: the size of Linux's pipe buffer


class PipeInput:
    """Readable end of a pipe, a named pipe or standard input.

    ``read`` blocks: call it in a worker thread. ``stop`` lets it return at once with no bytes,
    as at the end; a named pipe that no process has opened for writing does not end.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        self.name = name
        self._descriptor = descriptor
        self._ahead = b""
        self._stopped, self._stop = os.pipe()

    @classmethod
    def open(cls, path: Path) -> "PipeInput":
        """Open the pipe at ``path`` without waiting for its writer. Raises ``OSError``."""
        return cls(os.open(path, os.O_RDONLY | os.O_NONBLOCK), str(path))

    @classmethod
    def standard(cls) -> "PipeInput":
        """Return standard input, read past Python's own buffer. Raises ``InputError``."""
        try:
            return cls(os.dup(0), "stdin")
        except OSError as error:
            raise InputError(f"standard input cannot be read: {error.strerror}") from error

    def read(self, size: int = PIPE_BYTES) -> bytes:
        """Return up to ``size`` bytes as soon as there are any; empty at the end."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        return self._next(min(size, PIPE_BYTES))

    def head(self) -> bytes:
        """Return the first bytes, as many as it takes to recognise a container; keep them."""
        while is_undecided(self._ahead) and (more := self._next(MOST_HEAD)):
            self._ahead += more
        return self._ahead

    def stop(self) -> None:
        """Let ``read`` return no bytes, from now on; without effect once the pipe is closed."""
        if self._descriptor >= 0:
            os.write(self._stop, b".")

    def close(self) -> None:
        """Release the descriptors; no ``read`` may be going on."""
        if self._descriptor >= 0:
            for descriptor in (self._descriptor, self._stopped, self._stop):
                os.close(descriptor)
        self._descriptor = -1

    def _next(self, size: int) -> bytes:
        while self._wait():
            try:
                return os.read(self._descriptor, size)
            except BlockingIOError:
                continue  # another reader of the pipe was faster
        return b""

    def _wait(self) -> bool:
        """Wait until there is something to read, or the end; return False when stopped."""
        if not hasattr(select, "poll"):  # Windows, where only sockets can be waited for
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.register(self._stopped, select.POLLIN)
        return self._stopped not in dict(poll.poll())


async def reading(pipe: PipeInput | None, read: Callable[[], T]) -> T:
    """Run ``read`` in a worker thread; on cancellation stop ``pipe``, and wait for the thread."""
    if pipe is None:
        return await to_thread.run_sync(read)
    is_done = False

    async def stop_on_cancellation() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            if not is_done:
                pipe.stop()

    results: list[T] = []
    async with plain_errors(), anyio.create_task_group() as tasks:
        tasks.start_soon(stop_on_cancellation)
        try:
            results.append(await to_thread.run_sync(read))
        finally:  # a stopped pipe ends too early: what was read of it is no recording
            await anyio.lowlevel.checkpoint_if_cancelled()
        is_done = True
        tasks.cancel_scope.cancel()
    return results[0]
