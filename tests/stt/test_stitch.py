"""Which words are new, and which audio may be forgotten."""

import pytest

from pipeline.interfaces.stt import Heard, SpeechBegan, Transcript, Word
from pipeline.stt.stitch import LEAD, MARGIN, UNCONFIRMED, Stitch


def turn(*words: tuple[str, float], ended: bool = False, text: str = "") -> Transcript:
    spoken = tuple(Word(name, start, start + 0.2) for name, start in words)
    return Transcript(0, text or " ".join(name for name, _ in words), ended=ended, words=spoken)


def stitch(*heard: Heard, sent: float = 100.0) -> Stitch:
    made = Stitch()
    for one in heard:
        made.accept(one, sent)
    return made


FIRST = turn(("one", 1.0), ("two", 1.5), ended=True)


def test_a_published_turn_is_not_published_again() -> None:
    it = stitch(FIRST)
    it.opened()
    assert it.accept(turn(("one", 1.02)), 100) is None
    assert it.accept(FIRST, 100) is None
    assert it.accept(turn(("three", 1.8)), 100) is not None


def test_only_the_new_words_of_a_turn_are_delivered() -> None:
    it = stitch(FIRST)
    it.opened()
    heard = it.accept(turn(("two", 1.45), ("three", 2.0), text="Two, three."), 100)
    assert isinstance(heard, Transcript)
    assert (heard.text, [word.text for word in heard.words]) == ("three.", ["three"])


def test_a_word_heard_again_is_known_by_its_name_when_its_end_moved() -> None:
    it = stitch(FIRST)
    it.opened()
    longer = Transcript(0, "Two.", ended=True, words=(Word("Two.", 1.4, 2.6),))
    assert it.accept(longer, 100) is None
    other = Transcript(0, "Too.", ended=True, words=(Word("Too.", 1.75, 2.6),))
    assert it.accept(other, 100) is other


def test_a_piece_of_the_last_word_is_no_word() -> None:
    it = stitch(FIRST)  # it ends at 1.7 s
    it.opened()
    assert it.accept(Transcript(0, "M", words=(Word("M", 1.5, 2.1),)), 100) is None
    new = Transcript(0, "Hm", words=(Word("Hm", 1.5, 2.3),))  # absorbs the silence before it
    assert it.accept(new, 100) is new


def test_on_the_same_connection_everything_passes() -> None:
    it = stitch(FIRST)
    assert it.accept(FIRST, 100) is FIRST  # the formatted copy


def test_what_the_next_connection_hears_is_left_to_it() -> None:
    it = stitch(FIRST)
    it.retire(5.0)
    assert it.accept(turn(("late", 5.2)), 100) is None
    assert it.accept(SpeechBegan(5.1), 100) is None
    assert it.accept(FIRST, 100) is FIRST


def test_an_ended_turn_covers_its_audio() -> None:
    assert stitch(FIRST).ended == pytest.approx(1.7)
    assert stitch(FIRST, sent=1.6).ended == 1.6  # no word ends after the audio


def test_audio_from_before_the_open_turn_may_go() -> None:
    assert stitch(FIRST, turn(("x", 50.0))).floor(60, None) == 50 - LEAD
    assert stitch(FIRST, turn(("x", 2.0))).floor(60, None) == pytest.approx(1.7 - 0.5)


def test_with_no_open_turn_what_was_acknowledged_may_go() -> None:
    it = stitch(FIRST)
    assert it.floor(100, 95) == 95 - MARGIN
    assert it.floor(100, None) == 100 - UNCONFIRMED


def test_without_partials_everything_since_the_last_turn_stays() -> None:
    it = Stitch(partials=False)
    it.accept(FIRST, 100)
    assert it.floor(100, 95) == pytest.approx(1.7 - 0.5)


def test_the_words_of_an_expired_turn_are_not_delivered_again() -> None:
    it = stitch(FIRST, turn(("my", 3.0), ("number", 3.5)), sent=12.0)
    expired = it.expire()
    assert (expired.text, expired.ended, expired.expired) == ("my number", True, True)
    assert it.open_from is None
    assert it.floor(20.0, None) == pytest.approx(3.7 - 0.5)  # its audio may go
    assert it.accept(turn(("my", 3.0), ("number", 3.5), ended=True), 12.0) is None
    later = it.accept(turn(("my", 3.0), ("number", 3.5), ("is", 9.0)), 12.0)
    assert isinstance(later, Transcript)
    assert later.text == "is"


def test_the_words_of_an_expired_turn_are_known_whatever_times_they_get() -> None:
    it = stitch(turn(("my", 3.0), ("number", 3.5)), sent=12.0)
    it.expire()
    assert it.accept(turn(("my", 9.0), ("number", 9.5)), 12.0) is None
    later = it.accept(turn(("My", 9.0), ("number", 9.5), ("is", 10.0), text="My number is"), 12.0)
    assert later == Transcript(0, "is", words=(Word("is", 10.0, 10.2),))


def test_without_times_the_words_of_an_expired_turn_are_counted() -> None:
    it = stitch(Transcript(4, "my number"))
    it.expire()
    assert it.accept(Transcript(4, "My number", ended=True), 100) is None
    assert it.accept(Transcript(4, "My number is five.", ended=True), 100) == (
        Transcript(4, "is five.", ended=True)
    )
    assert it.accept(Transcript(5, "And so on."), 100) == Transcript(5, "And so on.")


def test_a_blank_end_ends_the_open_turn() -> None:
    it = stitch(turn(("one", 1.0)), Transcript(0, "", ended=True))
    assert (it.open_from, it.ended) == (None, 1.2)
