"""Whether to ask again, whom, and when: the decisions of a failed call. Pure.

A retry is allowed only while nothing of the answer has been handed on; who calls sees to that.
"""

from collections import deque
from dataclasses import dataclass, field

from msgspec import Struct

from pipeline.errors import GatewayBusy, GatewayError, GatewayLost, GatewayRefused, GatewayTimeout


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """What may be spent on a call that fails."""

    attempts: int = 2  #: of one model
    backoff: float = 0.2  #: seconds before the second attempt, at most; doubles each time
    longest_backoff: float = 2.0  #: seconds
    longest_wait: float = 2.0  #: seconds; a server that says wait longer is not waited for
    #: seconds until a call without a token is given up for the next; 0 is never
    first_token: float = 4.0
    #: seconds until a second model is asked beside the first, the faster wins; 0 is never
    hedge_after: float = 0.0
    retry_share: float = 0.1  #: of the requests may be retries
    hedge_share: float = 0.05  #: of the requests may be asked twice


@dataclass(frozen=True)
class Retry:
    """Ask the same model once more, after ``wait`` seconds."""

    wait: float


@dataclass(frozen=True)
class UseFallback:
    """Ask the next one of the chain."""


@dataclass(frozen=True)
class GiveUp:
    """The failure is the answer."""


Step = Retry | UseFallback | GiveUp


class FailedAttempt(Struct, frozen=True, kw_only=True):
    """Where a failed call stands."""

    tries: int  #: of this model
    has_next: bool  #: somebody else could be asked
    remaining: float  #: seconds until the caller loses patience
    jitter: float  #: between 0 and 1, so that many callers do not come back at once


def after_failure(policy: RetryPolicy, failure: GatewayError, at: FailedAttempt) -> Step:
    """Decide what follows a failure. The retry budget is asked afterwards."""
    if not is_passing(failure):
        return GiveUp()
    otherwise = UseFallback() if at.has_next else GiveUp()
    if at.tries >= policy.attempts or failure.retryable is False:
        return otherwise
    if isinstance(failure, GatewayTimeout):
        return otherwise  # one that was too late once will be late again
    wait = at.jitter * min(policy.longest_backoff, policy.backoff * 2 ** (at.tries - 1))
    asked = failure.retry_after if isinstance(failure, GatewayBusy) else None
    if asked is not None:
        if asked > policy.longest_wait:
            return otherwise
        wait = max(asked, 0.0)
    return Retry(wait) if wait < at.remaining else otherwise


def is_passing(failure: GatewayError) -> bool:
    """It may go better another time, or elsewhere."""
    if isinstance(failure, GatewayRefused):
        return failure.retryable is True
    if isinstance(failure, GatewayBusy) and failure.status is None:
        return False  # it gave way to a committed call of ours
    return isinstance(failure, GatewayBusy | GatewayLost | GatewayTimeout)


@dataclass
class RetryBudget:
    """Lets a share of the requests through, so that trouble cannot multiply itself.

    Each request earns ``share``; each retry costs 1. ``most`` bounds what is saved up.
    """

    share: float
    most: float = 10.0
    saved: float = 1.0

    def earn(self) -> None:
        self.saved = min(self.most, self.saved + self.share)

    def spend(self) -> bool:
        """Take one; False when there is none."""
        if self.saved < 1.0 - 1e-9:
            return False
        self.saved -= 1.0
        return True


@dataclass
class Breaker:
    """Stops asking a model that mostly fails, and probes now and then whether it is back.

    closed → open, when at least ``least`` answers of the last ``window`` seconds are there and
    half of them are failures; open → probing after ``pause`` seconds; a probe closes or opens.
    """

    window: float = 20.0  #: seconds
    least: int = 10
    share: float = 0.5
    pause: float = 5.0  #: seconds
    _seen: deque[tuple[float, bool]] = field(default_factory=deque[tuple[float, bool]])
    _failures: int = 0
    _opened: float | None = None
    _probing: float | None = None

    @property
    def is_open(self) -> bool:
        return self._opened is not None

    def allows(self, now: float) -> bool:
        """May a call go out? Saying yes while open makes that call the probe."""
        if self._opened is None:
            return True
        since = self._opened if self._probing is None else self._probing
        if now - since < self.pause:
            return False
        self._probing = now
        return True

    def retry_after(self, now: float) -> float:
        """Return the seconds until the next probe."""
        since = self._opened if self._probing is None else self._probing
        return 0.0 if since is None else max(0.0, since + self.pause - now)

    def succeeded(self, now: float) -> None:
        if self._opened is not None:
            self._seen.clear()
            self._failures = 0
            self._opened = self._probing = None
        self._note(now, failed=False)

    def failed(self, now: float) -> None:
        if self._opened is not None:
            if self._probing is not None:
                self._opened, self._probing = now, None
            return
        self._note(now, failed=True)
        if len(self._seen) >= self.least and self._failures >= self.share * len(self._seen):
            self._opened = now

    def _note(self, now: float, *, failed: bool) -> None:
        self._seen.append((now, failed))
        self._failures += failed
        while self._seen[0][0] < now - self.window:
            self._failures -= self._seen.popleft()[1]


def counts_against(failure: GatewayError) -> bool:
    """The model is in trouble: a limit of ours or a mistake of ours is not that."""
    if isinstance(failure, GatewayBusy):
        return failure.status is not None and failure.status != 429
    return isinstance(failure, GatewayLost | GatewayTimeout)
