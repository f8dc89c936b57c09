"""File names of recordings, and the selection of those to delete. Pure."""

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from msgspec import Struct

_NAME = re.compile(r"(.+)\.\d{8}T\d{9}\.wav")


class RecordingEntry(Struct, frozen=True):
    """Recording in the directory."""

    name: str  #: of its file
    changed: float  #: Unix seconds
    size: int  #: bytes


def file_name_of(session_id: str, began: float) -> str:
    """Return the file name of a recording that began at ``began`` (Unix seconds).

    It includes the time (UTC, milliseconds), because a session id may be used again.
    """
    time = datetime.fromtimestamp(began, UTC).strftime("%Y%m%dT%H%M%S%f")[:-3]
    return f"{quote(session_id, safe='')}.{time}.wav"


def session_of(name: str) -> str | None:
    """Return the session id of a recording; None for any other file."""
    found = _NAME.fullmatch(name)
    return unquote(found[1]) if found else None


def of_session(session_id: str, names: Iterable[str]) -> Sequence[str]:
    """Return the recordings of a session, oldest first."""
    return sorted(name for name in names if session_of(name) == session_id)


def removable(
    kept: Iterable[RecordingEntry], *, before: float, most: int, in_use: Collection[str]
) -> Sequence[RecordingEntry]:
    """Return the recordings last written before ``before``, and the oldest past ``most`` bytes.

    ``before`` is in Unix seconds. Recordings in use are never returned, but their size counts.
    """
    newest_first = sorted(kept, key=lambda each: each.changed, reverse=True)
    total = 0
    found: list[RecordingEntry] = []
    for each in newest_first:
        total += each.size
        if each.name not in in_use and (each.changed < before or total > most):
            found.append(each)
    return found
