"""Fail-over between the engines of one stream: which is tried next, and when to go back. Pure."""

from msgspec import Struct

from pipeline.errors import SttError, SttLost, SttRefused
from pipeline.stt.reconnect import HEALTHY, ReconnectPolicy

REST = (5.0, 60.0)  #: seconds without attempts after a failure, first and longest; doubling
REST_REFUSED = 300.0  #: seconds, after a refusal


class _Engine(Struct):
    """State of one engine."""

    rests_until: float = 0.0
    failures: int = 0  # since its last healthy session
    refused: bool = False


class Failover:
    """Decides for one stream with one or more engines, in order of preference.

    ==============================  =============================================================
    event                           decision
    ==============================  =============================================================
    a healthy session is lost       the same engine, at once
    an attempt fails                the first engine that does not rest, at once
    all engines rest                the one whose rest ends first, after the delay of the
                                    reconnect policy, which also decides when attempts end
    every engine has refused        no further attempt
    a preferred engine rests no     ``preferred`` names it: a pause is the time to go back to it
    more
    ==============================  =============================================================

    With one engine the reconnect policy decides alone.
    """

    def __init__(self, engines: int, policy: ReconnectPolicy) -> None:
        self.current = 0  #: the engine in use, or to be tried next
        self._engines = [_Engine() for _ in range(engines)]
        self._policy = policy
        self._opened_at: float | None = None

    def opened(self, engine: int, now: float) -> None:
        """Record that a session of ``engine`` has begun, and is used from now on."""
        self.current, self._opened_at = engine, now
        self._engines[engine].refused = False
        self._policy.opened(now)

    def after(self, error: SttError, now: float, jitter: float) -> float:
        """Return the seconds to wait before the next attempt, which is with ``current``.

        ``jitter`` is random, 0 to 1. Raises a ``SttError`` when there is no further attempt.
        """
        healthy = self._opened_at is not None and now - self._opened_at >= HEALTHY
        self._opened_at = None
        engine = self._engines[self.current]
        if healthy:
            engine.failures = 0
        if len(self._engines) == 1:
            return self._policy.after(error, now, jitter)
        if not healthy or isinstance(error, SttRefused):
            self.failed(self.current, error, now)
            self.current = self._following(now)
        if all(one.refused for one in self._engines):
            raise error
        rests = self._engines[self.current].rests_until > now
        if isinstance(error, SttRefused) or not rests:
            error = SttLost(str(error), code=error.code)  # another engine does not refuse, too
        delay = self._policy.after(error, now, jitter)
        return delay if rests else 0.0

    def failed(self, engine: int, error: SttError, now: float) -> None:
        """Record that an attempt with ``engine`` failed: it rests."""
        state = self._engines[engine]
        state.refused = isinstance(error, SttRefused)
        first, longest = REST
        rest = REST_REFUSED if state.refused else min(longest, first * 2**state.failures)
        state.failures = min(state.failures + 1, 16)
        state.rests_until = now + rest

    def preferred(self, now: float) -> int | None:
        """Return an engine before the current one that does not rest, if there is one."""
        for number in range(self.current):
            if self._engines[number].rests_until <= now:
                return number
        return None

    def _following(self, now: float) -> int:
        awake = [n for n, engine in enumerate(self._engines) if engine.rests_until <= now]
        if awake:
            return awake[0]
        return min(range(len(self._engines)), key=lambda n: self._engines[n].rests_until)
