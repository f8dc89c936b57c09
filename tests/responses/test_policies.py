"""Policies: when a prompt sends a request, its contents, and which calls are cancelled."""

import pytest

from pipeline.config.settings import Prompt
from pipeline.interfaces.llm import Ending
from pipeline.interfaces.turns import TurnRevised, TurnStarted
from tests.responses.talk import Talk

# --- policies ----------------------------------------------------------------------------------


def test_supersede_ends_the_old_response_before_it_creates_the_new_one() -> None:
    talk = Talk(reply=Prompt(policy="supersede"))
    talk.ends(1, "one")
    assert talk.ends(2, "two") == [
        "cancel r1",
        "r1 cancelled (superseded)",
        "r2 created for 1 2",
        "ask r2",
    ]
    assert talk.done["r1"].superseded_by == "r2"


def test_queue_answers_each_turn_in_order() -> None:
    talk = Talk(reply=Prompt(policy="queue"))
    assert talk.ends(1, "one") == ["r1 created for 1", "ask r1"]
    assert talk.ends(2, "two") == talk.ends(3, "three") == []
    assert talk.over("r1", "ONE")[-2:] == ["r2 created for 2", "ask r2"]
    assert talk.over("r2", "TWO")[-2:] == ["r3 created for 3", "ask r3"]


def test_parallel_answers_at_once_up_to_its_limit() -> None:
    talk = Talk(reply=Prompt(policy="parallel", parallel=2))
    assert talk.ends(1, "one") == ["r1 created for 1", "ask r1"]
    assert talk.ends(2, "two") == ["r2 created for 2", "ask r2"]
    assert talk.ends(3, "three") == []
    assert talk.over("r2", "TWO")[-2:] == ["r3 created for 3", "ask r3"]


def test_conflate_lets_the_running_one_finish_and_asks_once_for_all_that_came() -> None:
    talk = Talk(reply=Prompt(policy="conflate"))
    talk.ends(1, "one")
    assert talk.ends(2, "two") == talk.ends(3, "three") == []
    assert talk.over("r1", "ONE")[-2:] == ["r2 created for 2 3", "ask r2"]
    assert talk.asked("r2")[-1] == "user: two three"


def test_two_prompts_answer_side_by_side_each_by_its_own_policy() -> None:
    talk = Talk(reply=Prompt(), notes=Prompt(policy="queue"))
    talk.ends(1, "one")
    assert talk.ends(2, "two")[:2] == ["cancel r1", "r1 cancelled (superseded)"]
    assert "r2" not in talk.done


# --- triggers ----------------------------------------------------------------------------------


def test_every_third_turn_asks_for_three() -> None:
    talk = Talk(notes=Prompt(every_turns=3))
    assert talk.ends(1, "a") == talk.ends(2, "b") == []
    assert talk.ends(3, "c") == ["r1 created for 1 2 3", "ask r1"]


def test_silence_asks_and_speech_starts_it_anew() -> None:
    talk = Talk(notes=Prompt(after_silence=5))
    talk.ends(1, "a")
    assert talk.scheduler.deadline == 5
    talk.now = 3
    talk.speech()
    assert talk.scheduler.deadline == 8
    assert talk.tick(5) == ["r1 created for 1", "ask r1"]


def test_no_silence_is_over_during_speech() -> None:
    talk = Talk(notes=Prompt(after_silence=5))
    talk.ends(1, "a")
    talk.changes(2, "and")
    assert talk.tick(100) == []


def test_silence_after_a_turn_that_is_not_wanted_still_asks() -> None:
    talk = Talk(notes=Prompt(after_silence=5, min_words=2))
    talk.ends(1, "one two")
    talk.changes(2, "hm")
    talk.ends(2, "hm")
    assert talk.tick(5) == ["r1 created for 1", "ask r1"]


