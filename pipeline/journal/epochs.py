"""Stream identity: epochs are unique per history, and a position belongs to one of them. Pure.

A session id may name several histories: of a process that lost its memory, of a deleted session,
of a restored backup. Each process that appends to a history does so under an epoch of its own,
which no other history shares, so a position (``seq``, ``epoch``) identifies a history.
"""

from collections import deque
from collections.abc import Iterable, Sequence

MAX_RUNS = 64  #: of one log; positions of older epochs are not recognised any more


class EpochRuns:
    """Epochs of one log, each with the number of its first event."""

    def __init__(self, runs: Iterable[tuple[int, int]] = ()) -> None:
        self._runs = deque(runs, maxlen=MAX_RUNS)

    @property
    def runs(self) -> Sequence[tuple[int, int]]:
        """Pairs of a first ``seq`` and its epoch, oldest first."""
        return tuple(self._runs)

    def begin(self, seq: int, epoch: int) -> None:
        """Record that ``seq`` and later events have ``epoch``."""
        if self._runs and self._runs[-1][0] == seq:
            self._runs.pop()  # it had no event
        if not self._runs or self._runs[-1][1] != epoch:
            self._runs.append((seq, epoch))

    def contain(self, seq: int, epoch: int) -> bool:
        """Return whether ``seq`` has ``epoch``, or directly precedes the first event that has."""
        end: int | None = None
        for first, run in reversed(self._runs):
            if run == epoch:
                return first - 1 <= seq and (end is None or seq < end)
            end = first
        return False
