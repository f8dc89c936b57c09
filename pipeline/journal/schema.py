"""Schema of the journal file: its version, forward migrations, and refusal of other files."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from pipeline.errors import JournalError

VERSION = 2  #: in ``PRAGMA user_version``; files from before it was written have 0

_SESSION = """
CREATE TABLE IF NOT EXISTS session (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    epoch INTEGER NOT NULL,
    opened REAL NOT NULL,
    ended REAL,
    epochs TEXT NOT NULL DEFAULT ''
)"""
_EVENT = """
CREATE TABLE IF NOT EXISTS event (
    key INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (key, seq)
) WITHOUT ROWID"""
_DAMAGED = """
CREATE TABLE IF NOT EXISTS damaged (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    found REAL NOT NULL,
    reason TEXT NOT NULL
)"""

TABLES = (_SESSION, _EVENT, _DAMAGED)

#: statements that bring a file of a version to the next one
MIGRATIONS: Mapping[int, Sequence[str]] = {
    1: ("ALTER TABLE session ADD COLUMN epochs TEXT NOT NULL DEFAULT ''", _DAMAGED),
}


def prepare(db: sqlite3.Connection, path: Path, more: str) -> None:
    """Create or migrate the tables; ``more`` is SQL that creates those of other modules.

    Raises ``JournalError`` for the file of a newer version or of another program.
    """
    check_version(db, path)
    statements = _missing(db)
    if statements:
        db.execute("BEGIN IMMEDIATE")
        try:
            for statement in (*statements, f"PRAGMA user_version = {VERSION}"):
                db.execute(statement)
            db.execute("COMMIT")
        except sqlite3.Error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
    db.executescript(more)
    _check_columns(db, path, more)


def check_version(db: sqlite3.Connection, path: Path) -> None:
    """Raise ``JournalError`` if a newer version wrote the file."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise JournalError(
            f"journal {path} was written by a newer version of this program (schema {version},"
            f" this version knows {VERSION}): update the program, or use another file"
        )


def _missing(db: sqlite3.Connection) -> Sequence[str]:
    """Return the statements that bring the file to ``VERSION``."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == VERSION:
        return ()
    if not _columns(db, "session"):
        return TABLES
    return [each for old in range(max(version, 1), VERSION) for each in MIGRATIONS[old]]


def _check_columns(db: sqlite3.Connection, path: Path, more: str) -> None:
    """Compare the tables with those that this version creates."""
    with closing(sqlite3.connect(":memory:")) as wanted:
        for statement in TABLES:
            wanted.execute(statement)
        wanted.executescript(more)
        names = [row[0] for row in wanted.execute("SELECT name FROM sqlite_master"
                                                  " WHERE type = 'table'")]  # fmt: skip
        for name in names:
            known, found = _columns(wanted, name), _columns(db, name)
            missing = known.keys() - found.keys()
            unknown = [each for each in found.keys() - known.keys() if found[each]]
            if missing or unknown:
                problem = (
                    f"misses the column {min(missing)}"
                    if missing
                    else f"has the unknown column {min(unknown)}, which must be filled"
                )
                raise JournalError(
                    f"journal {path}: the table {name} {problem}: it was written by a newer version"
                    " or by another program; use another file"
                )


def _columns(db: sqlite3.Connection, table: str) -> Mapping[str, bool]:
    """Return the columns of ``table``: whether each must be given a value."""
    rows = db.execute(f"PRAGMA table_info({table})").fetchall()
    return {row[1]: bool(row[3]) and row[4] is None and not row[5] for row in rows}
