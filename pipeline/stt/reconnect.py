"""Reconnect policy: the delay before each attempt, and the time to roll a session over. Pure."""

from pipeline.errors import SttBusy, SttError, SttLost, SttRefused

HEALTHY = 5.0  #: seconds a session must live before it counts: a bad key may get a session first
FLAPPING = 5.0
LOST_DELAY = (0.25, 5.0)  #: seconds, first and longest; doubling
BUSY_DELAY = (1.0, 30.0)
ROLL_AT = 0.8  #: of the session's longest duration, at a pause
ROLL_BY = 0.95  #: of it, in any case


class ReconnectPolicy:
    """Delays between the attempts of one stream.

    =======  ==========================================================================
    refused  no further attempt
    busy     full jitter over 1, 2, 4 ... 30 s
    lost     at once, then 0.25, 0.5 ... 5 s
    =======  ==========================================================================

    Attempts end when no session has begun within ``patience``, within ``first`` when there
    has been none at all, or when none has lived for ``HEALTHY`` within ``FLAPPING`` times that.
    """

    def __init__(self, *, first: float, patience: float, now: float) -> None:
        self._first = first  #: seconds
        self._patience = patience  #: seconds
        self._healthy_at = now  # the last moment with a healthy session
        self._alive_at = now  # the last moment with any session
        self._opened_at: float | None = None
        self._was_open = False
        self._attempts = 0

    def opened(self, now: float) -> None:
        """Record that a session has begun."""
        if not self._was_open or self._is_healthy(now):
            self._healthy_at = now
        self._opened_at, self._alive_at, self._was_open = now, now, True

    def after(self, error: SttError, now: float, jitter: float) -> float:
        """Return the seconds to wait before the next attempt; ``jitter`` is random, 0 to 1.

        Raises ``error``, or one of its kind with the number of attempts, when there is none.
        """
        if isinstance(error, SttRefused):
            raise error
        if self._is_healthy(now):
            self._healthy_at, self._attempts = now, 0
        if self._opened_at is not None:
            self._opened_at, self._alive_at = None, now
        delay = self._delay(error, jitter)
        self._attempts += 1
        patience = self._patience if self._was_open else self._first
        then = now + delay
        if then - self._alive_at > patience or then - self._healthy_at > FLAPPING * patience:
            raise self._exhausted(error, now)
        return delay

    def _is_healthy(self, now: float) -> bool:
        return self._opened_at is not None and now - self._opened_at >= HEALTHY

    def _delay(self, error: SttError, jitter: float) -> float:
        if isinstance(error, SttBusy):
            shortest, longest = BUSY_DELAY
            return float(jitter * min(longest, shortest * 2**self._attempts))
        if not self._attempts:
            return 0.0
        shortest, longest = LOST_DELAY
        return float((0.5 + jitter / 2) * min(longest, shortest * 2 ** (self._attempts - 1)))

    def _exhausted(self, error: SttError, now: float) -> SttError:
        if self._attempts == 1:
            return error
        kind = SttBusy if isinstance(error, SttBusy) else SttLost
        waited = now - self._alive_at
        return kind(f"{error} (tried {self._attempts} times in {waited:.0f} s)", code=error.code)


def lifetime(expires_at: float | None, wall: float, longest: float) -> float:
    """Return the seconds a session may live, by the server's expiry time and ``longest``.

    ``wall`` is our Unix time; a wrong clock must not cause constant reconnects.
    """
    left = (expires_at or 0.0) - wall
    return left if 10 < left <= longest else longest
