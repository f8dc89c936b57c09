"""Selection of the sessions to remove from the journal file. Pure."""

from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar


class EndableSession(Protocol):
    """Stored session, as far as retention needs it."""

    @property
    def key(self) -> int: ...
    @property
    def ended(self) -> float | None: ...


K = TypeVar("K", bound=EndableSession)


def expired(sessions: Sequence[K], *, now: float, keep: float, in_use: Collection[int]) -> list[K]:
    """Return the sessions that ended more than ``keep`` seconds ago."""
    return [
        session
        for session in sessions
        if session.key not in in_use and session.ended is not None and session.ended < now - keep
    ]


def oldest(sessions: Sequence[K], *, in_use: Collection[int]) -> K | None:
    """Return the session that ended first, to free space; None without ended sessions."""
    ended = [
        (session.ended, session.key, session)
        for session in sessions
        if session.key not in in_use and session.ended is not None
    ]
    return min(ended)[2] if ended else None
