"""Spending of the callers of completions, held to their limits. Pure.

Requests are counted when they are admitted, tokens and money when a call has ended: calls that
run at the same time may pass a limit together, by what they cost.
"""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from pipeline.http_api.errors import ApiError
from pipeline.interfaces.completions import Caller, CallerLimits

MINUTE = 60
DAY = 86_400
Unit = Literal["requests", "tokens", "usd"]


class _Window:
    """Counts of one window of time; forgotten when the next one begins."""

    __slots__ = ("number", "requests", "seconds", "tokens", "usd")

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self._begin(-1)

    def _begin(self, number: int) -> None:
        self.number = number
        self.requests = 0
        self.tokens = 0
        self.usd = 0.0

    def at(self, now: float) -> "_Window":
        number = int(now) // self.seconds
        if number != self.number:
            self._begin(number)
        return self

    def rest(self, now: float) -> float:
        """Return the seconds until the next window begins."""
        return self.seconds - now % self.seconds


class RemainingAllowance(Struct, frozen=True):
    """What a limit still allows: the narrowest of a unit."""

    unit: Unit
    limit: float
    left: float
    reset: float  #: seconds


class Spending:
    """Counts per caller. ``now`` is the wall clock: seconds since 1970; days begin at 0:00 UTC."""

    def __init__(self) -> None:
        # one entry per token of the settings, so no more than there are tokens
        self._windows: dict[str, tuple[_Window, _Window]] = {}

    def admit(self, caller: Caller, now: float) -> None:
        """Count a request. Raises ``ApiError`` past a limit."""
        windows = self._of(caller, now)
        for unit, period, limit, window in _limits(caller.limits, windows):
            if getattr(window, unit) >= limit:
                raise ApiError(
                    429,
                    f"the token {caller.name!r} has used the {_shown(limit)} {unit} that it may use"
                    f" in a {period}",
                    code="budget_exceeded",
                    retry_after=window.rest(now),
                )
        for window in windows:
            window.requests += 1

    def note(self, caller: Caller, tokens: int, usd: float, now: float) -> None:
        """Count what a call has cost."""
        for window in self._of(caller, now):
            window.tokens += tokens
            window.usd += usd

    def remaining(self, caller: Caller, now: float) -> list[RemainingAllowance]:
        """Return the narrowest limit of requests and of tokens, where there are any."""
        windows = self._of(caller, now)
        found: dict[str, RemainingAllowance] = {}
        for unit, _, limit, window in _limits(caller.limits, windows):
            left = max(0.0, limit - getattr(window, unit))
            if unit not in found or left < found[unit].left:
                found[unit] = RemainingAllowance(unit, limit, left, window.rest(now))
        return list(found.values())

    def _of(self, caller: Caller, now: float) -> tuple[_Window, _Window]:
        windows = self._windows.get(caller.name)
        if windows is None:
            windows = self._windows[caller.name] = (_Window(MINUTE), _Window(DAY))
        minute, day = windows
        return minute.at(now), day.at(now)


def _limits(
    limits: CallerLimits, windows: tuple[_Window, _Window]
) -> Iterator[tuple[Unit, str, float, _Window]]:
    minute, day = windows
    rows: tuple[tuple[Unit, str, float, _Window], ...] = (
        ("requests", "minute", limits.requests_per_minute, minute),
        ("requests", "day", limits.requests_per_day, day),
        ("tokens", "minute", limits.tokens_per_minute, minute),
        ("tokens", "day", limits.tokens_per_day, day),
        ("usd", "minute", limits.usd_per_minute, minute),
        ("usd", "day", limits.usd_per_day, day),
    )
    return (row for row in rows if row[2])


def rate_headers(remaining: list[RemainingAllowance]) -> dict[str, str]:
    """Return ``x-ratelimit-*`` in OpenAI's names; of requests also in AssemblyAI's."""
    headers: dict[str, str] = {}
    for one in remaining:
        if one.unit == "usd":
            continue
        of = one.unit.title()
        limit, left, reset = _shown(one.limit), _shown(one.left), f"{one.reset:.3f}"
        headers[f"X-RateLimit-Limit-{of}"] = limit
        headers[f"X-RateLimit-Remaining-{of}"] = left
        headers[f"X-RateLimit-Reset-{of}"] = f"{reset}s"
        if one.unit == "requests":
            names = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
            headers |= dict(zip(names, (limit, left, reset), strict=True))
    return headers


def _shown(amount: float) -> str:
    return str(int(amount)) if amount == int(amount) else f"{amount:.4f}"
