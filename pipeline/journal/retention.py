"""Which sessions a journal's file need not hold any longer. Pure."""

from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar


class Kept(Protocol):
    """What is known of a stored session."""

    @property
    def key(self) -> int: ...
    @property
    def ended(self) -> float | None: ...


K = TypeVar("K", bound=Kept)


def expired(sessions: Sequence[K], *, now: float, keep: float, in_use: Collection[int]) -> list[K]:
    """Return the sessions that ended more than ``keep`` seconds ago."""
    return [
        session
        for session in sessions
        if session.key not in in_use and session.ended is not None and session.ended < now - keep
    ]


def oldest(sessions: Sequence[K], *, in_use: Collection[int]) -> K | None:
    """Return the session that ended first, to make room; None when there is none."""
    ended = [
        (session.ended, session.key, session)
        for session in sessions
        if session.key not in in_use and session.ended is not None
    ]
    return min(ended)[2] if ended else None
