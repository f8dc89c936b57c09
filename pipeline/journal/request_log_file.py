"""Request log in a file of its own, which several processes may write at once.

It has the tables of a journal file, so the same queries read it; but no write-ahead log, which
not every version of SQLite lets several processes write (see ``sqlite``).
"""

import sqlite3
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import anyio.to_thread

from pipeline.errors import JournalError
from pipeline.journal.durable import wall_clock
from pipeline.journal.request_log import RequestLog
from pipeline.journal.request_log_sqlite import OLDEST_TENTH, SCHEMA, CallsInFile, removals
from pipeline.journal.schema import prepare
from pipeline.journal.sqlite import Statement
from pipeline.runtime.tasks import plain_errors

KEEP = 1000  #: calls
KEEP_BYTES = 16 << 20  #: in use in the file; above it the oldest tenth of the calls is removed
KEEP_SECONDS = 30 * 86400.0
MAX_WAITING = 1000  #: changes that are not written yet; the oldest of more are dropped
LOCK_TIMEOUT = 2.0  #: seconds for another process to finish writing
CLOSE_TIMEOUT = 3.0  #: seconds for the last changes
_PRIVATE = 0o600  # error bodies are confidential
_PRIVATE_DIRECTORY = 0o700

OnWarning = Callable[[str], object]


@asynccontextmanager
async def open_request_log(
    path: Path,
    on_warning: OnWarning,
    *,
    keep: int = KEEP,
    keep_bytes: int = KEEP_BYTES,
    clock: Callable[[], float] = wall_clock,
) -> AsyncGenerator[RequestLog]:
    """Open the log at ``path``; its last changes are written on exit.

    When the file cannot be written, ``on_warning`` is called once, and the changes are dropped.
    """
    file = _File(path, keep=keep, keep_bytes=keep_bytes, clock=clock)
    writer = _Writer(file, on_warning)
    async with plain_errors(), anyio.create_task_group() as tasks:
        tasks.start_soon(writer.work)
        try:
            yield CallsInFile(writer.put, clock)
        finally:
            writer.stop()


class _Writer:
    """Collects changes, and writes them in a thread: the event loop never waits for the disk."""

    def __init__(self, file: "_File", on_warning: OnWarning) -> None:
        self._file = file
        self._on_warning = on_warning
        self._changes: deque[Statement] = deque(maxlen=MAX_WAITING)
        self._changed = anyio.Event()
        self._is_stopping = False
        self._scope = anyio.CancelScope(shield=True)  # an interrupted run keeps its log too

    def put(self, statement: Statement) -> None:
        self._changes.append(statement)
        self._changed.set()

    def stop(self) -> None:
        self._is_stopping = True
        self._scope.deadline = anyio.current_time() + CLOSE_TIMEOUT
        self._changed.set()

    async def work(self) -> None:
        """Write changes until ``stop``, or until the file cannot be written."""
        with self._scope:
            while self._changes or not self._is_stopping:
                await self._changed.wait()
                self._changed = anyio.Event()
                batch = list(self._changes)
                self._changes.clear()
                if not batch:
                    continue
                try:
                    await anyio.to_thread.run_sync(self._file.write, batch, abandon_on_cancel=True)
                except (OSError, sqlite3.Error, JournalError) as error:
                    self._on_warning(f"the request log {self._file.path} is not kept: {error}")
                    return


class _File:
    """The file, opened for each batch only: a long run keeps no lock. Blocks."""

    def __init__(
        self, path: Path, *, keep: int, keep_bytes: int, clock: Callable[[], float]
    ) -> None:
        self.path = path
        self._keep = keep
        self._keep_bytes = keep_bytes
        self._clock = clock

    def write(self, batch: Sequence[Statement]) -> None:
        """Store ``batch`` and remove the oldest calls past the limits."""
        self.path.parent.mkdir(_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        self.path.touch(_PRIVATE)
        oldest = removals(before=self._clock() - KEEP_SECONDS, keep=self._keep)
        with closing(sqlite3.connect(self.path, timeout=LOCK_TIMEOUT, isolation_level=None)) as db:
            prepare(db, self.path, SCHEMA)
            db.execute("BEGIN IMMEDIATE")
            for statement in (*batch, *oldest):
                db.execute(*statement)
            if _size(db) > self._keep_bytes:
                db.execute(*OLDEST_TENTH)
            db.execute("COMMIT")


def _size(db: sqlite3.Connection) -> int:
    """Return the bytes in use, without free pages."""
    pages, free, page = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * page