def test_the_end_of_the_session_asks_for_everything() -> None:
    talk = Talk(summary=Prompt(at_end=True))
    assert talk.ends(1, "a") == talk.ends(2, "b") == []
    assert talk.do(talk.scheduler.finish(9)) == ["r1 created for 1 2", "ask r1"]


def test_the_end_of_the_session_asks_for_what_was_being_gathered() -> None:
    talk = Talk(notes=Prompt(every_turns=3), quiet=Prompt(after_silence=60))
    talk.ends(1, "a")
    started = talk.do(talk.scheduler.finish(9))
    assert started == ["r1 created for 1", "ask r1", "r2 created for 1", "ask r2"]


# --- gates -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "text", "speaker", "asks"),
    [
        (Prompt(min_words=2), "hm", None, False),
        (Prompt(min_words=2), "oh no", None, True),
        (Prompt(speaker="A"), "hi", "B", False),
        (Prompt(speaker="A"), "hi", None, False),
        (Prompt(speaker="A"), "hi", "A", True),
        (Prompt(keyword="late train"), "The LATE train, please.", None, True),
        (Prompt(keyword="late train"), "a later train", None, False),
    ],
)
def test_a_gate(prompt: Prompt, text: str, speaker: str | None, asks: bool) -> None:
    assert bool(Talk(reply=prompt).ends(1, text, speaker)) == asks


# --- interruption ------------------------------------------------------------------------------


def test_interrupt_at_speech() -> None:
    talk = Talk(reply=Prompt(interrupt="speech"))
    talk.ends(1, "a")
    assert talk.speech() == ["cancel r1", "r1 cancelled (interrupted)"]


def test_interrupt_at_speech_needs_no_announcement_of_it() -> None:
    talk = Talk(reply=Prompt(interrupt="speech"))
    talk.ends(1, "a")
    assert talk.hears(TurnStarted(2, 0.0)) == ["cancel r1", "r1 cancelled (interrupted)"]


def test_interrupt_after_three_words() -> None:
    talk = Talk(reply=Prompt(interrupt="words", interrupt_words=3))
    talk.ends(1, "a")
    assert talk.speech() == talk.changes(2, "no wait") == []
    assert talk.changes(2, "no wait please") == ["cancel r1", "r1 cancelled (interrupted)"]


def test_interrupt_at_the_next_end_of_turn() -> None:
    talk = Talk(reply=Prompt(interrupt="turn"))
    talk.ends(1, "a")
    assert talk.speech() == talk.changes(2, "no wait please stop") == []
    assert talk.ends(2, "no wait please stop")[1] == "r1 cancelled (superseded)"


def test_interrupt_never_lets_a_response_finish_and_then_asks_for_all() -> None:
    talk = Talk(reply=Prompt(interrupt="never"))
    talk.ends(1, "a")
    assert talk.speech() == talk.ends(2, "b") == talk.ends(3, "c") == []
    assert talk.over("r1", "A")[-2:] == ["r2 created for 2 3", "ask r2"]


def test_turns_that_wait_are_answered_after_an_interruption_that_came_to_nothing() -> None:
    talk = Talk(reply=Prompt(policy="queue", interrupt="speech"))
    talk.ends(1, "a")
    talk.ends(2, "b")
    talk.ends(3, "c")
    assert talk.speech() == [
        "cancel r1",
        "r1 cancelled (interrupted)",
        "r2 created for 1 2 3",
        "ask r2",
    ]


# --- merging and history -----------------------------------------------------------------------


def test_a_turn_that_continues_an_unanswered_one_becomes_one_message_with_it() -> None:
    talk = Talk(reply=Prompt(system="Be brief."))
    talk.ends(1, "Book a train")
    talk.ends(2, "to Bonn.")
    assert talk.asked("r2") == ["system: Be brief.", "user: Book a train to Bonn."]


