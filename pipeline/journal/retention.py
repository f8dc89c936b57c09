"""Which sessions a journal's file need not hold any longer. Pure."""

from collections.abc import Collection, Sequence
from typing import Protocol


class Kept(Protocol):
    """What is known of a stored session."""

    @property
    def key(self) -> int: ...
    @property
    def ended(self) -> float | None: ...


def expired(
    sessions: Sequence[Kept], *, now: float, keep: float, in_use: Collection[int]
) -> list[int]:
    """Return the keys of sessions that ended more than ``keep`` seconds ago."""
    return [
        session.key
        for session in sessions
        if session.key not in in_use and session.ended is not None and session.ended < now - keep
    ]


def oldest(sessions: Sequence[Kept], *, in_use: Collection[int]) -> int | None:
    """Return the key of the session that ended first, to make room; None when there is none."""
    ended = [
        (session.ended, session.key)
        for session in sessions
        if session.key not in in_use and session.ended is not None
    ]
    return min(ended)[1] if ended else None
