"""Guesses: calls made at a pause, before the turn has ended; and the times they save."""

import pytest

from pipeline.config.settings import Prompt
from pipeline.errors import GatewayBusy, GatewayLost
from pipeline.interfaces.llm import Accepted
from tests.responses.talk import Talk

GUESSING = Prompt(speculate=True)


def test_a_pause_starts_a_call_without_an_event() -> None:
    talk = Talk(reply=GUESSING)
    assert talk.pauses(1, "book it") == ["guess r1"]
    assert talk.brings("r1", "Yes") == []


def test_a_prompt_that_does_not_ask_for_it_never_guesses() -> None:
    assert Talk(reply=Prompt()).pauses(1, "book it") == []


@pytest.mark.parametrize("final", ["book it", "Book it.", "BOOK  IT!", "“Book it,”"])
def test_a_guess_is_adopted_when_only_formatting_changed(final: str) -> None:
    talk = Talk(reply=GUESSING)
    talk.pauses(1, "book it")
    talk.brings("r1", "Yes", ".")
    assert talk.ends(1, final) == ["r1 created for 1", "r1: Yes."]
    assert talk.over("r1") == ["r1 completed"]


def test_a_guess_that_is_complete_is_published_whole() -> None:
    talk = Talk(reply=GUESSING)
    talk.pauses(1, "book it")
    talk.over("r1", "Yes.")
    assert talk.ends(1, "Book it.") == ["r1 created for 1", "r1: Yes.", "r1 completed"]


def test_other_words_at_the_end_discard_it_and_ask_anew() -> None:
    talk = Talk(reply=GUESSING)
    talk.pauses(1, "book it")
    assert talk.ends(1, "Book a bit.") == ["cancel r1", "r2 created for 1", "ask r2"]
    assert talk.reports == ["r1 discarded"]


def test_other_words_while_speaking_discard_it_at_once() -> None:
    talk = Talk(reply=GUESSING)
    talk.pauses(1, "book it")
    assert talk.changes(1, "Book it.") == []
    assert talk.changes(1, "Book it for") == ["cancel r1"]


def test_another_pause_with_the_same_words_keeps_it() -> None:
    talk = Talk(reply=GUESSING)
    talk.pauses(1, "book it")
    assert talk.pauses(1, "Book it.") == []


def test_a_changed_history_discards_it() -> None:
    talk = Talk(reply=GUESSING)
    talk.ends(1, "one")
    talk.brings("r1", "ON")
    talk.pauses(2, "two")
    talk.brings("r1", "E")
    assert "r3 created for 2" in talk.ends(2, "two")
    assert "r2 discarded" in talk.reports


def test_a_changed_variable_discards_it() -> None:
    talk = Talk(reply=Prompt(speculate=True, system="Be {{vars.tone}}."))
    talk.pauses(1, "book it")
    talk.scheduler.set_vars({"tone": "brief"})
    assert "r2 created for 1" in talk.ends(1, "book it")


def test_another_speaker_discards_it_where_the_prompt_names_speakers() -> None:
    talk = Talk(reply=Prompt(speculate=True, user="{{speaker}}: {{turn}}"))
    talk.pauses(1, "book it")
    assert "r2 created for 1" in talk.ends(1, "book it", "A")


def test_a_guess_over_the_transcript_can_be_adopted() -> None:
    talk = Talk(reply=Prompt(speculate=True, user="{{transcript}}"))
    talk.ends(1, "one", "A")
    talk.over("r1", "ONE")
    talk.pauses(2, "book it", "B")
    assert talk.asked("r2")[-1] == "user: <transcript>\nA: one\nB: book it\n</transcript>"
    assert talk.ends(2, "Book it.", "B") == ["r2 created for 2"]


def test_a_superseding_guess_ends_the_old_response_when_it_is_adopted() -> None:
    talk = Talk(reply=GUESSING)
    talk.ends(1, "one")
    assert talk.pauses(2, "two") == ["guess r2"]
    assert talk.asked("r2") == ["user: one two"]
    assert talk.ends(2, "Two.") == [
        "cancel r1",
        "r1 cancelled (superseded)",
        "r2 created for 1 2",
    ]


def test_no_guess_is_made_while_a_queue_has_a_response_to_finish() -> None:
    talk = Talk(reply=Prompt(speculate=True, policy="queue"))
    talk.ends(1, "one")
    assert talk.pauses(2, "two") == []


def test_a_failed_guess_leaves_its_turn_to_be_asked() -> None:
    talk = Talk(reply=GUESSING)
    talk.pauses(1, "book it")
    assert talk.fails("r1") == []
    assert talk.ends(1, "Book it.") == ["r2 created for 1", "ask r2"]


def test_a_guess_that_is_whole_outlives_its_connection() -> None:
    talk = Talk(reply=GUESSING)
    talk.pauses(1, "book it")
    talk.over("r1", "Yes.")
    assert talk.fails("r1", GatewayLost("closed late")) == []
    assert talk.ends(1, "Book it.")[-1] == "r1 completed"


