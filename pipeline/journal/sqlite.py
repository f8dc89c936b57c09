"""Journal file: SQLite with a write-ahead log, used by one thread over one connection.

Before SQLite 3.51.3 two connections that write and checkpoint at once may corrupt the file
(SQLite documentation, WAL-reset bug, 2026-03). Therefore one connection does both, and readers
of a running service open the file read-only.
"""

import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from pipeline.errors import JournalError
from pipeline.journal.rows import (
    DamagedSession,
    InvalidRow,
    StoredSession,
    data_of,
    encoded_runs,
    session_of,
)
from pipeline.journal.schema import check_version, prepare

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

WAL_BYTES = 64 << 20  #: of write-ahead log, then it is checkpointed without waiting for idle time
_PRIVATE = 0o600  # transcripts are confidential: readable by the service's own user only
DELETE_ROWS = 5000  #: events removed at a time, so that no write waits long behind a removal


class KeptSession(NamedTuple):
    """Session in the file, as far as retention needs it."""

    key: int
    id: str
    ended: float | None  #: Unix seconds; None while it is open


class Opened(NamedTuple):
    """Start of a session, or its continuation under a higher epoch."""

    key: int
    id: str
    epoch: int
    at: float  #: Unix seconds
    epochs: Sequence[tuple[int, int]] = ()  #: see ``journal.epochs.EpochRuns``


class Ended(NamedTuple):
    """End of a session, after its last event."""

    key: int
    at: float  #: Unix seconds


class Statement(NamedTuple):
    """Change to an additional table in the file; see the ``tables`` of ``JournalFile``."""

    sql: str
    values: Sequence[str | float | bytes | None]


class Written(NamedTuple):
    """Event to store."""

    key: int
    seq: int
    data: bytes
    statements: Sequence[Statement] = ()  #: stored in the same transaction


Change = Opened | Written | Ended | Statement


