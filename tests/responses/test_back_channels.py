"""Back-channels: short replies of a listener do not cancel a running response."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.settings import Interrupt, Policy, Prompt
from pipeline.interfaces.turns import TurnStarted
from pipeline.responses.back_channels import BY_LANGUAGE, LONGEST, is_back_channel
from pipeline.responses.playback import SLACK, SLOWEST
from pipeline.responses.policies import POLICIES, skip_reason
from tests.responses.talk import Talk

DEFAULT = ("default",)
WORDS = Prompt(interrupt="words", interrupt_words=3)


# --- the utterances ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Uh-huh.", "Mm-hmm.", "mhm", "Mmmm", "Hmm…", "Yeah, okay.", "OKAAAY!", "Yeah yeah yeah.",
        "Oh, I see.", "That’s right.", "D’accord.", "Sí, sí, claro.", "Genau!", "Да-да.", "угу",
        "Evet, tamam.", "כן כן", "نعم، طيب", "جی ہاں۔", "हाँ जी", "ठीक है।", "うんうん。",
        "はい、はい。", "そうですね", "嗯嗯", "对对对", "对，好的。", "嗯，我明白了。",
        "네, 네네.", "ครับครับ", "ใช่ครับ",
    ],
)  # fmt: skip
def test_a_listeners_word_is_known_in_every_language_and_spelling(text: str) -> None:
    assert is_back_channel(text, DEFAULT)


@pytest.mark.parametrize(
    "text",
    [
        "", "…", "No.", "No, no.", "Stop.", "Wait", "Yes please", "Yes, but how?", "Okay?", "Hm?",
        "What", "Yes I want it", "Nein.", "Non", "Нет", "いいえ", "ううん", "不", "不对", "好吗？",
        "你好", "好天气", "是不是", "ไม่", "아니요", "नहीं", "لا", "5", "yes " * 40,
    ],
)  # fmt: skip
def test_a_turn_with_anything_to_say_is_none(text: str) -> None:
    assert not is_back_channel(text, DEFAULT)


def test_the_setting_adds_utterances_and_may_leave_out_the_built_in_ones() -> None:
    said = "Roger that, yes."
    assert not is_back_channel(said, DEFAULT)
    assert is_back_channel(said, ("default", "roger that"))
    assert is_back_channel("Roger that!", ("roger that",))
    assert not is_back_channel("Yes.", ("roger that",))
    assert not is_back_channel("Yes.", ())


@pytest.mark.parametrize("language", BY_LANGUAGE)
def test_every_listed_utterance_is_one(language: str) -> None:
    utterances = BY_LANGUAGE[language].split(", ")
    assert [one for one in utterances if not is_back_channel(one, DEFAULT)] == []
    assert all(is_back_channel(f"{one.capitalize()}.", DEFAULT) for one in utterances)


@given(st.text(max_size=2 * LONGEST))
def test_any_text_can_be_looked_at(text: str) -> None:
    assert is_back_channel(text, (text[:60] or "x",)) in (True, False)


# --- the rule ------------------------------------------------------------------------------------


@given(
    policy=st.sampled_from(get_args(Policy)),
    interrupt=st.sampled_from(get_args(Interrupt)),
    is_running=st.booleans(),
    is_listed=st.booleans(),
    is_short=st.booleans(),
)
def test_the_rule_is_its_table(
    policy: Policy, interrupt: Interrupt, *, is_running: bool, is_listed: bool, is_short: bool
) -> None:
    reason = skip_reason(
        POLICIES[policy], interrupt, is_running=is_running, is_listed=is_listed, is_short=is_short
    )
    takes_nothing = is_listed or (is_short and interrupt == "words")
    assert (reason is not None) == (policy == "supersede" and is_running and takes_nothing)
    assert reason != "back_channel" or is_listed
    assert reason != "too_short" or (interrupt == "words" and not is_listed)


MURMURS = ["Uh-huh.", "Yeah, okay.", "嗯。"]


@pytest.mark.parametrize("interrupt", get_args(Interrupt))
@pytest.mark.parametrize("text", MURMURS)
def test_a_back_channel_leaves_a_running_response_alone(interrupt: Interrupt, text: str) -> None:
    talk = Talk(reply=Prompt(interrupt=interrupt))
    talk.ends(1, "one")
    talk.brings("r1", "ON")
    assert talk.ends(2, text) == ["skipped 2 (back_channel)"]
    assert talk.over("r1", "E") == ["r1: E", "r1 completed"]
    assert list(talk.requests) == ["r1"]


@pytest.mark.parametrize("text", [*MURMURS, "Yes.", "No."])
def test_the_same_word_is_answered_when_nothing_runs(text: str) -> None:
    talk = Talk(reply=WORDS)
    talk.ends(1, "Shall I send one?")
    talk.over("r1", "Shall I?")
    assert talk.ends(2, text) == ["r2 created for 2", "ask r2"]


def test_a_short_turn_neither_interrupts_by_its_words_nor_supersedes_at_its_end() -> None:
    talk = Talk(reply=WORDS)
    talk.ends(1, "one")
    assert talk.changes(2, "and then") == []
    assert talk.ends(2, "And then.") == ["skipped 2 (too_short)"]


def test_a_real_interruption_stays_one() -> None:
    talk = Talk(reply=WORDS)
    talk.ends(1, "one")
    talk.brings("r1", "ONE")
    assert talk.changes(2, "no wait please") == ["cancel r1", "r1 cancelled (interrupted)"]
    assert "r2 created for 2" in talk.ends(2, "No, wait, please.")


def test_a_turn_that_interrupted_is_asked_although_it_shrank() -> None:
    talk = Talk(reply=WORDS)
    talk.ends(1, "one")
    talk.brings("r1", "ONE")
    talk.hears(TurnStarted(2, 0.0))
    talk.changes(2, "no wait please")
    assert "r2 created for 2" in talk.ends(2, "No.")


def test_a_listed_utterance_of_many_words_interrupts_no_more_than_one() -> None:
    talk = Talk(reply=Prompt(interrupt="words", interrupt_words=2))
    talk.ends(1, "one")
    assert talk.changes(2, "uh huh yeah yeah") == []
    assert talk.changes(2, "uh huh yeah but") != []


def test_a_murmur_that_began_while_the_response_ran_is_one_although_it_ended_later() -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "one")
    talk.hears(TurnStarted(2, 0.0))
    talk.over("r1", "ONE")
    assert talk.ends(2, "Uh-huh.") == ["skipped 2 (back_channel)"]


def test_nothing_is_guessed_at_a_back_channel() -> None:
    talk = Talk(reply=Prompt(speculate=True))
    talk.ends(1, "one")
    assert talk.pauses(2, "uh-huh") == []
    assert talk.pauses(2, "uh-huh and two") == ["guess r2"]


def test_each_prompt_decides_for_itself() -> None:
    talk = Talk(reply=Prompt(), notes=Prompt(policy="queue"))
    talk.ends(1, "one")
    talk.over("r2", "NOTE")
    lines = talk.ends(2, "Uh-huh.")
    assert lines == ["skipped 2 (back_channel)", "r3 created for 2", "ask r3"]


def test_a_turn_that_is_not_wanted_anyway_has_no_event() -> None:
    talk = Talk(reply=Prompt(min_words=2))
    talk.ends(1, "one two")
    assert talk.ends(2, "Uh-huh.") == []


# --- playback ------------------------------------------------------------------------------------

ANSWER = "Shall I send one? " * 10


def played_in_part() -> Talk:
    talk = Talk(reply=Prompt())
    talk.ends(1, "one")
    talk.over("r1", ANSWER)
    talk.plays("r1", characters=30)
    return talk


def test_a_back_channel_leaves_a_response_alone_that_is_being_played() -> None:
    talk = played_in_part()
    talk.now += 5
    assert talk.ends(2, "Uh-huh.") == ["skipped 2 (back_channel)"]
    assert talk.ends(3, "The other one.") == ["r2 created for 3", "ask r2"]


def test_what_is_said_after_all_was_played_is_answered() -> None:
    talk = played_in_part()
    talk.plays("r1", text=ANSWER)
    assert talk.ends(2, "Yes.") == ["r2 created for 2", "ask r2"]


def test_a_playback_that_the_client_cancelled_runs_no_more_whatever_it_reports() -> None:
    talk = played_in_part()
    talk.do(talk.scheduler.cancel("r1", talk.now))
    talk.plays("r1", characters=31)
    assert talk.ends(2, "Yes.") == ["r2 created for 2", "ask r2"]


def test_a_client_that_reports_no_more_has_played_the_rest_at_last() -> None:
    talk = played_in_part()
    talk.now += SLACK + len(ANSWER) / SLOWEST
    assert talk.ends(2, "Yes.") == ["r2 created for 2", "ask r2"]


def test_a_report_on_an_older_response_says_nothing_about_the_newest() -> None:
    talk = played_in_part()
    talk.ends(2, "The other one.")
    talk.over("r2", ANSWER)
    talk.plays("r1", characters=40)
    assert talk.ends(3, "Yes.") == ["r3 created for 3", "ask r3"]