def test_a_client_cannot_cancel_an_unpublished_call() -> None:
    talk = Talk(reply=GUESSING)
    talk.pauses(1, "book it")
    assert talk.do(talk.scheduler.cancel("r1", 0)) == talk.do(talk.scheduler.cancel(None, 0)) == []


def test_a_gated_turn_is_not_guessed_at() -> None:
    assert Talk(reply=Prompt(speculate=True, min_words=3)).pauses(1, "book it") == []


def test_the_hit_rate_learns_from_each_outcome() -> None:
    talk = Talk(limit=30, reply=GUESSING)
    model = talk.budget.of("model")
    start = model.hit_rate
    talk.pauses(1, "a")
    talk.ends(1, "b")
    worse = model.hit_rate
    talk.pauses(2, "a")
    talk.ends(2, "a")
    assert worse < start < model.hit_rate + 0.1
    assert model.hit_rate > worse


def test_a_guess_that_lost_its_place_blocks_nothing_but_a_429_does() -> None:
    talk = Talk(reply=GUESSING)
    talk.pauses(1, "a")
    talk.fails("r1", GatewayBusy("place taken"))
    assert talk.budget.of("model").free(talk.now) > 0
    talk.pauses(1, "a")
    talk.fails("r2", GatewayBusy("busy", status=429, retry_after=7))
    assert talk.budget.of("model").free(talk.now + 6.9) == 0
    assert talk.budget.of("model").free(talk.now + 7) > 0


def test_totals_count_guesses_and_what_they_wasted() -> None:
    talk = Talk(reply=GUESSING)
    talk.pauses(1, "book it")
    talk.sent("r1")
    talk.brings("r1", "x" * 40)
    talk.ends(1, "other")
    talk.sent("r2")
    talk.over("r2", "y" * 8)
    totals = talk.scheduler.totals(1.0)
    assert (totals.speculative, totals.adopted, totals.discarded) == (1, 0, 1)
    assert (totals.wasted_tokens, totals.output_tokens) == (10, 12)
    assert totals.estimated_tokens == totals.input_tokens + totals.output_tokens


# --- times, in milliseconds ----------------------------------------------------------------------


def test_the_times_of_an_answer() -> None:
    # Speech stops at 9.5 s, the turn ends at 10, asked 10.1, first token 10.6, over at 11.
    talk = Talk(reply=Prompt())
    talk.now = 10.0
    talk.ends(1, "a")
    for moment, text in [(10.1, ""), (10.6, "One. "), (10.8, "Two"), (11.0, "")]:
        talk.now = moment
        if not text:
            talk.sent("r1") if moment < 11 else talk.over("r1")
        else:
            talk.brings("r1", text)
    times = talk.done["r1"].times
    assert times.end_of_turn_delay == 500
    assert times.queue == pytest.approx(100)
    assert times.time_to_first_token == pytest.approx(500)
    assert times.first_sentence == pytest.approx(700)
    assert times.total == pytest.approx(900)
    assert times.end_to_end == pytest.approx(1100)
    assert times.lead == 0


@pytest.mark.parametrize(
    ("sent", "first", "ended", "lead"),
    [
        (1.0, 1.5, 3.0, 500.0),  # the token was there long before: all of its wait was saved
        (1.0, 3.5, 2.0, 1000.0),  # it came later: the head start was saved
    ],
)
def test_lead_is_what_speculation_saved(
    sent: float, first: float, ended: float, lead: float
) -> None:
    talk = Talk(reply=GUESSING)
    talk.pauses(1, "a")
    talk.now = sent
    talk.sent("r1")
    for moment, what in sorted([(first, "token"), (ended, "end")]):
        talk.now = moment
        talk.brings("r1", "x") if what == "token" else talk.ends(1, "a")
    talk.now = 5.0
    talk.over("r1")
    assert talk.done["r1"].times.lead == lead
    assert talk.done["r1"].times.queue == 0


def test_a_moment_that_never_came_has_no_time() -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "a")
    talk.fails("r1")
    times = talk.done["r1"].times
    assert (times.queue, times.time_to_first_token, times.total) == (None, None, None)


def test_uncounted_tokens_are_estimated_and_say_so() -> None:
    talk = Talk(reply=Prompt(system="12345678"))
    talk.ends(1, "abcde")
    talk.sent("r1")
    talk.brings("r1", "abc")
    talk.do(talk.scheduler.cancel(None, 1))
    usage = talk.done["r1"].usage
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (4, 1, True)


def test_a_request_that_never_left_cost_nothing() -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "a")
    talk.do(talk.scheduler.cancel(None, 1))
    usage = talk.done["r1"].usage
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (0, 0, False)


def test_a_response_says_who_answered_and_from_where() -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "a")
    talk.do(talk.scheduler.received("r1", [Accepted("req-7", None, "llm.example")], 1))
    talk.over("r1", "A")
    info = talk.done["r1"].request
    assert (info.id, info.model, info.region) == ("req-7", "model", "llm.example")
