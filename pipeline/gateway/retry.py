"""Retry decisions for a failed call: retry, use the fallback, or return the error. Pure.

``failure_kinds`` has the table of what may follow each kind of failure. A retry is correct only
before any content was returned; the caller ensures that.
"""

from collections import deque
from dataclasses import dataclass, field

from msgspec import Struct

from pipeline.errors import GatewayBusy, GatewayError, GatewayLost, GatewayTimeout
from pipeline.gateway.failure_kinds import TREATMENTS, kind_of


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """Limits of retries, fallbacks and hedges."""

    attempts: int = 2  #: of one model
    backoff: float = 0.2  #: seconds before the second attempt, at most; doubles each time
    longest_backoff: float = 2.0  #: seconds
    longest_wait: float = 2.0  #: seconds; with a longer Retry-After the fallback is used
    #: seconds until a call without a token is cancelled and the fallback used; 0 is never
    first_token: float = 4.0
    #: seconds until the request is also sent to a second model, the faster wins; 0 is never
    hedge_after: float = 0.0
    retry_share: float = 0.1  #: of the requests may be retries
    hedge_share: float = 0.05  #: of the requests may be sent twice


@dataclass(frozen=True)
class Retry:
    """Send to the same model again after ``wait`` seconds."""

    wait: float


@dataclass(frozen=True)
class UseFallback:
    """Send to the next target."""


@dataclass(frozen=True)
class ReturnError:
    """Do not retry; return the error."""


Step = Retry | UseFallback | ReturnError


class FailedAttempt(Struct, frozen=True, kw_only=True):
    """State of a request after a failed attempt."""

    tries: int  #: attempts so far with this model
    has_next: bool  #: another target is left
    remaining: float  #: seconds until the caller's deadline
    jitter: float  #: between 0 and 1, so that many callers do not retry at the same time


def after_failure(policy: RetryPolicy, failure: GatewayError, at: FailedAttempt) -> Step:
    """Return the step that follows a failure. The caller checks the retry budget afterwards."""
    treatment = TREATMENTS[kind_of(failure)]
    otherwise = UseFallback() if at.has_next and treatment.fallback != "none" else ReturnError()
    may_retry = treatment.retry if failure.retryable is None else failure.retryable
    if at.tries >= policy.attempts or not may_retry:
        return otherwise
    wait = at.jitter * min(policy.longest_backoff, policy.backoff * 2 ** (at.tries - 1))
    requested = failure.retry_after if isinstance(failure, GatewayBusy) else None
    if requested is not None:
        if requested > policy.longest_wait:
            return otherwise
        wait = max(requested, 0.0)
    return Retry(wait) if wait < at.remaining else otherwise


@dataclass
class RetryBudget:
    """Token bucket that limits retries to a share of the requests, against retry storms.

    Each request adds ``share``; each retry takes 1. ``limit`` is the limit of ``saved``.
    """

    share: float
    limit: float = 10.0
    saved: float = 1.0

    def earn(self) -> None:
        self.saved = min(self.limit, self.saved + self.share)

    def spend(self) -> bool:
        """Take 1; return False when less is saved."""
        if self.saved < 1.0 - 1e-9:
            return False
        self.saved -= 1.0
        return True


@dataclass
class Breaker:
    """Circuit breaker of one model: sends nothing to a model that mostly fails, except probes.

    closed → open, when the last ``window`` seconds have at least ``min_results`` results and
    a ``share`` of them are failures; open → probing after ``pause`` seconds; probing → closed
    when the probe succeeds, → open when it fails.
    """

    window: float = 20.0  #: seconds
    min_results: int = 10
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
        """Return whether a request may be sent; while open, that request is the probe."""
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
        if len(self._seen) >= self.min_results and self._failures >= self.share * len(self._seen):
            self._opened = now

    def _note(self, now: float, *, failed: bool) -> None:
        self._seen.append((now, failed))
        self._failures += failed
        while self._seen[0][0] < now - self.window:
            self._failures -= self._seen.popleft()[1]


def counts_against(failure: GatewayError) -> bool:
    """Return whether the breaker counts ``failure``: not our rate limit, not our bad request."""
    if isinstance(failure, GatewayBusy):
        return failure.status is not None and failure.status != 429
    return isinstance(failure, GatewayLost | GatewayTimeout)