def test_what_was_published_stays_in_the_history_marked_as_interrupted() -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "one")
    talk.brings("r1", "It is ", "on")
    talk.ends(2, "two")
    assert talk.asked("r2") == ["user: one", "assistant: It is on [interrupted]", "user: two"]


def test_a_whole_answer_is_not_marked() -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "one")
    talk.over("r1", "ONE")
    talk.ends(2, "two")
    assert talk.asked("r2") == ["user: one", "assistant: ONE", "user: two"]


def test_a_failed_call_of_which_nothing_came_leaves_its_turn_unanswered() -> None:
    talk = Talk(reply=Prompt(policy="queue"))
    talk.ends(1, "one")
    talk.fails("r1")
    talk.ends(2, "two")
    assert talk.asked("r2") == ["user: one two"]


def test_history_is_cut_to_what_was_played() -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "one")
    talk.over("r1", "A long answer.")
    assert talk.plays("r1", characters=6) == ["r1 played 6: A long (interrupted)"]
    talk.ends(2, "two")
    assert talk.asked("r2")[1] == "assistant: A long [interrupted]"


def test_history_is_cut_to_the_text_that_was_played() -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "one")
    talk.over("r1", "A long answer.")
    assert talk.plays("r1", text="a **long**") == ["r1 played 6: A long (interrupted)"]
    assert talk.plays("r1", text="A long") == []
    talk.ends(2, "two")
    assert talk.asked("r2")[1] == "assistant: A long [interrupted]"


def test_an_answer_of_which_nothing_was_played_was_no_answer() -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "one")
    talk.over("r1", "ONE")
    talk.plays("r1", characters=0)
    talk.ends(2, "two")
    assert talk.asked("r2") == ["user: one two"]


@pytest.mark.parametrize("ending", ["limit", "filtered"])
def test_an_unfinished_answer_of_which_nothing_was_played_was_no_answer(ending: Ending) -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "one")
    talk.plays("r1", characters=0)
    talk.over("r1", "ONE", "length", ending)
    talk.ends(2, "two")
    assert talk.asked("r2") == ["user: one two"]


def test_an_answer_played_to_its_end_is_not_marked() -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "one")
    talk.over("r1", "ONE")
    assert talk.plays("r1", characters=99) == ["r1 played 3: ONE"]
    talk.ends(2, "two")
    assert talk.asked("r2")[1] == "assistant: ONE"


def test_a_playback_report_on_an_unknown_response_changes_nothing() -> None:
    assert Talk(reply=Prompt()).plays("r9", characters=1) == []


def test_only_the_window_of_the_history_is_sent() -> None:
    talk = Talk(reply=Prompt(history=1))
    for turn in (1, 2, 3):
        talk.ends(turn, f"q{turn}")
        talk.over(f"r{turn}", f"a{turn}")
    assert talk.asked("r3") == ["user: q2", "assistant: a2", "user: q3"]


def test_a_parallel_prompt_keeps_a_bounded_history() -> None:
    talk = Talk(notes=Prompt(policy="parallel", history=2))
    for turn in range(1, 300):
        talk.ends(turn, "q")
        talk.over(f"r{turn}", "a")
        talk.plays(f"r{turn}", characters=0)
    known = [turn for turn in range(1, 300) if talk.plays(f"r{turn}", characters=1)]
    assert len(known) <= 70


# --- commands ----------------------------------------------------------------------------------


def test_a_client_cancels_one_response() -> None:
    talk = Talk(one=Prompt(), two=Prompt())
    talk.ends(1, "a")
    assert talk.do(talk.scheduler.cancel("r2", 0)) == ["cancel r2", "r2 cancelled (client)"]


def test_a_client_cancels_all_of_them() -> None:
    talk = Talk(one=Prompt(), two=Prompt())
    talk.ends(1, "a")
    talk.do(talk.scheduler.cancel(None, 0))
    assert set(talk.done) == {"r1", "r2"}


