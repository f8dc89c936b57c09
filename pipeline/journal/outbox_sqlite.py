"""Durable outbox: webhook deliveries as a table of the journal file, stored with their event."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.to_thread

from pipeline.interfaces.outbox import Delivery, Due, Remaining, StoredDelivery, Wanted
from pipeline.journal.outbox_memory import new_id
from pipeline.journal.sqlite import DELETE_ROWS, JournalFile, JournalReader, Statement, reading
from pipeline.protocol.events import Frame

#: the event is not copied: it is in the file already, and is removed with its session
SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    id TEXT PRIMARY KEY,
    hook TEXT NOT NULL,
    session TEXT NOT NULL,
    key INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    type TEXT NOT NULL,
    failed INTEGER NOT NULL,
    due REAL NOT NULL,
    tries INTEGER NOT NULL,
    error TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (hook, failed, due, key, seq);
CREATE INDEX IF NOT EXISTS outbox_session ON outbox (session);
"""

#: statements that remove a session's rows, by its id
OF_SESSION = ("DELETE FROM outbox WHERE session = ?1",)

RETRY = "UPDATE outbox SET failed = 0, tries = 0, due = ? WHERE failed"


class RowReader:
    """Reads rows from the file in a worker thread; satisfies ``ReadRows``."""

    def __init__(self, path: Path) -> None:
        self._reader = JournalReader(path)
        self._one_thread = anyio.CapacityLimiter(1)

    async def __call__(self, sql: str, values: Sequence[str | float]) -> list[Any]:
        read = self._reader.rows
        return await anyio.to_thread.run_sync(read, sql, values, limiter=self._one_thread)

    def close(self) -> None:
        self._reader.close()


class ReadRows(Protocol):
    """Reads rows from the file. Raises ``JournalError``."""

    async def __call__(self, sql: str, values: Sequence[str | float]) -> list[Any]: ...


class OutboxInFile:
    """Deliveries in the journal's file; satisfies ``Outbox``."""

    def __init__(
        self,
        wanted: Wanted,
        read: ReadRows,
        change: Callable[[Statement], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        """``change`` returns once it is stored; ``clock`` returns Unix seconds."""
        self.wake: Callable[[], object] = _no_worker
        self._wanted = wanted
        self._read = read
        self._change = change
        self._clock = clock

    def entries(self, key: int, session_id: str, frame: Frame) -> Sequence[Statement]:
        """Return the statements to store in the same transaction as an event."""
        return tuple(
            Statement(
                "INSERT INTO outbox (id, hook, session, key, seq, type, failed, due, tries)"
                " VALUES (?, ?, ?, ?, ?, ?, 0, ?, 0)",
                (new_id(), hook, session_id, key, frame.seq, frame.type, self._clock()),
            )
            for hook in self._wanted(frame.type)
        )

    def listen(self, wake: Callable[[], object]) -> None:
        self.wake = wake

    async def fetch_due(self, hook: str, now: float, limit: int) -> Due:
        due = await self._read(
            "SELECT id, type, data, tries FROM outbox JOIN event USING (key, seq)"
            " WHERE hook = ? AND failed = 0 AND due <= ? ORDER BY due, key, seq LIMIT ?",
            (hook, now, limit),
        )
        later = await self._read(
            "SELECT MIN(due) FROM outbox WHERE hook = ? AND failed = 0 AND due > ?", (hook, now)
        )
        return Due([Delivery(row[0], row[1], bytes(row[2]), row[3]) for row in due], later[0][0])

    async def mark_delivered(self, delivery_id: str) -> None:
        await self._change(Statement("DELETE FROM outbox WHERE id = ?", (delivery_id,)))

    async def reschedule(self, delivery_id: str, due: float, error: str) -> None:
        sql = "UPDATE outbox SET tries = tries + 1, due = ?, error = ? WHERE id = ?"
        await self._change(Statement(sql, (due, error, delivery_id)))

    async def give_up(self, delivery_id: str, now: float, error: str) -> None:
        sql = "UPDATE outbox SET tries = tries + 1, failed = 1, due = ?, error = ? WHERE id = ?"
        await self._change(Statement(sql, (now, error, delivery_id)))

    async def give_up_all(self, hook: str, now: float, error: str) -> None:
        sql = "UPDATE outbox SET failed = 1, due = ?, error = ? WHERE hook = ? AND failed = 0"
        await self._change(Statement(sql, (now, error, hook)))

    async def retry(self, now: float) -> None:
        await self._change(Statement(RETRY, (now,)))
        self.wake()

    async def remaining(self) -> Mapping[str, Remaining]:
        rows = await self._read(
            "SELECT hook, SUM(failed = 0), SUM(failed) FROM outbox GROUP BY hook", ()
        )
        return {hook: Remaining(pending, failed) for hook, pending, failed in rows}


def removal(*, before: float) -> Statement:
    """Return a statement that removes some deliveries given up before ``before`` (Unix seconds)."""
    return Statement(
        "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE failed AND due < ? LIMIT ?)",
        (before, DELETE_ROWS),
    )


def stored_deliveries(path: Path) -> Sequence[StoredDelivery]:
    """Return pending and given-up deliveries of the journal at ``path``, oldest first.

    Raises ``JournalError``.
    """
    with reading(path) as db:
        rows = db.execute(
            "SELECT id, hook, session, seq, type, failed, tries, due, error FROM outbox"
            " ORDER BY key, seq, hook"
        ).fetchall()
    return [
        StoredDelivery(
            id=row[0],
            hook=row[1],
            session_id=row[2],
            seq=row[3],
            type=row[4],
            failed=bool(row[5]),
            tries=row[6],
            due=row[7],
            error=row[8],
        )
        for row in rows
    ]


def retry_stored(path: Path, now: float) -> None:
    """Mark given-up deliveries as due, for the next run of the service. Raises ``JournalError``."""
    file = JournalFile(path, tables=SCHEMA)
    try:
        file.write([Statement(RETRY, (now,))])
        file.checkpoint()
    finally:
        file.close()


def _no_worker() -> None:
    """Default wake-up callback, before a delivery worker listens."""
