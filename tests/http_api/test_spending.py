"""Spending limits of a token, per minute and per day."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.http_api.errors import ApiError
from pipeline.http_api.spending import DAY, MINUTE, Spending, rate_headers
from pipeline.interfaces.completions import Caller, CallerLimits

NOON = 20_000 * DAY + DAY / 2


def caller(name: str = "one", **limits: Any) -> Caller:
    return Caller(name=name, limits=CallerLimits(**limits))


def test_a_request_past_the_limit_is_refused_until_the_next_minute() -> None:
    spending, one = Spending(), caller(requests_per_minute=2)
    spending.admit(one, NOON)
    spending.admit(one, NOON + 1)
    with pytest.raises(ApiError, match="2 requests that it may use in a minute") as refused:
        spending.admit(one, NOON + 15)
    assert (refused.value.status, refused.value.retry_after) == (429, 45.0)
    spending.admit(one, NOON + MINUTE)


def test_a_day_ends_at_midnight_utc() -> None:
    spending, one = Spending(), caller(tokens_per_day=100)
    spending.note(one, 100, 0, NOON)
    with pytest.raises(ApiError, match="100 tokens that it may use in a day") as refused:
        spending.admit(one, NOON + 60)
    assert refused.value.retry_after == DAY / 2 - 60
    spending.admit(one, NOON + DAY / 2)


def test_money_is_counted() -> None:
    spending, one = Spending(), caller(usd_per_day=0.5)
    spending.note(one, 10, 0.5, NOON)
    with pytest.raises(ApiError, match=r"0\.5000 usd"):
        spending.admit(one, NOON)


def test_one_callers_spending_is_not_anothers() -> None:
    spending = Spending()
    spending.admit(caller("one", requests_per_day=1), NOON)
    spending.admit(caller("two", requests_per_day=1), NOON)


def test_headers_tell_the_narrowest_limit() -> None:
    spending, one = Spending(), caller(requests_per_minute=5, requests_per_day=1_000_000)
    spending.admit(one, NOON)
    headers = rate_headers(spending.remaining(one, NOON + 20))
    assert headers == {
        "X-RateLimit-Limit-Requests": "5",
        "X-RateLimit-Remaining-Requests": "4",
        "X-RateLimit-Reset-Requests": "40.000s",
        "X-RateLimit-Limit": "5",
        "X-RateLimit-Remaining": "4",
        "X-RateLimit-Reset": "40.000",
    }


def test_without_limits_nothing_is_refused_and_no_header_is_sent() -> None:
    spending, one = Spending(), caller()
    for _ in range(1000):
        spending.admit(one, NOON)
    assert rate_headers(spending.remaining(one, NOON)) == {}


@given(st.lists(st.floats(0, 300), max_size=60), st.integers(1, 9))
def test_no_minute_has_more_requests_than_its_limit(gaps: list[float], most: int) -> None:
    spending, one, now = Spending(), caller(requests_per_minute=most), NOON
    admitted: dict[int, int] = {}
    for gap in gaps:
        now += gap
        try:
            spending.admit(one, now)
        except ApiError:
            continue
        admitted[int(now) // MINUTE] = admitted.get(int(now) // MINUTE, 0) + 1
    assert all(count <= most for count in admitted.values())
