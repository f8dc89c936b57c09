"""Liveness check of a connection: does the peer still read? Pure.

There are two signals. The peer's machine acknowledges sent bytes, and stops when its receive
buffer is full. The peer's program answers pings, which shows that it reads even if the buffer is
large. A program that reads slowly may reach the ping late, so the timeout starts when the ping
has arrived at its machine. How far a subscriber may be behind is decided in ``cursor``.
"""

from typing import Literal, NamedTuple

BUSY_PING_INTERVAL = 1.0  #: seconds between pings while data is sent
IDLE_PING_INTERVAL = 6.0  #: seconds between pings otherwise
BUSY_PONG_TIMEOUT = 2.5  #: seconds for a pong while data is sent
IDLE_PONG_TIMEOUT = 5.0  #: seconds for a pong otherwise: a sleeping mobile radio wakes slowly
FIRST_PONG_TIMEOUT = 30.0  #: seconds for the first pong: some clients that read send none
STALL_TIMEOUT = 2.0  #: seconds without acknowledgement of sent data, or for the close handshake

LivenessAction = Literal["well", "ping", "cut"]


class ConnectionSample(NamedTuple):
    """Observed state of a connection; all counts except ``waiting`` are cumulative."""

    sent: int  #: bytes, without our own pings
    waiting: int  #: bytes sent but not acknowledged
    pongs: int
    full: bool  #: no more can be written, or the connection should have closed
    flushes: int  #: number of times that a full write buffer was emptied

    @property
    def delivered(self) -> int:
        """Bytes that have arrived at the peer's machine, at least."""
        return self.sent - self.waiting


class Liveness:
    """Liveness of one peer; ``check`` is called several times per second."""

    __slots__ = (
        "_arrived",
        "_best",
        "_busy",
        "_last",
        "_pinged",
        "_pongs",
        "_progressed_at",
        "_sent",
    )

    def __init__(self, now: float) -> None:
        self._last = -IDLE_PING_INTERVAL  # time of the last pong; the first ping is sent at once
        self._sent = 0  # bytes sent at the last ping
        self._pongs = 0  # pongs at the last check
        self._pinged: float | None = None  # start of the pong timeout
        self._arrived = False  # the ping has arrived at the peer's machine
        self._busy = False  # data was sent before the ping
        self._best = (0, 0)  # most bytes delivered, most flushes
        self._progressed_at = now  # last time that these grew or nothing was waiting

    def check(self, now: float, sample: ConnectionSample) -> LivenessAction:
        """Return the action at ``now``: nothing, send a ping, or reset the connection."""
        progressed = self._record_progress(now, sample)
        if now - self._progressed_at > STALL_TIMEOUT:
            return "cut"
        if sample.pongs != self._pongs:
            self._pongs, self._pinged, self._last = sample.pongs, None, now
        if self._pinged is None:
            return self._ping(now, sample)
        if progressed and not self._arrived:
            self._pinged, self._arrived = now, sample.delivered >= self._sent
        return "cut" if now - self._pinged > self._pong_timeout(sample) else "well"

    def _record_progress(self, now: float, sample: ConnectionSample) -> bool:
        """Record progress; return whether more bytes were delivered."""
        delivered, flushes = self._best
        self._best = max(delivered, sample.delivered), sample.flushes
        progressed = sample.delivered > delivered
        if progressed or sample.flushes != flushes or not (sample.full or sample.waiting):
            self._progressed_at = now
        return progressed

    def _ping(self, now: float, sample: ConnectionSample) -> LivenessAction:
        busy = sample.sent != self._sent
        if sample.full or now - self._last < (BUSY_PING_INTERVAL if busy else IDLE_PING_INTERVAL):
            return "well"
        self._busy, self._sent = busy, sample.sent
        self._pinged, self._arrived = now, sample.waiting == 0
        return "ping"

    def _pong_timeout(self, sample: ConnectionSample) -> float:
        if not self._pongs:
            return FIRST_PONG_TIMEOUT
        return BUSY_PONG_TIMEOUT if self._busy or sample.sent != self._sent else IDLE_PONG_TIMEOUT
