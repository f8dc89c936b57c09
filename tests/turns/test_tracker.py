"""Turn tracker beside the turn shapes: numbers, times, speakers, typed turns."""

from pipeline.interfaces.stt import SpeakerRevised, Transcript
from pipeline.interfaces.turns import TurnChanged, TurnEnded, TurnPaused, TurnStarted
from pipeline.turns.tracker import REMEMBERED, TurnNumbers, TurnTracker
from tests.turns.shapes import end, lines, opened, part, track, word


def test_an_ended_turn_carries_where_its_last_word_ends() -> None:
    words = (word("Hello", 1.0, 1.4), word("there.", 1.4, 1.9))
    heard = Transcript(0, "Hello there.", ended=True, words=words, speaker="A", language="en")
    assert track([heard]) == [
        TurnStarted(1, 1.0),
        TurnEnded(1, "Hello there.", 1.9, "A", "en", words),
    ]


def test_an_empty_final_keeps_words_speaker_and_language_of_the_last_partial() -> None:
    words = (word("so", 3.0, 3.2),)
    events = track(
        [Transcript(0, "so", words=words, speaker="B", language="es"), Transcript(0, "", True)]
    )
    assert events[-1] == TurnEnded(1, "so", 3.2, "B", "es", words)


def test_a_turn_without_word_times_has_no_end_time() -> None:
    ended = track([end(0, "Hm.")])[-1]
    assert isinstance(ended, TurnEnded)
    assert ended.end is None


def test_a_partial_with_the_same_text_changes_nothing() -> None:
    assert lines(track([part(0, "a"), part(0, "a")])) == ["1 started", "1: a"]


def test_a_speaker_that_becomes_known_is_a_change() -> None:
    events = track([part(0, "a"), Transcript(0, "a", speaker="A")])
    assert events[-1] == TurnChanged(1, "a", "A")


def test_the_speaker_of_the_open_turn_can_be_revised() -> None:
    events = track([Transcript(0, "a", speaker="A"), SpeakerRevised(0, "B"), part(0, "a b")])
    assert events[2:] == [TurnChanged(1, "a", "B"), TurnChanged(1, "a b", "B")]


def test_a_revised_speaker_is_reported_once() -> None:
    events = track([end(0, "a", speaker="A"), SpeakerRevised(0, "B"), SpeakerRevised(0, "B")])
    assert lines(events) == ["1 started", "1 ended: a", "1 revised:  (B)"]


def test_confidence_above_the_threshold_is_a_pause_once() -> None:
    heard = [part(0, "a", confidence=c) for c in (0.1, 0.4, 0.6, 0.2, 0.5)]
    pauses = [e for e in track(heard, TurnTracker(pause_confidence=0.4)) if type(e) is TurnPaused]
    assert [pause.confidence for pause in pauses] == [0.4, 0.5]


def test_numbers_continue_from_those_of_an_earlier_owner() -> None:
    assert lines(track([end(0, "a")], TurnTracker(TurnNumbers(41)))) == [
        "42 started",
        "42 ended: a",
    ]


def test_a_typed_turn_takes_the_next_number_and_leaves_the_open_one_alone() -> None:
    tracker = TurnTracker()
    track([part(0, "spoken")], tracker)
    assert lines(tracker.create("typed", "C")) == ["2 started", "2 ended: typed"]
    assert lines(track([end(0, "Spoken.")], tracker)) == ["1 ended: Spoken."]


def test_finish_ends_the_open_turn_once() -> None:
    tracker = TurnTracker()
    track([part(0, "and")], tracker)
    assert lines(tracker.finish()) == ["1 ended: and"]
    assert tracker.finish() == []


def test_a_turn_that_finish_ended_is_only_revised_by_its_own_end() -> None:
    tracker = TurnTracker()
    track([part(0, "and")], tracker)
    tracker.finish()
    assert lines(track([end(0, "And.")], tracker)) == ["1 revised: And."]


def test_orders_of_the_connection_are_found_and_those_of_the_last_one_are_not() -> None:
    tracker = TurnTracker()
    track([opened(), end(0, "a"), part(1, "b")], tracker)
    assert [tracker.turn_of(order) for order in (0, 1, 2)] == [1, 2, None]
    track([opened(5.0)], tracker)
    assert [tracker.turn_of(order) for order in (0, 1)] == [None, None]


def test_only_so_many_ended_turns_are_remembered() -> None:
    tracker = TurnTracker()
    track([end(order, "a") for order in range(REMEMBERED + 10)], tracker)
    assert tracker.turn_of(9) is None
    assert tracker.turn_of(10) == 11
