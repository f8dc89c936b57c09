"""Rows of the journal file, checked as they are read: any of them may be damaged. Pure."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

MAX_EPOCH = 1 << 53
MAX_TIME = 253_402_300_799.0  #: Unix seconds: the end of the year 9999


class StoredSession(NamedTuple):
    """Session in the file."""

    key: int
    id: str
    epoch: int
    opened: float  #: Unix seconds
    ended: float | None  #: Unix seconds; None while open, or if the process died before its end
    head: int  #: the newest ``seq``; 0 without events
    epochs: Sequence[tuple[int, int]] = ()  #: of its events, as far as they are known


class DamagedSession(NamedTuple):
    """Session in the file that cannot be read; its rows are kept."""

    key: int
    id: str
    found: float  #: Unix seconds
    reason: str


class InvalidRow(Exception):
    """A row that no version of this program writes."""


def session_of(row: Sequence[Any]) -> StoredSession:
    """Return the session of a row, in the order of ``StoredSession``. Raises InvalidRow."""
    key, session_id, epoch, opened, ended, head, epochs = row
    if not isinstance(session_id, str) or not session_id:
        raise InvalidRow("its id is not text")
    if not isinstance(epoch, int) or not 0 <= epoch <= MAX_EPOCH:
        raise InvalidRow("its epoch is not a number in range")
    if not _is_time(opened) or not (ended is None or _is_time(ended)):
        raise InvalidRow("its times are not dates")
    if not isinstance(head, int) or head < 0:
        raise InvalidRow("the number of an event is not an integer")
    return StoredSession(key, session_id, epoch, opened, ended, head, decoded_runs(epochs))


def data_of(value: Any) -> bytes:
    """Return an event's JSON. Raises InvalidRow."""
    if isinstance(value, str):
        return value.encode(errors="replace")
    if not isinstance(value, bytes):
        raise InvalidRow("an event is not text")
    return value


def encoded_runs(runs: Sequence[tuple[int, int]]) -> str:
    """Return the epochs of a log as text."""
    return ",".join(f"{seq}:{epoch}" for seq, epoch in runs)


def decoded_runs(text: Any) -> Sequence[tuple[int, int]]:
    """Return the epochs of a log; unreadable text has none, and old positions are resynced."""
    if not isinstance(text, str):
        return ()
    try:
        pairs = [part.split(":") for part in text.split(",") if part]
        return tuple((int(seq), int(epoch)) for seq, epoch in pairs)
    except ValueError:
        return ()


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= MAX_TIME
