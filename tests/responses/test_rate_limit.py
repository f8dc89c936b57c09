"""The requests a model may still be asked, and what happens when they run short."""

from math import inf

import pytest

from pipeline.config.settings import Prompt
from pipeline.errors import GatewayBusy
from pipeline.interfaces.llm import Accepted, RateLimit
from pipeline.responses.rate_limit import WINDOW, Budget, ModelBudget
from tests.responses.talk import Talk


def spent(limit: int, used: int, at: float = 0.0) -> ModelBudget:
    budget = ModelBudget(limit)
    for _ in range(used):
        budget.take(at)
    return budget


def test_what_was_sent_comes_back_after_the_window() -> None:
    budget = spent(3, 3)
    assert budget.free(WINDOW - 0.01) == 0
    assert budget.free(WINDOW) == 3


@pytest.mark.parametrize("at", [0.1, 0.3, 1 / 3, 7.7, 1e6 + 0.1])
def test_a_request_is_free_at_the_moment_that_was_named(at: float) -> None:
    budget = spent(1, 1, at)
    assert budget.free(budget.free_at(at)) == 1


def test_without_a_limit_there_is_no_end() -> None:
    assert spent(0, 1000).free(0) == inf


def test_a_guess_leaves_the_reserve_alone() -> None:
    budget = ModelBudget(10)
    budget.hit_rate = 1.0
    guesses = 0
    while budget.may_speculate(0):
        budget.take(0)
        guesses += 1
    assert guesses == 7
    assert budget.free(0) == 3


def test_bad_guesses_need_more_to_be_left() -> None:
    good, bad = spent(30, 15), spent(30, 15)
    good.hit_rate, bad.hit_rate = 0.9, 0.12
    assert good.may_speculate(0)
    assert not bad.may_speculate(0)


def test_the_servers_count_is_believed_when_it_is_higher() -> None:
    budget = spent(30, 2, at=10)
    budget.observe(RateLimit(30, 5, 20.0), 10, 11)
    assert budget.free(11) == 5
    assert budget.free(31) == 28


def test_the_servers_count_is_believed_when_it_is_lower() -> None:
    budget = spent(30, 20)
    budget.observe(RateLimit(30, 25, 20.0), 0, 11)
    assert budget.free(11) == 25


@pytest.mark.parametrize("reset", [2, 30])
def test_a_window_that_ends_sooner_than_ours_is_believed(reset: float) -> None:
    budget = spent(2, 2, at=10)
    budget.observe(RateLimit(2, 0, reset), 10, 11)
    assert budget.free(11 + reset) == 0  # its whole seconds may be wrong by one
    assert budget.free(11 + reset + 1) == 2


def test_a_window_as_long_as_ours_forgets_nothing_sooner() -> None:
    budget = ModelBudget(2)
    for at in (10, 40):
        budget.take(at)
    budget.observe(RateLimit(2, 0, 30), 40, 41)  # until the older one leaves it
    assert budget.free(10 + WINDOW) == 1
    assert budget.free(40 + WINDOW - 0.01) == 1


def test_what_left_later_is_not_in_the_servers_count_yet() -> None:
    budget = spent(30, 1, at=1)
    budget.take(2)
    budget.observe(RateLimit(30, 29, 20.0), 1, 3)
    assert budget.free(3) == 28


def test_the_servers_limit_replaces_ours() -> None:
    budget = spent(30, 0)
    budget.observe(RateLimit(100, None, None), 0, 1)
    assert budget.free(1) == 100


def test_a_429_blocks_for_as_long_as_it_says() -> None:
    budget = ModelBudget(30)
    budget.refuse(12.0, 100)
    assert (budget.free(111.9), budget.free_at(105)) == (0, 112)
    assert budget.free(112) == 30


def test_a_429_without_a_word_blocks_for_a_second() -> None:
    budget = ModelBudget(30)
    budget.refuse(None, 100)
    assert budget.free_at(100) == 101


def test_without_a_limit_a_429_blocks_no_longer_than_it_says() -> None:
    budget = spent(0, 50, at=90)
    budget.refuse(12.0, 100)
    assert budget.free_at(105) == 112


