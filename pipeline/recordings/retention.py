"""How recordings are called, and which of them need not be kept any longer. Pure."""

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from msgspec import Struct

_NAME = re.compile(r"(.+)\.\d{8}T\d{9}\.wav")


class Kept(Struct, frozen=True):
    """A recording in the directory."""

    name: str  #: of its file
    changed: float  #: Unix seconds
    size: int  #: bytes


def name_of(session_id: str, began: float) -> str:
    """Return the name of a recording that began then (Unix seconds).

    A session's id may be used again, so the time is in it; in UTC, to the millisecond.
    """
    time = datetime.fromtimestamp(began, UTC).strftime("%Y%m%dT%H%M%S%f")[:-3]
    return f"{quote(session_id, safe='')}.{time}.wav"


def session_of(name: str) -> str | None:
    """Return whose recording a file is; None for what is no recording of ours."""
    found = _NAME.fullmatch(name)
    return unquote(found[1]) if found else None


def of_session(session_id: str, names: Iterable[str]) -> Sequence[str]:
    """Return the recordings of a session, oldest first."""
    return sorted(name for name in names if session_of(name) == session_id)


def spent(
    kept: Iterable[Kept], *, before: float, most: int, in_use: Collection[str]
) -> Sequence[Kept]:
    """Return what was last written before then (Unix seconds), and the oldest past ``most`` bytes.

    What is in use stays, and counts.
    """
    newest_first = sorted(kept, key=lambda each: each.changed, reverse=True)
    total = 0
    gone: list[Kept] = []
    for each in newest_first:
        total += each.size
        if each.name not in in_use and (each.changed < before or total > most):
            gone.append(each)
    return gone
