"""Whether and when to connect again, and when to roll a session over. Pure."""

from pipeline.errors import SttBusy, SttError, SttLost, SttRefused

HEALTHY = 5.0  #: seconds a session must live before it counts: a bad key may get a Begin
FLAPPING = 5.0
LOST_DELAY = (0.25, 5.0)  #: seconds, first and longest; doubling
BUSY_DELAY = (1.0, 30.0)
LONGEST_SESSION = 10_800.0  #: seconds; the vendor's limit (common session errors, 2026-03)
ROLL_AT = 0.8  #: of the session's longest duration, at a pause
ROLL_BY = 0.95  #: of it, in any case


class ReconnectPolicy:
    """Judges each loss of a connection.

    =======  ==========================================================================
    refused  never again
    busy     full jitter over 1, 2, 4 ... 30 s
    lost     at once, then 0.25, 0.5 ... 5 s
    =======  ==========================================================================

    It is given up when no session has begun within ``patience``, within ``first`` when there
    has been none at all, or when none has lived for ``HEALTHY`` within ``FLAPPING`` times that.
    """

    def __init__(self, *, first: float, patience: float, now: float) -> None:
        self._first = first  #: seconds
        self._patience = patience  #: seconds
        self._well = now  # the last moment with a healthy session
        self._alive = now  # the last moment with any session
        self._opened: float | None = None
        self._ever = False
        self._tries = 0

    def opened(self, now: float) -> None:
        if not self._ever:
            self._well = now
        self._opened, self._alive, self._ever = now, now, True

    def after(self, error: SttError, now: float, jitter: float) -> float:
        """Return the seconds to wait before the next try; ``jitter`` is random, 0 to 1.

        Raises ``error``, or one like it that says how long it was tried.
        """
        if isinstance(error, SttRefused):
            raise error
        if self._opened is not None and now - self._opened >= HEALTHY:
            self._well, self._tries = now, 0
        if self._opened is not None:
            self._opened, self._alive = None, now
        delay = self._delay(error, jitter)
        self._tries += 1
        patience = self._patience if self._ever else self._first
        then = now + delay
        if then - self._alive > patience or then - self._well > FLAPPING * patience:
            raise self._given_up(error, now)
        return delay

    def _delay(self, error: SttError, jitter: float) -> float:
        if isinstance(error, SttBusy):
            shortest, longest = BUSY_DELAY
            return float(jitter * min(longest, shortest * 2**self._tries))
        if not self._tries:
            return 0.0
        shortest, longest = LOST_DELAY
        return float((0.5 + jitter / 2) * min(longest, shortest * 2 ** (self._tries - 1)))

    def _given_up(self, error: SttError, now: float) -> SttError:
        if self._tries == 1:
            return error
        kind = SttBusy if isinstance(error, SttBusy) else SttLost
        waited = now - self._alive
        return kind(f"{error} (tried {self._tries} times in {waited:.0f} s)", code=error.code)


def lifetime(expires_at: float | None, wall: float) -> float:
    """Return how long a session may live, in seconds, by what Begin said.

    ``wall`` is our Unix time; a clock that is wrong must not make us reconnect all the time.
    """
    left = (expires_at or 0.0) - wall
    return left if 10 < left <= LONGEST_SESSION else LONGEST_SESSION
