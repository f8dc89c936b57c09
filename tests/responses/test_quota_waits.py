"""Turns that wait for quota: reported, bounded, and never in the way of a session's end."""

from math import inf

import pytest

from pipeline.config.settings import Prompt
from pipeline.errors import GatewayBusy
from pipeline.interfaces.llm import RateLimit
from pipeline.responses.prompt_scheduler import CLOSING_WAIT
from pipeline.responses.rate_limit import LONGEST_BLOCK, MOST, WINDOW, ModelBudget
from tests.responses.talk import Talk

DAY = GatewayBusy("no more today", status=429, retry_after=36_000.0)


def short_of_quota(**prompt: object) -> Talk:
    """Return a talk whose first turn was refused for the rest of the day."""
    talk = Talk(reply=Prompt(**({"total_timeout": 2.0} | prompt)))  # type: ignore[arg-type]
    talk.ends(1, "a")
    talk.fails("r1", DAY)
    return talk


def test_a_turn_without_quota_fails_as_busy_after_its_total_timeout() -> None:
    talk = short_of_quota()
    assert talk.ends(2, "b") == ["1 2 waits 60 s"]
    assert talk.tick(1.9) == []
    assert talk.scheduler.deadline == 2.0
    assert talk.tick(0.1) == ["r2 created for 1 2", "r2 failed (busy)"]
    error = talk.done["r2"].error
    assert error is not None
    assert "total_timeout" in error.message
    assert "in 58 s" in error.message
    assert talk.scheduler.idle
    assert talk.scheduler.deadline == inf


def test_a_turn_that_failed_for_want_of_quota_is_sent_with_the_next() -> None:
    talk = short_of_quota()
    talk.ends(2, "b")
    talk.tick(2.0)
    talk.tick(LONGEST_BLOCK)
    assert talk.ends(3, "c") == ["r3 created for 1 2 3", "ask r3"]


def test_turns_that_join_a_wait_fail_with_the_first_of_them() -> None:
    talk = short_of_quota(policy="queue")
    assert talk.ends(2, "b") == ["1 2 waits 60 s"]
    talk.tick(1.5)
    assert talk.ends(3, "c") == ["1 2 3 waits 58.5 s"]
    assert talk.tick(0.5) == ["r2 created for 1 2 3", "r2 failed (busy)"]


def test_the_response_that_another_was_superseded_by_fails_under_its_id() -> None:
    talk = Talk(limit=1, reply=Prompt(total_timeout=2.0))
    talk.ends(1, "a")
    assert "r1 cancelled (superseded)" in talk.ends(2, "b")
    assert talk.tick(2.0) == ["r2 created for 1 2", "r2 failed (busy)"]


def test_the_end_of_a_session_waits_for_quota_for_a_moment_only() -> None:
    talk = short_of_quota(total_timeout=60.0)
    talk.ends(2, "b")
    assert talk.do(talk.scheduler.finish(talk.now)) == []
    assert talk.scheduler.deadline <= CLOSING_WAIT
    assert talk.tick(CLOSING_WAIT) == ["r2 created for 1 2", "r2 failed (busy)"]
    assert talk.scheduler.idle


def test_a_response_for_the_end_of_a_session_is_bounded_likewise() -> None:
    talk = Talk(limit=1, notes=Prompt(at_end=True), reply=Prompt())
    talk.ends(1, "a")
    talk.over("r1", "A")
    assert talk.do(talk.scheduler.finish(talk.now)) == ["1 waits 61 s"]
    assert talk.tick(CLOSING_WAIT) == ["r2 created for 1", "r2 failed (busy)"]


def test_another_model_does_not_wait() -> None:
    talk = Talk(reply=Prompt(model="big"), notes=Prompt(model="small", policy="queue"))
    talk.ends(1, "a")
    talk.fails("r1", DAY)
    talk.over("r2", "A")
    assert talk.ends(2, "b") == ["1 2 waits 60 s", "r3 created for 2", "ask r3"]


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [(None, 1), (0.0, 1), (-5.0, 1), (0.2, 0.2), (59, 59), (61, 60), (1e9, 60), (inf, 60)],
)
def test_no_server_blocks_a_model_for_longer_than_the_cap(
    retry_after: float | None, seconds: float
) -> None:
    budget = ModelBudget(30)
    budget.refuse(retry_after, 100)
    assert budget.free_at(100) == pytest.approx(100 + seconds)


@pytest.mark.parametrize("limit", [1, 30, 10**9, 10**300])
@pytest.mark.parametrize("remaining", [0, -(10**300), 10**300])
@pytest.mark.parametrize("reset", [None, -1e9, 1e9])
def test_rate_headers_of_any_size_cost_no_more_than_a_window(
    limit: int, remaining: int, reset: float | None
) -> None:
    budget = ModelBudget(30)
    budget.observe(RateLimit(limit, remaining, reset), 0.0, 0.0)
    assert 0 <= budget.free(0.0) <= MOST
    assert budget.free_at(0.0) <= WINDOW


def test_a_fallbacks_lack_of_room_does_not_block_the_requested_model() -> None:
    failure = GatewayBusy("busy", status=429, retry_after=36_000.0)
    failure.from_fallback = True
    talk = Talk(reply=Prompt())
    talk.ends(1, "a")
    talk.fails("r1", failure)
    assert talk.ends(2, "b") == ["r2 created for 1 2", "ask r2"]
