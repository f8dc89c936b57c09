"""The table of failures: what follows each kind, whatever else holds."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import (
    GatewayBusy,
    GatewayError,
    GatewayLost,
    GatewayRefused,
    GatewayTimeout,
    RefusalCause,
)
from pipeline.gateway import failure_kinds
from pipeline.gateway.failure_kinds import TREATMENTS, FailureKind, kind_of
from pipeline.gateway.retry import (
    FailedAttempt,
    Retry,
    RetryPolicy,
    ReturnError,
    UseFallback,
    after_failure,
)


def refused(cause: RefusalCause) -> GatewayRefused:
    failure = GatewayRefused("no", status=400)
    failure.cause = cause
    return failure


FAILURES: dict[FailureKind, GatewayError] = {
    **{cause: refused(cause) for cause in get_args(RefusalCause)},
    "busy": GatewayBusy("busy", status=429),
    "lost": GatewayLost("lost"),
    "timeout": GatewayTimeout("slow"),
    "preempted": GatewayBusy("gave way"),
}


def test_the_table_has_every_kind() -> None:
    assert TREATMENTS.keys() == FAILURES.keys()
    for kind, failure in FAILURES.items():
        assert kind_of(failure) == kind
    assert kind_of(GatewayRefused("not written")) == "malformed"


def test_the_documented_table_is_the_table() -> None:
    rows = [line.split() for line in (failure_kinds.__doc__ or "").splitlines()]
    for kind, treatment in TREATMENTS.items():
        row = next(words for words in rows if words[:1] == [kind])
        again, turn = ("yes" if treatment.retry else "no"), row[-1]
        assert again in row
        assert row[row.index(again, 3) + 1] == treatment.fallback
        passes = not isinstance(FAILURES[kind], GatewayRefused)
        assert turn == ("unanswered" if passes else "dropped")


@given(
    st.sampled_from(sorted(FAILURES)),
    st.sampled_from([None, True, False]),
    st.integers(1, 4),
    st.booleans(),
    st.floats(0, 60),
    st.floats(0, 1),
)
def test_each_failure_has_the_step_of_its_row(
    kind: FailureKind,
    retryable: bool | None,
    tries: int,
    has_next: bool,
    remaining: float,
    jitter: float,
) -> None:
    failure = FAILURES[kind]
    failure.retryable = retryable
    policy = RetryPolicy(attempts=2)
    step = after_failure(
        policy,
        failure,
        FailedAttempt(tries=tries, has_next=has_next, remaining=remaining, jitter=jitter),
    )
    treatment = TREATMENTS[kind]
    may_retry = retryable if retryable is not None else treatment.retry
    if isinstance(step, Retry):
        assert may_retry
        assert tries < policy.attempts
        assert 0 <= step.wait < remaining
    elif has_next and treatment.fallback != "none":
        assert step == UseFallback()
    else:
        assert step == ReturnError()
    if may_retry and tries < policy.attempts and remaining > policy.longest_backoff:
        assert isinstance(step, Retry)


@pytest.mark.parametrize("kind", [each for each in TREATMENTS if each not in ("busy", "lost")])
def test_a_refusal_is_never_sent_again_to_the_same_model(kind: FailureKind) -> None:
    failure = FAILURES[kind]
    failure.retryable = None
    at = FailedAttempt(tries=1, has_next=False, remaining=60.0, jitter=0.5)
    assert after_failure(RetryPolicy(attempts=9), failure, at) == ReturnError()