class JournalFile:
    """Open journal file, locked for writing. Every method blocks; one thread at a time."""

    def __init__(
        self,
        path: Path,
        *,
        sync_always: bool = False,
        tables: str = "",
        of_session: Sequence[str] = (),
    ) -> None:
        """Open or create the file; ``tables`` is SQL that creates additional tables.

        ``of_session`` are statements that remove a session's rows from them, by its id. Raises
        ``JournalError`` when the file cannot be used.
        """
        self._path = path
        self._of_session = of_session
        with _mapped_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(path)
            path.touch(_PRIVATE)  # SQLite gives its -wal and -shm files the same permissions
            self._db = sqlite3.connect(
                path, isolation_level=None, timeout=0, check_same_thread=False
            )
            self._db.text_factory = _text
            try:
                for pragma in (
                    "journal_mode=WAL",
                    f"synchronous={'FULL' if sync_always else 'NORMAL'}",
                    "wal_autocheckpoint=0",
                    f"journal_size_limit={WAL_BYTES}",
                    "secure_delete=ON",  # removed rows are overwritten
                ):
                    self._db.execute(f"PRAGMA {pragma}")
                prepare(self._db, path, tables)
            except (sqlite3.Error, JournalError):
                self.close()
                raise

    def sessions(self) -> tuple[list[StoredSession], list[DamagedSession]]:
        """Return every session in the file, oldest first, and those whose row is damaged."""
        with _mapped_errors(self._path):
            return _sessions(self._db)

    def damaged(self) -> list[DamagedSession]:
        """Return the sessions that were set aside."""
        with _mapped_errors(self._path):
            return _damaged(self._db)

    def next_key(self) -> int:
        """Return a key that no row of the file has."""
        with _mapped_errors(self._path):
            (newest,) = self._db.execute(
                "SELECT MAX((SELECT COALESCE(MAX(key), 0) FROM session),"
                " (SELECT COALESCE(MAX(key), 0) FROM damaged),"
                " (SELECT COALESCE(MAX(key), 0) FROM event))"
            ).fetchone()
        return int(newest) + 1

    def kept(self) -> list[KeptSession]:
        """Return every session in the file, with its end only; a damaged one ended when found."""
        with _mapped_errors(self._path):
            rows = self._db.execute(
                "SELECT key, id, ended FROM session WHERE typeof(ended) IN ('real', 'null')"
                " UNION ALL SELECT key, id, found FROM damaged WHERE typeof(found) = 'real'"
            )
            return [KeptSession(*row) for row in rows]

    def events(self, key: int) -> Iterator[bytes]:
        """Yield the JSON of a session's events, in order."""
        with _mapped_errors(self._path):
            yield from _events(self._db, key)

    def set_aside(self, damaged: Iterable[DamagedSession]) -> None:
        """Move sessions to the damaged ones; their events stay. Their ids can be used again."""
        self.write(
            statement
            for session in damaged
            for statement in (
                Statement("INSERT OR REPLACE INTO damaged (key, id, found, reason)"
                          " VALUES (?, ?, ?, ?)", session),
                Statement("DELETE FROM session WHERE key = ?", (session.key,)),
            )
        )  # fmt: skip

    def write(self, changes: Iterable[Change]) -> None:
        """Store ``changes`` in one transaction: all, or none and a ``JournalError``."""
        with _mapped_errors(self._path):
            try:
                self._db.execute("BEGIN IMMEDIATE")
                for change in changes:
                    self._apply(change)
                self._db.execute("COMMIT")
            except sqlite3.Error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _apply(self, change: Change) -> None:
        match change:
            case Written(key, seq, data, statements):
                self._db.execute(
                    "INSERT INTO event (key, seq, data) VALUES (?, ?, ?)", (key, seq, data)
                )
                for statement in statements:
                    self._db.execute(*statement)
            case Opened(key, session_id, epoch, at, epochs):
                self._db.execute(
                    "INSERT INTO session (key, id, epoch, opened, epochs) VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT (key) DO UPDATE SET epoch = excluded.epoch,"
                    " epochs = excluded.epochs, ended = NULL",
                    (key, session_id, epoch, at, encoded_runs(epochs)),
                )
            case Ended(key, at):
                self._db.execute("UPDATE session SET ended = ? WHERE key = ?", (at, key))
            case Statement(sql, values):
                self._db.execute(sql, values)

    def remove(self, statement: Statement) -> int:
        """Execute one removal and return the number of removed rows."""
        with _mapped_errors(self._path):
            return self._db.execute(*statement).rowcount

    def wal_is_long(self) -> bool:
        """Return whether the write-ahead log should be checkpointed. Raises ``JournalError``."""
        with _mapped_errors(self._path):
            try:
                size = self._path.with_name(self._path.name + "-wal").stat().st_size
            except FileNotFoundError:
                return False
            return size > WAL_BYTES

    def checkpoint(self) -> bool:
        """Move the write-ahead log into the file, where it survives a power loss, and empty it.

        Returns False while another process reads an older state: the log is kept for it.
        """
        with _mapped_errors(self._path):
            (busy, *_) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def size(self) -> int:
        """Return the bytes in use, without the free pages of removed events."""
        with _mapped_errors(self._path):
            pages, free, page = (
                int(self._db.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_count", "freelist_count", "page_size")
            )
        return (pages - free) * page

    def remove_some(self, key: int, session_id: str) -> bool:
        """Remove some events of a session, finally its other rows; return whether any are left.

        This is the only place where sessions are removed.
        """
        with _mapped_errors(self._path):
            removed = self._db.execute(
                "DELETE FROM event WHERE key = ?1 AND seq <= ?2 +"
                " (SELECT COALESCE(MIN(seq), 0) FROM event WHERE key = ?1)",
                (key, DELETE_ROWS),
            )
            if removed.rowcount > 0:
                return True
            reused = self._db.execute(
                "SELECT 1 FROM session WHERE id = ? AND key <> ?", (session_id, key)
            ).fetchone()
            self.write([
                *(Statement(sql, (session_id,)) for sql in self._of_session if not reused),
                Statement("DELETE FROM session WHERE key = ?", (key,)),
                Statement("DELETE FROM damaged WHERE key = ?", (key,)),
            ])  # fmt: skip
        return False

    def close(self) -> None:
        self._db.close()
        self._lock.close()


class JournalReader:
    """Read-only connection to the journal file. Blocks; one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None  # opened on first use

    def events(self, key: int, first: int, last: int) -> list[bytes]:
        """Return the JSON of a session's stored events from ``first`` to ``last``."""
        with _mapped_errors(self._path):
            return list(_events(self._opened(), key, first, last))

    def rows(self, sql: str, values: Sequence[str | float]) -> list[Any]:
        """Return the rows of a query."""
        with _mapped_errors(self._path):
            return self._opened().execute(sql, values).fetchall()

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = _read_only(self._path, check_same_thread=False)
        return self._db

    def close(self) -> None:
        if self._db is not None:
            self._db.close()


def _lock(path: Path) -> IO[bytes]:
    """Lock the file while the result is open: two writers would assign the same numbers."""
    lock = path.with_name(path.name + "-lock").open("ab")
    if fcntl is not None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise JournalError(f"journal {path} is in use by another service") from error
    return lock


@contextmanager
def _mapped_errors(path: Path) -> Generator[None]:
    try:
        yield
    except sqlite3.IntegrityError:
        raise  # a number assigned twice: a bug of this package, not a disk error
    except (sqlite3.Error, OSError) as error:
        raise JournalError(f"journal {path}: {error}") from error
    except InvalidRow as error:
        raise JournalError(f"journal {path} contains an invalid row: {error}") from error


def _text(value: bytes) -> str:
    """Decode a text of the file; an invalid one must not make its row unreadable."""
    return value.decode("utf-8", "replace")


def _sessions(db: sqlite3.Connection) -> tuple[list[StoredSession], list[DamagedSession]]:
    """Return the sessions, and those whose row cannot be used."""
    has_epochs = any(row[1] == "epochs" for row in db.execute("PRAGMA table_info(session)"))
    epochs = "epochs" if has_epochs else "''"
    rows = db.execute(
        "SELECT key, id, epoch, opened, ended,"
        " (SELECT COALESCE(MAX(seq), 0) FROM event WHERE event.key = session.key),"
        f" {epochs} FROM session ORDER BY key"
    ).fetchall()
    sessions: list[StoredSession] = []
    damaged: list[DamagedSession] = []
    for row in rows:
        try:
            sessions.append(session_of(row))
        except InvalidRow as error:
            opened = row[3] if isinstance(row[3], float) else 0.0
            damaged.append(DamagedSession(row[0], str(row[1]), opened, str(error)))
    return sessions, damaged


def _damaged(db: sqlite3.Connection) -> list[DamagedSession]:
    found = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'damaged'").fetchone()
    if found is None:  # an older version wrote the file
        return []
    rows = db.execute("SELECT key, id, found, reason FROM damaged ORDER BY key")
    return [DamagedSession(*row) for row in rows]


_LAST = (1 << 63) - 1  # the greatest integer in SQLite


def _events(db: sqlite3.Connection, key: int, first: int = 0, last: int = _LAST) -> Iterator[bytes]:
    rows = db.execute(
        "SELECT data FROM event WHERE key = ? AND seq BETWEEN ? AND ? ORDER BY seq",
        (key, first, last),
    )
    return (data_of(row[0]) for row in rows)


# --- for other processes ---------------------------------------------------------------------


@contextmanager
def reading(path: Path) -> Generator[sqlite3.Connection]:
    """Open the journal at ``path`` for reading only. Raises ``JournalError``."""
    with (
        _mapped_errors(path),
        closing(_read_only(path)) as db,
    ):
        check_version(db, path)
        yield db


def _read_only(path: Path, *, check_same_thread: bool = True) -> sqlite3.Connection:
    where = f"{path.resolve().as_uri()}?mode=ro"
    db = sqlite3.connect(where, uri=True, timeout=1.0, check_same_thread=check_same_thread)
    db.text_factory = _text
    return db


def stored_sessions(path: Path) -> Sequence[StoredSession]:
    """Return the sessions in the journal at ``path``, also while a service uses it."""
    with reading(path) as db:
        return _sessions(db)[0]


def damaged_sessions(path: Path) -> Sequence[DamagedSession]:
    """Return the damaged sessions in the journal at ``path``, also while a service uses it."""
    with reading(path) as db:
        return [*_damaged(db), *_sessions(db)[1]]


def stored_events(path: Path, session_id: str) -> Sequence[bytes]:
    """Return one session's events as JSON; of a damaged one, if no other has the id.

    Raises ``JournalError`` when there is none.
    """
    with reading(path) as db:
        sessions, damaged = _sessions(db)
        keys = [each.key for each in sessions if each.id == session_id]
        damaged += _damaged(db)
        keys += [each.key for each in reversed(damaged) if each.id == session_id]
        if keys:
            return list(_events(db, keys[0]))
    raise JournalError(f"journal {path}: there is no session {session_id!r}")


def erase_stored(path: Path, session_id: str, of_session: Sequence[str], tables: str = "") -> None:
    """Remove a session from a journal that no service uses. Raises ``JournalError``."""
    file = JournalFile(path, tables=tables, of_session=of_session)
    try:
        sessions, damaged = file.sessions()
        keys = [each.key for each in sessions if each.id == session_id]
        keys += [each.key for each in (*damaged, *file.damaged()) if each.id == session_id]
        if not keys:
            raise JournalError(f"journal {path}: there is no session {session_id!r}")
        for key in keys:
            while file.remove_some(key, session_id):
                pass
        if not file.checkpoint():
            raise JournalError(
                f"journal {path}: session {session_id!r} is removed, but another process reads the"
                " file: its bytes are gone when that process has ended and a service has run on it"
            )
    finally:
        file.close()
