"""Delays of reconnecting, and the pace of audio."""

import math

import pytest

from pipeline.errors import SttBusy, SttError, SttLost, SttRefused
from pipeline.stt.pacing import TokenBucket, slower
from pipeline.stt.reconnect import ReconnectPolicy, lifetime

LONGEST_SESSION = 10_800.0  #: seconds
LOST, BUSY = SttLost("gone"), SttBusy("later")


def policy(*, opened: float | None = 0.0) -> ReconnectPolicy:
    made = ReconnectPolicy(first=10, patience=60, now=0)
    if opened is not None:
        made.opened(opened)
    return made


def delays(error: SttError, jitter: float, times: int) -> list[float]:
    reconnect = policy()
    return [round(reconnect.after(error, 1.0, jitter), 3) for _ in range(times)]


def test_a_loss_is_tried_again_at_once_and_then_up_to_every_5_s() -> None:
    assert delays(LOST, 1.0, 8) == [0, 0.25, 0.5, 1, 2, 4, 5, 5]
    assert delays(LOST, 0.0, 4) == [0, 0.125, 0.25, 0.5]


def test_a_busy_server_is_spared_with_full_jitter() -> None:
    assert delays(BUSY, 1.0, 7) == [1, 2, 4, 8, 16, 30, 30]
    assert delays(BUSY, 0.0, 3) == [0, 0, 0]


def test_a_refusal_is_the_end() -> None:
    with pytest.raises(SttRefused):
        policy().after(SttRefused("no"), 1.0, 0.5)


def test_only_a_session_that_lived_for_5_s_resets_the_delays() -> None:
    reconnect = policy()
    assert [
        reconnect.after(LOST, 1, 1),
        reconnect.after(LOST, 1, 1),
        reconnect.after(LOST, 2, 1),
    ] == [0, 0.25, 0.5]
    reconnect.opened(3)
    assert reconnect.after(LOST, 4, 1) == 1.0
    reconnect.opened(5)
    assert reconnect.after(LOST, 11, 1) == 0


def test_without_any_session_patience_is_short() -> None:
    reconnect = policy(opened=None)
    assert reconnect.after(LOST, 5, 1) == 0
    with pytest.raises(SttLost, match=r"gone \(tried 2 times in 10 s\)"):
        reconnect.after(LOST, 10, 1)


def test_patience_counts_from_the_loss() -> None:
    reconnect = policy()
    reconnect.after(LOST, 1000, 1)
    reconnect.after(LOST, 1050, 1)
    with pytest.raises(SttLost, match="tried 3 times"):
        reconnect.after(LOST, 1061, 1)


def test_sessions_that_all_die_at_once_are_given_up_in_the_end() -> None:
    reconnect = policy()
    for second in range(0, 300, 10):
        reconnect.opened(second)
        reconnect.after(LOST, second + 1, 1)
    reconnect.opened(300)
    with pytest.raises(SttLost):
        reconnect.after(LOST, 301, 1)


@pytest.mark.parametrize(
    ("expires_at", "left"),
    [
        (1_000_600, 600),
        (None, LONGEST_SESSION),
        (999_000, LONGEST_SESSION),  # a clock is wrong
        (2_000_000, LONGEST_SESSION),
    ],
)
def test_a_session_lives_as_long_as_the_server_allows(
    expires_at: float | None, left: float
) -> None:
    assert lifetime(expires_at, 1_000_000, LONGEST_SESSION) == left


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    bucket = TokenBucket(1.25, 1.0)
    assert all(bucket.ready(0.0625, 0.0) for _ in range(16))
    assert not bucket.ready(0.0625, 0.0)
    assert bucket.take(0.05, 0.0) == pytest.approx(0.04)
    assert bucket.ready(0.05, 1.0)


def test_without_a_rate_there_is_no_limit() -> None:
    bucket = TokenBucket(0.0, 1.0)
    assert bucket.ready(1e9, 0.0)
    assert bucket.take(math.inf, 0.0) == 0


def test_too_fast_halves_what_is_above_real_time() -> None:
    assert [slower(1.25, 9), slower(2.0, 9), slower(0, 1.25)] == [1.125, 1.5, 1.25]


def test_a_long_session_that_another_took_over_from_was_healthy() -> None:
    policy = ReconnectPolicy(first=10, patience=60, now=0.0)
    policy.opened(0.0)
    policy.opened(9000.0)  # the next session, without an interruption
    assert policy.after(SttLost("lost"), 9001.0, 0.5) == 0.0