def test_a_client_asks_for_the_last_turn_once_more() -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "a")
    talk.over("r1", "A")
    assert talk.do(talk.scheduler.create(None, 1)) == ["r2 created for 1", "ask r2"]
    assert talk.asked("r2") == ["user: a", "assistant: A", "user: a"]


def test_asking_again_for_a_turn_that_waits_says_its_words_once() -> None:
    talk = Talk(reply=Prompt(policy="conflate"))
    talk.ends(1, "a")
    talk.ends(2, "b")
    talk.do(talk.scheduler.create("reply", 1))
    talk.over("r1", "A")
    assert talk.asked("r2")[-1] == "user: b"


def test_asking_before_anything_was_said_asks_nothing() -> None:
    talk = Talk(reply=Prompt())
    assert talk.do(talk.scheduler.create(None, 1)) == []


def test_a_stored_transcript_can_be_asked_about_before_anything_was_said() -> None:
    talk = Talk(
        stored=Prompt(user="Sum up: {{ transcript }}", transcript_id="t1"),
        live=Prompt(system="{{ transcript }}", transcript_id="t1"),
    )
    assert talk.do(talk.scheduler.create(None, 0.0)) == ["r1 created for ", "ask r1"]
    assert talk.requests["r1"].extra == {"transcript_id": "t1"}
    assert talk.requests["r1"].messages[0].content == "Sum up: {{ transcript }}"


def test_asking_a_prompt_that_is_not_run_is_an_error() -> None:
    with pytest.raises(KeyError):
        Talk(reply=Prompt()).scheduler.create("other", 1)


def test_abort_ends_everything_and_leaves_nothing_due() -> None:
    talk = Talk(reply=Prompt(policy="queue"), notes=Prompt(after_silence=5))
    talk.ends(1, "a")
    talk.ends(2, "b")
    assert talk.do(talk.scheduler.abort("shutdown", 1)) == [
        "cancel r1",
        "r1 cancelled (shutdown)",
    ]
    assert talk.scheduler.idle
    assert talk.tick(100) == []


def test_a_variable_that_was_set_fills_the_next_request() -> None:
    talk = Talk(reply=Prompt(system="Be {{vars.tone}}.", vars={"tone": "kind"}))
    talk.ends(1, "a")
    talk.scheduler.set_vars({"tone": "brief"})
    talk.ends(2, "b")
    assert (talk.asked("r1")[0], talk.asked("r2")[0]) == ("system: Be kind.", "system: Be brief.")


def test_a_revised_turn_is_marked_in_the_transcript() -> None:
    talk = Talk(reply=Prompt(user="{{transcript}}"))
    talk.ends(1, "helo")
    talk.hears(TurnRevised(1, "Hello.", "A"))
    talk.ends(2, "bye", "B")
    assert talk.asked("r2") == ["user: <transcript>\nA: Hello.\nB: bye\n</transcript>"]


# --- endings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "ending", "shown"),
    [
        ("end_turn", "whole", "r1 completed"),
        ("max_tokens", "limit", "r1 incomplete (max_tokens)"),
        ("SAFETY", "filtered", "r1 incomplete (content_filter)"),
        (None, "whole", "r1 incomplete (cut)"),
    ],
)
def test_how_a_reply_ends(reason: str | None, ending: Ending, shown: str) -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "a")
    assert talk.over("r1", "A", reason, ending) == ["r1: A", shown]


def test_half_a_sentence_that_a_filter_cut_is_marked_in_the_next_request() -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "a")
    talk.over("r1", "Half a", "content_filter", "filtered")
    talk.ends(2, "b")
    assert talk.asked("r2") == ["user: a", "assistant: Half a [interrupted]", "user: b"]


def test_whatever_comes_after_the_end_is_nothing() -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "a")
    talk.over("r1", "A")
    assert talk.over("r1", "B") == talk.brings("r1", "C") == talk.fails("r1") == []
    assert talk.done["r1"].text == "A"