def test_the_first_sibling_with_quota_is_taken() -> None:
    budget = Budget(1)
    assert [budget.admit(("a", "b"), 0) for _ in range(3)] == ["a", "b", None]


def test_a_turn_uses_a_sibling_when_its_model_is_short() -> None:
    talk = Talk(limit=1, reply=Prompt(model="big", siblings=("small",)))
    talk.ends(1, "a")
    talk.ends(2, "b")
    assert [talk.requests[key].model for key in ("r1", "r2")] == ["big", "small"]


def test_turns_that_wait_for_quota_are_asked_together() -> None:
    talk = Talk(limit=1, notes=Prompt(policy="parallel", total_timeout=90.0))
    talk.ends(1, "a")
    assert talk.ends(2, "b") == ["2 waits 61 s"]
    assert talk.ends(3, "c") == ["2 3 waits 61 s"]
    assert not talk.scheduler.idle
    talk.tick(WINDOW - 1)
    assert talk.tick(1) == ["r2 created for 2 3", "ask r2"]


def test_a_turn_that_waits_for_quota_goes_when_the_server_says_there_is_more() -> None:
    talk = Talk(limit=1, reply=Prompt(policy="parallel"))
    talk.ends(1, "a")
    talk.ends(2, "b")
    more = Accepted("id", RateLimit(30, 29, 60.0))
    talk.sent("r1")
    talk.do(talk.scheduler.received("r1", [more], 0.5))
    assert talk.tick(1) == ["r2 created for 2", "ask r2"]


def test_what_was_superseded_names_the_one_that_had_to_wait_for_quota() -> None:
    talk = Talk(limit=1, reply=Prompt(total_timeout=90.0))
    talk.ends(1, "a")
    talk.ends(2, "b")
    assert talk.done["r1"].superseded_by == "r2"
    assert talk.tick(WINDOW) == ["r2 created for 1 2", "ask r2"]


def test_a_refused_turn_is_asked_with_the_next_one_after_the_wait() -> None:
    talk = Talk(limit=30, reply=Prompt())
    talk.ends(1, "a")
    talk.fails("r1", GatewayBusy("busy", status=429, retry_after=9))
    assert talk.ends(2, "b") == ["1 2 waits 9 s"]
    talk.tick(8)
    assert talk.tick(1) == ["r2 created for 1 2", "ask r2"]


BUSY = GatewayBusy("busy", status=429, retry_after=9)


def test_what_the_server_refuses_a_sibling_is_asked_at_once() -> None:
    talk = Talk(reply=Prompt(siblings=("small", "tiny")))
    talk.ends(1, "a")
    assert talk.fails("r1", BUSY) == ["ask r1"]
    assert talk.requests["r1"].model == "small"
    assert talk.fails("r1", BUSY) == ["ask r1"]
    assert talk.requests["r1"].model == "tiny"
    talk.fails("r1", BUSY)
    assert talk.done["r1"].status == "failed"
    assert talk.done["r1"].request.model == "tiny"


def test_a_guess_and_what_has_begun_are_not_asked_of_a_sibling() -> None:
    talk = Talk(reply=Prompt(siblings=("small",), speculate=True))
    talk.pauses(1, "a")
    assert talk.fails("r1", BUSY) == []
    talk.tick(9)
    talk.ends(1, "a")
    talk.brings("r2", "Well")
    talk.fails("r2", BUSY)
    assert (talk.done["r2"].status, talk.done["r2"].text) == ("failed", "Well")


def test_a_guess_is_not_made_from_the_reserve_but_a_turn_is_asked() -> None:
    talk = Talk(limit=3, reply=Prompt(speculate=True))
    talk.ends(1, "a")
    assert talk.pauses(2, "b") == []
    assert talk.ends(2, "b")[-1] == "ask r2"


def test_sessions_share_one_budget() -> None:
    budget = Budget(1)
    one, other = Talk(budget=budget, reply=Prompt()), Talk(budget=budget, reply=Prompt())
    assert one.ends(1, "a") != []
    assert other.ends(1, "a") == ["1 waits 61 s"]
