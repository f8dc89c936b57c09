"""Whether the other end of a socket still reads what it is sent. Pure.

It shows that by its answer to a ping. One that reads slowly may take a while to come to the
ping, so time runs only from when everything before it has reached the other machine, or no
more of it does. How far somebody may lag behind is decided elsewhere.
"""

from typing import Literal, NamedTuple

BUSY = 1.0  #: seconds between pings while something is sent
QUIET = 6.0  #: seconds between pings while nothing is
BUSY_PATIENCE = 3.0  #: seconds for an answer while something is sent
QUIET_PATIENCE = 5.0  #: seconds for one otherwise: a sleeping radio takes a while to wake
STUCK = 2.0  #: seconds for a full write buffer to empty, or for a goodbye

Verdict = Literal["well", "ping", "cut"]


class Signs(NamedTuple):
    """What can be seen of a connection; the numbers count from its beginning."""

    sent: int  #: bytes, without pings
    delivered: int  #: bytes of these that the other machine has acknowledged
    pongs: int
    full: bool  #: no more can be written, or it should have closed
    flushes: int  #: times that a full write buffer has emptied


class Pulse:
    """What is known of one peer; asked a few times a second."""

    __slots__ = ("_asked", "_busy", "_delivered", "_last", "_pinged", "_pongs", "_sent", "_stuck")

    def __init__(self, now: float) -> None:
        self._last = now  # when it was well for sure
        self._sent = 0  # when it was pinged last
        self._pongs = 0  # likewise
        self._pinged: float | None = None  # since when time runs for the answer
        self._asked = False  # the other machine has the ping
        self._busy = False  # something was sent before the ping
        self._delivered = 0
        self._stuck: tuple[float, int] | None = None  # since when, at which count of flushes

    def check(self, now: float, signs: Signs) -> Verdict:
        """Say what to do at ``now``: nothing, send a ping, or cut the connection."""
        if self._is_stuck(now, signs):
            return "cut"
        if signs.pongs != self._pongs:
            self._pongs, self._pinged, self._last = signs.pongs, None, now
        if self._pinged is None:
            return self._ping(now, signs)
        self._follow(now, signs)
        busy = self._busy or signs.sent != self._sent
        waited = now - self._pinged
        return "cut" if waited > (BUSY_PATIENCE if busy else QUIET_PATIENCE) else "well"

    def _ping(self, now: float, signs: Signs) -> Verdict:
        busy = signs.sent != self._sent
        if signs.full or now - self._last < (BUSY if busy else QUIET):
            return "well"
        self._busy, self._sent, self._delivered = busy, signs.sent, signs.delivered
        self._pinged, self._asked = now, False
        return "ping"

    def _follow(self, now: float, signs: Signs) -> None:
        """See how far the ping has come."""
        if not self._asked and signs.delivered > self._delivered:
            self._pinged, self._delivered = now, signs.delivered
            self._asked = signs.delivered >= self._sent

    def _is_stuck(self, now: float, signs: Signs) -> bool:
        if not signs.full:
            self._stuck = None
        elif self._stuck is None or self._stuck[1] != signs.flushes:
            self._stuck = now, signs.flushes
        return self._stuck is not None and now - self._stuck[0] > STUCK
