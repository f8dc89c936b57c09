"""Retry decisions of a failed call: the table, the budget, the breaker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import GatewayBusy, GatewayError, GatewayLost, GatewayRefused, GatewayTimeout
from pipeline.gateway.retry import (
    Breaker,
    FailedAttempt,
    Retry,
    RetryBudget,
    RetryPolicy,
    ReturnError,
    Step,
    UseFallback,
    after_failure,
    counts_against,
)

LOST = GatewayLost("cut")
BUSY = GatewayBusy("slow down", status=503)


def decide(
    failure: GatewayError, *, tries: int = 1, has_next: bool = True, remaining: float = 10.0
) -> Step:
    at = FailedAttempt(tries=tries, has_next=has_next, remaining=remaining, jitter=0.5)
    return after_failure(RetryPolicy(attempts=2), failure, at)


@pytest.mark.parametrize(
    ("failure", "step"),
    [
        (LOST, Retry(0.1)),
        (BUSY, Retry(0.1)),
        (GatewayLost("500", status=500), Retry(0.1)),
        (GatewayBusy("429", status=429, retry_after=1), Retry(1.0)),
        (GatewayBusy("429", status=429, retry_after=3), UseFallback()),
        (GatewayBusy("429", status=429, retry_after=60), UseFallback()),
        (GatewayTimeout("no token"), UseFallback()),
        (GatewayRefused("400", status=400), ReturnError()),
        (GatewayRefused("401", status=401), ReturnError()),
        (GatewayBusy("preempted by a committed call"), ReturnError()),
    ],
    ids=str,
)
def test_what_follows_a_first_failure(failure: GatewayError, step: Step) -> None:
    assert decide(failure) == step


@pytest.mark.parametrize(
    ("failure", "retryable", "step"),
    [
        (GatewayLost("500", status=500), False, UseFallback()),
        (GatewayBusy("429", status=429, retry_after=1), False, UseFallback()),
        (GatewayRefused("400", status=400), True, Retry(0.1)),
        (GatewayRefused("400", status=400), False, ReturnError()),
    ],
)
def test_the_servers_own_word_on_asking_again_is_obeyed(
    failure: GatewayError, retryable: bool, step: Step
) -> None:
    failure.retryable = retryable
    assert decide(failure) == step


def test_after_the_last_attempt_the_fallback_is_used() -> None:
    assert decide(LOST, tries=2) == UseFallback()
    assert decide(LOST, tries=2, has_next=False) == ReturnError()


def test_no_retry_waits_beyond_the_callers_deadline() -> None:
    failure = GatewayBusy("429", status=429, retry_after=1.5)
    assert decide(failure, remaining=1.0) == UseFallback()
    assert decide(failure, remaining=1.0, has_next=False) == ReturnError()


@given(st.integers(1, 1_000))
def test_retries_stay_a_tenth_of_the_requests(requests: int) -> None:
    budget, retries = RetryBudget(share=0.1), 0
    for _ in range(requests):
        budget.earn()
        retries += budget.spend()
    assert retries <= 1 + 0.1 * requests


def test_a_quiet_time_does_not_save_up_a_storm() -> None:
    budget = RetryBudget(share=0.1, limit=10)
    for _ in range(100_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) == 10


def broken(breaker: Breaker, at: float = 0.0) -> Breaker:
    for _ in range(10):
        breaker.failed(at)
    return breaker


def test_a_breaker_opens_when_half_of_ten_fail() -> None:
    breaker = Breaker()
    for n in range(9):
        (breaker.failed if n % 2 else breaker.succeeded)(n / 10)
    assert breaker.allows(1.0)
    breaker.failed(1.0)
    assert not breaker.allows(1.1)
    assert breaker.retry_after(2.0) == pytest.approx(4.0)


def test_old_failures_are_forgotten() -> None:
    breaker = Breaker(window=20)
    for n in range(9):
        breaker.failed(float(n))
    breaker.failed(40.0)
    assert breaker.allows(40.0)


def test_an_open_breaker_lets_one_probe_through() -> None:
    breaker = broken(Breaker(pause=5))
    assert not breaker.allows(4.9)
    assert breaker.allows(5.0)
    assert not breaker.allows(5.1)


def test_a_probe_that_succeeds_closes_it() -> None:
    breaker = broken(Breaker(pause=5))
    assert breaker.allows(5.0)
    breaker.succeeded(6.0)
    assert breaker.allows(6.0)
    assert not breaker.is_open


def test_a_probe_that_fails_keeps_it_open() -> None:
    breaker = broken(Breaker(pause=5))
    assert breaker.allows(5.0)
    breaker.failed(7.0)
    assert not breaker.allows(11.9)
    assert breaker.allows(12.0)


def test_a_cancelled_probe_allows_another() -> None:
    breaker = broken(Breaker(pause=5))
    assert breaker.allows(5.0)
    assert breaker.allows(10.0)


def test_a_late_failure_of_a_call_from_before_does_not_prolong_the_pause() -> None:
    breaker = broken(Breaker(pause=5))
    breaker.failed(4.0)
    assert breaker.allows(5.0)


@pytest.mark.parametrize(
    ("failure", "counts"),
    [
        (LOST, True),
        (BUSY, True),
        (GatewayTimeout("late"), True),
        (GatewayBusy("429", status=429), False),
        (GatewayRefused("400", status=400), False),
        (GatewayBusy("preempted"), False),
    ],
    ids=str,
)
def test_our_limits_and_mistakes_do_not_count_against_a_model(
    failure: GatewayError, counts: bool
) -> None:
    assert counts_against(failure) is counts
