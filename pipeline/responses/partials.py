"""Rate limit of the partial values of a JSON answer. Pure.

Each partial carries the whole value so far, so partials at every delta would grow with the square
of the answer's length.
"""

INTERVAL = 0.1  #: seconds between two partials of one answer, at least
GROWTH = 8  #: the answer grows by one part in so many between two: all are 9 times its size at most


class PartialPacer:
    """Decides when the value of a growing answer is published again."""

    __slots__ = ("_at", "_changed", "_size")

    def __init__(self) -> None:
        self._at = float("-inf")  # seconds, of the last partial
        self._size = 0  # characters of the answer at the last partial
        self._changed = False

    def is_due(self, size: int, now: float, *, changed: bool) -> bool:
        """Return whether to publish a partial of ``size`` characters of text at ``now``."""
        self._changed = self._changed or changed
        has_grown = size >= self._size + self._size // GROWTH
        if not self._changed or not has_grown or now - self._at < INTERVAL:
            return False
        self._at, self._size, self._changed = now, size, False
        return True
