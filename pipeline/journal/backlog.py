"""Backlog of the journal: bytes that wait to be stored, by session and in all. Pure.

A session may use a share of the room that is still free, so that one with many events reaches its
own bound long before any other notices, and a new one always finds room (dynamic thresholds,
Choudhury and Hahne 1998).
"""

from collections import Counter
from collections.abc import Mapping

SHARE = 8  #: a session may take 1/8 of the free room
OVERHEAD = 256  #: bytes that an event takes in memory besides its text
MAX_BYTES = 64 << 20  #: of all sessions


class Backlog:
    """Bytes that wait to be stored, by the key of their session."""

    def __init__(self, most: int = MAX_BYTES) -> None:
        self._most = most
        self._waiting: Counter[int] = Counter()
        self._total = 0

    def add(self, key: int, size: int) -> None:
        self._waiting[key] += size
        self._total += size

    def remove(self, sizes: Mapping[int, int]) -> None:
        """Remove stored bytes, by key."""
        for key, size in sizes.items():
            self._total -= size
            self._waiting[key] -= size
            if self._waiting[key] <= 0:
                del self._waiting[key]

    def room(self, key: int) -> int:
        """Return how many bytes the session may add; negative past its bound."""
        return (self._most - self._total) // SHARE - self._waiting[key]
