"""Headers on quota and waiting: ``retry-after``, ``x-ratelimit-*``. Pure.

Servers write a wait as seconds, ``20ms``, ``6m0s``, ``2 minutes``, an HTTP or ISO 8601 date, or
seconds since 1970. Dates are compared with the response's own ``date``.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isnan

from pipeline.interfaces.llm import RateLimit

LONGEST = 86_400.0  #: seconds; a longer wait counts as a day
IMPOSSIBLE = 32 * LONGEST  #: seconds; no quota is renewed less often, so it is not believed
MAX_COUNT = 10**9  #: requests; a higher number counts as this one
MAX_TEXT = 500  #: characters of a header that are read

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = re.compile(
    r"(\d+(?:\.\d+)?)\s*"
    r"(milliseconds?|minutes?|seconds?|hours?|days?|mins?|secs?|hrs?|ms|s|m|h|d)"
)
#: names of a header, the best first: OpenAI's end in ``-requests``, Anthropic's have its name
_NAMES = (
    "x-ratelimit-{}",
    "x-ratelimit-{}-requests",
    "ratelimit-{}",
    "anthropic-ratelimit-requests-{}",
)
#: the wait in a server's words: ``Please try again in 7m12s.``
_IN_WORDS = re.compile(
    r"(?:try(?:ing)? again|retry(?:ing)?|wait)(?: again)?(?: for| in| after| at least)*\W{0,3}"
    rf"(?P<wait>(?:{_PART.pattern}[ ,]*(?:and )?)+)(?![a-z])",
    re.IGNORECASE,
)
_SINCE_1970 = 1e9  #: seconds; a number from here on is a date
_UNTIL_2100 = 4.1e9  #: seconds since 1970; a later date is not believed


def retry_after(headers: Mapping[str, str], in_body: str = "", reason: str = "") -> float | None:
    """Return the seconds to wait, 0 to LONGEST; None when the response names no possible wait.

    ``in_body``: the wait that the error body names; ``reason``: its words, which may name one.
    The end of an exhausted quota counts when nothing else does.
    """
    now = _date(headers.get("date", ""))
    exact = _number(headers.get("retry-after-ms", ""))
    if exact is not None:
        return _bounded(exact / 1000)
    text = headers.get("retry-after", "")
    wait = _seconds(text, now)
    if wait is None:  # a header that was sent twice arrives as one
        wait = _seconds(text.split(",")[0], now)
    if wait is None:
        wait = _seconds(in_body, now)
    if wait is None:
        words = _IN_WORDS.search(reason)
        wait = None if words is None else _units(words["wait"].lower().replace("and", " "))
    if wait is None:
        rate = rate_limit(headers)
        wait = rate.reset if rate is not None and rate.remaining == 0 else None
    return _bounded(wait)


def rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    """Return the values of ``x-ratelimit-*`` and headers of the same meaning."""

    def value(name: str) -> str:
        known = (each.format(name) for each in _NAMES)
        return next((headers[each] for each in known if headers.get(each)), "")

    limit, remaining = _count(value("limit")), _count(value("remaining"))
    reset = _seconds(value("reset"), _date(headers.get("date", "")))
    if limit is None and remaining is None and reset is None:
        return None
    return RateLimit(limit=limit, remaining=remaining, reset=_bounded(reset))


def _seconds(text: str, now: datetime | None) -> float | None:
    """Return a duration, or the time from ``now`` until a date, in seconds."""
    text = text[:MAX_TEXT].strip().lower()
    number = _number(text)
    if number is None:
        date = _date(text)
        if date is not None:
            return None if now is None else (date - now).total_seconds()
        return _units(text)
    if number < _SINCE_1970:
        return number
    seconds = number / 1000 if number >= _SINCE_1970 * 1000 else number
    if seconds > _UNTIL_2100:
        return None
    return LONGEST if now is None else seconds - now.timestamp()


def _units(text: str) -> float | None:
    """Return the seconds of ``20ms``, ``6m0s`` or ``1 minute 5 seconds``."""
    if not text or _PART.sub("", text).strip(" ,"):
        return None
    return sum(
        float(number) * _UNITS["ms" if unit.startswith(("ms", "mil")) else unit[0]]
        for number, unit in _PART.findall(text)
    )


def _number(text: str) -> float | None:
    try:
        number = float(text[:MAX_TEXT])
    except ValueError:
        return None
    return None if isnan(number) else number


def _count(text: str) -> int | None:
    number = _number(text)
    return None if number is None else int(max(-MAX_COUNT, min(number, MAX_COUNT)))


def _date(text: str) -> datetime | None:
    """Return an HTTP date or an ISO 8601 date; one without a time zone is UTC."""
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            date = parse(text.upper())
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
        return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return None


def _bounded(seconds: float | None) -> float | None:
    if seconds is None or seconds > IMPOSSIBLE:
        return None
    return max(0.0, min(seconds, LONGEST))
