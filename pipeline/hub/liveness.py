"""Whether the other end of a socket still reads what it is sent. Pure.

Two things show it. The other machine acknowledges what was sent, which it stops to do when its
buffer is full. And its program answers pings: that shows it although the buffer is large. A
program that reads slowly may take a while to come to the ping, so time runs only from when the
ping has reached its machine. How far somebody may lag behind is decided elsewhere.
"""

from typing import Literal, NamedTuple

BUSY = 1.0  #: seconds between pings while something is sent
QUIET = 6.0  #: seconds between pings while nothing is
BUSY_PATIENCE = 2.5  #: seconds for an answer while something is sent
QUIET_PATIENCE = 5.0  #: seconds for one otherwise: a sleeping radio takes a while to wake
NEVER = 30.0  #: seconds for a first answer: some clients that read well answer none
STUCK = 2.0  #: seconds without an acknowledgement of what was sent, or for a goodbye

Verdict = Literal["well", "ping", "cut"]


class Signs(NamedTuple):
    """What can be seen of a connection; the numbers but ``waiting`` count from its beginning."""

    sent: int  #: bytes, without pings and the like
    waiting: int  #: bytes of all that was sent that are not acknowledged
    pongs: int
    full: bool  #: no more can be written, or it should have closed
    flushes: int  #: times that a full write buffer has emptied

    @property
    def delivered(self) -> int:
        """Bytes that the other machine has, at least."""
        return self.sent - self.waiting


class Liveness:
    """What is known of one peer; asked a few times a second."""

    __slots__ = ("_arrived", "_best", "_busy", "_last", "_moved", "_pinged", "_pongs", "_sent")

    def __init__(self, now: float) -> None:
        self._last = -QUIET  # when it was well for sure; it is pinged at once
        self._sent = 0  # when it was pinged last
        self._pongs = 0  # when it was looked at last
        self._pinged: float | None = None  # since when time runs for the answer
        self._arrived = False  # the ping has
        self._busy = False  # something was sent before the ping
        self._best = (0, 0)  # most that was delivered, most flushes
        self._moved = now  # when that grew, or nothing was to grow

    def check(self, now: float, signs: Signs) -> Verdict:
        """Say what to do at ``now``: nothing, send a ping, or cut the connection."""
        moved = self._watch(now, signs)
        if now - self._moved > STUCK:
            return "cut"
        if signs.pongs != self._pongs:
            self._pongs, self._pinged, self._last = signs.pongs, None, now
        if self._pinged is None:
            return self._ping(now, signs)
        if moved and not self._arrived:
            self._pinged, self._arrived = now, signs.delivered >= self._sent
        return "cut" if now - self._pinged > self._patience(signs) else "well"

    def _watch(self, now: float, signs: Signs) -> bool:
        """Note and return whether more has been delivered."""
        delivered, flushes = self._best
        self._best = max(delivered, signs.delivered), signs.flushes
        moved = signs.delivered > delivered
        if moved or signs.flushes != flushes or not (signs.full or signs.waiting):
            self._moved = now
        return moved

    def _ping(self, now: float, signs: Signs) -> Verdict:
        busy = signs.sent != self._sent
        if signs.full or now - self._last < (BUSY if busy else QUIET):
            return "well"
        self._busy, self._sent = busy, signs.sent
        self._pinged, self._arrived = now, signs.waiting == 0
        return "ping"

    def _patience(self, signs: Signs) -> float:
        if not self._pongs:
            return NEVER
        return BUSY_PATIENCE if self._busy or signs.sent != self._sent else QUIET_PATIENCE
