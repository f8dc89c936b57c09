"""What sessions may spend, by themselves and all in a day."""

from datetime import date

import pytest

from pipeline.config.settings import LimitSettings
from pipeline.session.usage_limits import Exhausted, SessionUsage, UsageLimits

MONDAY, TUESDAY = date(2026, 11, 23), date(2026, 11, 24)


def allowance(**limits: float) -> UsageLimits:
    return UsageLimits(LimitSettings(**limits))  # type: ignore[arg-type]


def test_a_session_is_told_which_of_its_limits_it_has_reached() -> None:
    ours = allowance(session_minutes=1, session_tokens=100)
    ours.note("s1", SessionUsage(59.9, 99), MONDAY)
    ours.check("s1")
    ours.note("s1", SessionUsage(60.0, 99), MONDAY)
    said = r"used its 1 minutes of speech-to-text \(limits.session_minutes\)"
    with pytest.raises(Exhausted, match=said):
        ours.check("s1")
    ours.note("s2", SessionUsage(0, 100), MONDAY)
    with pytest.raises(Exhausted, match=r"100 tokens \(limits.session_tokens\)"):
        ours.check("s2")
    ours.check("s3")


def test_a_day_adds_up_every_session_once_and_the_next_one_begins_anew() -> None:
    ours = allowance(day_tokens=100, day_minutes=0)
    for spent in (40, 40, 60):  # as it grows
        ours.note("s1", SessionUsage(0, spent), MONDAY)
    ours.note("s2", SessionUsage(1e9, 39), MONDAY)
    ours.forget("s2")
    ours.check_day(MONDAY)
    ours.note("s1", SessionUsage(0, 61), MONDAY)
    with pytest.raises(Exhausted, match="the service has today used its 100 tokens"):
        ours.check_day(MONDAY)
    ours.note("s1", SessionUsage(0, 160), TUESDAY)  # 99 of them on Tuesday
    ours.check_day(TUESDAY)
    ours.note("s1", SessionUsage(0, 161), TUESDAY)
    with pytest.raises(Exhausted):
        ours.check_day(TUESDAY)


def test_nothing_is_a_limit_of_nothing() -> None:
    ours = allowance(session_minutes=0, session_tokens=0)
    ours.note("s1", SessionUsage(1e12, 10**12), MONDAY)
    ours.check("s1")
    ours.check_day(MONDAY)


def test_a_clock_that_is_set_back_and_forth_renews_no_days_limit() -> None:
    ours = allowance(day_tokens=100)
    for today in (TUESDAY, MONDAY, TUESDAY):
        ours.note(f"at {today}", SessionUsage(0, 60), today)
        ours.forget(f"at {today}")
    ours.check_day(MONDAY)
    with pytest.raises(Exhausted):
        ours.check_day(TUESDAY)
