"""Wall-clock times in events."""

from pipeline.session.timestamps import Timestamps


def test_a_stamp_is_utc_with_milliseconds() -> None:
    now = [1_772_357_400_250_999_999]
    stamp = Timestamps(lambda: now[0])

    assert stamp() == "2026-03-01T09:30:00.250Z"
    now[0] += 1_000_000
    assert stamp() == "2026-03-01T09:30:00.251Z"


def test_a_clock_that_jumps_is_followed_both_ways() -> None:
    now = [1_772_357_400_000_000_000]
    stamp = Timestamps(lambda: now[0])
    stamp()

    now[0] += 3600 * 1_000_000_000
    assert stamp() == "2026-03-01T10:30:00.000Z"
    now[0] -= 2 * 3600 * 1_000_000_000
    assert stamp() == "2026-03-01T08:30:00.000Z"
