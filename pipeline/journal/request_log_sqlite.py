"""Durable request log: two tables of the journal file, and the SQL of all additional tables."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from pipeline.interfaces.request_log import FAILED, CallRecord, ResponseEnded, Selection
from pipeline.journal import outbox_sqlite
from pipeline.journal.sqlite import DELETE_ROWS, Statement, reading

_SCHEMA = """
CREATE TABLE IF NOT EXISTS call (
    id INTEGER PRIMARY KEY,
    sent REAL NOT NULL,
    session TEXT NOT NULL,
    response TEXT NOT NULL,
    model TEXT NOT NULL,
    answered_by TEXT,
    failed INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS call_sent ON call (sent);
CREATE TABLE IF NOT EXISTS response (
    id TEXT PRIMARY KEY,
    ended REAL NOT NULL,
    data BLOB NOT NULL
) WITHOUT ROWID;
"""

SCHEMA = _SCHEMA + outbox_sqlite.SCHEMA  #: all tables besides sessions and events

#: statements that remove a session's rows, by its id
OF_SESSION = (
    "DELETE FROM response WHERE id IN (SELECT response FROM call WHERE session = ?1)",
    "DELETE FROM call WHERE session = ?1",
    *outbox_sqlite.OF_SESSION,
)

_encode = msgspec.json.Encoder().encode
_call = msgspec.json.Decoder(CallRecord).decode
_response = msgspec.json.Decoder(ResponseEnded).decode


class CallsInFile:
    """Request log that stores every call through the journal's writer."""

    def __init__(self, put: Callable[[Statement], None], clock: Callable[[], float]) -> None:
        """``clock`` returns Unix seconds."""
        self._put = put
        self._clock = clock

    def add(self, call: CallRecord) -> None:
        self._put(
            Statement(
                "INSERT INTO call (sent, session, response, model, answered_by, failed, data)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    call.sent,
                    call.session_id,
                    call.response_id,
                    call.model,
                    call.answered_by,
                    call.outcome in FAILED,
                    _encode(call),
                ),
            )
        )

    def settle(self, ended: ResponseEnded) -> None:
        self._put(
            Statement(
                "INSERT OR REPLACE INTO response (id, ended, data) VALUES (?, ?, ?)",
                (ended.response_id, self._clock(), _encode(ended)),
            )
        )


def removals(*, before: float, keep: int) -> Sequence[Statement]:
    """Return statements that remove some calls older than ``before`` or past the newest ``keep``.

    They also remove responses without calls. Repeat them while they remove rows. ``before`` is in
    Unix seconds.
    """
    return (
        Statement(
            "DELETE FROM call WHERE id IN (SELECT id FROM call WHERE sent < ?1"
            " OR id <= (SELECT MAX(id) FROM call) - ?2 ORDER BY id LIMIT ?3)",
            (before, keep, DELETE_ROWS),
        ),
        Statement(
            "DELETE FROM response WHERE id IN (SELECT id FROM response WHERE ended <"
            " (SELECT COALESCE(MIN(sent), ?1) FROM call) LIMIT ?2)",
            (before, DELETE_ROWS),
        ),
    )


#: executed when the file is too large, together with the removal of the oldest session
OLDEST_TENTH = Statement(
    "DELETE FROM call WHERE id < (SELECT MIN(id) + (MAX(id) - MIN(id) + 1) / 10 FROM call)",
    (),
)


def stored_calls(path: Path, which: Selection) -> Sequence[CallRecord]:
    """Return matching calls of the journal at ``path``, oldest first; a service may be using it.

    Raises ``JournalError``.
    """
    with reading(path) as db:
        rows = db.execute(
            "SELECT call.data, response.data FROM call LEFT JOIN response ON"
            " response.id = call.response WHERE sent >= ?1 AND (failed OR NOT ?2)"
            " AND ?3 IN ('', session) AND ?4 IN ('', model, answered_by)"
            " AND instr(call.data, ?5)"  # a superset of the requests with this id
            " ORDER BY sent DESC, call.id DESC LIMIT ?6",
            (
                which.since,
                which.failed,
                which.session,
                which.model,
                which.id.encode(),
                which.limit or -1,
            ),
        ).fetchall()
    found = [_joined(call, response) for call, response in reversed(rows)]
    return [call for call in found if which.admits(call)] if which.id else found


def _joined(call: bytes, response: bytes | None) -> CallRecord:
    return replace(_call(call), response=_response(response) if response else None)
