"""Spending limits of one session and of a day."""

from datetime import date

from pipeline.config.settings import LimitSettings
from pipeline.session.usage_limits import SessionUsage, UsageLimits

MONDAY, TUESDAY = date(2026, 11, 23), date(2026, 11, 24)


def allowance(**limits: float) -> UsageLimits:
    return UsageLimits(LimitSettings(**limits))  # type: ignore[arg-type]


def reached(ours: UsageLimits, session_id: str, today: date = MONDAY) -> list[str]:
    return [str(limit) for limit in ours.reached(session_id, today)]


def test_a_session_names_the_limit_that_it_has_reached() -> None:
    ours = allowance(session_minutes=1, session_tokens=100, session_cost=0.5)
    ours.note("s1", SessionUsage(59.9, 99, 0.49), MONDAY)
    assert reached(ours, "s1") == []
    ours.note("s1", SessionUsage(60.0, 99, 0.49), MONDAY)
    said = "the session has used its 1 minutes of speech-to-text (limits.session_minutes)"
    assert reached(ours, "s1") == [said]
    ours.note("s2", SessionUsage(0, 100, 0.5), MONDAY)
    assert reached(ours, "s2") == [
        "the session has used its 100 tokens (limits.session_tokens)",
        "the session has used its 0.5 USD (limits.session_cost)",
    ]
    assert reached(ours, "s3") == []


def test_minutes_end_a_session_and_spending_its_requests() -> None:
    ours = allowance(session_minutes=1, session_tokens=1, day_cost=1)
    ours.note("s1", SessionUsage(60.0, 1, 1.0), MONDAY)
    assert [(one.limit, one.is_of_requests) for one in ours.reached("s1", MONDAY)] == [
        ("limits.session_minutes", False),
        ("limits.session_tokens", True),
        ("limits.day_cost", True),
    ]


def test_a_day_adds_up_every_session_once_and_the_next_one_begins_anew() -> None:
    ours = allowance(day_tokens=100, day_minutes=0)
    for spent in (40, 40, 60):  # as it grows
        ours.note("s1", SessionUsage(0, spent), MONDAY)
    ours.note("s2", SessionUsage(1e9, 39), MONDAY)
    ours.forget("s2")
    assert reached(ours, "s1") == []
    ours.note("s1", SessionUsage(0, 61), MONDAY)
    assert reached(ours, "s1") == ["the service has today used its 100 tokens (limits.day_tokens)"]
    ours.note("s1", SessionUsage(0, 62), TUESDAY)
    assert reached(ours, "s1", TUESDAY) == []


def test_without_limits_anything_may_be_spent() -> None:
    ours = allowance(session_minutes=0, session_tokens=0)
    ours.note("s1", SessionUsage(1e12, 10**12, 1e12), MONDAY)
    assert reached(ours, "s1") == []


def test_a_clock_that_is_set_back_and_forth_renews_no_days_limit() -> None:
    ours = allowance(day_tokens=100)
    for today in (TUESDAY, MONDAY, TUESDAY):
        ours.note(f"at {today}", SessionUsage(0, 60), today)
        ours.forget(f"at {today}")
    assert list(ours.reached_today(MONDAY)) == []
    assert len(list(ours.reached_today(TUESDAY))) == 1
