"""Two transcripts with one order number: of one turn, or of two."""

import pytest

from pipeline.interfaces.stt import Heard, SpeechBegan, Transcript, Word
from pipeline.interfaces.turns import TurnEnded, TurnRevised, TurnStarted
from tests.turns.shapes import lines, track


def said(order: int, text: str, at: float | None, *, ended: bool = True) -> Transcript:
    """Return a transcript whose words, 0.2 s long, begin at ``at``; None is without times."""
    words = [] if at is None else text.split()
    spans = [(at or 0) + 0.2 * n for n in range(len(words))]
    timed = tuple(Word(word, span, span + 0.2) for word, span in zip(words, spans, strict=True))
    return Transcript(order, text, ended=ended, words=timed)


def kinds(*heard: Heard) -> tuple[list[str], list[str | None]]:
    """Return the texts of the ended turns, and those of the revisions."""
    events = track(heard)
    ended = [event.text for event in events if isinstance(event, TurnEnded)]
    return ended, [event.text for event in events if isinstance(event, TurnRevised)]


FIRST = said(0, "The first turn.", 1.0)
SECOND = said(1, "Here is another.", 3.0)


@pytest.mark.parametrize(
    "heard",
    [
        said(0, "the first turn", 1.0),  # formatted differently, with the same times
        said(0, "1st", 1.0),  # another way to write it
        said(0, "The first turn", None),  # without times
        said(0, "the first turn", 1.0, ended=False),  # late
        said(0, "quite another text", None, ended=False),  # late, or so it seems
        said(0, "", None),
    ],
    ids=lambda heard: heard.text,
)
def test_a_late_transcript_of_a_turn_begins_none(heard: Transcript) -> None:
    assert kinds(FIRST, heard)[0] == ["The first turn."]


@pytest.mark.parametrize(
    "again",
    [
        [said(0, "And so on.", 5.0), said(1, "Then it ends.", 7.0)],
        [said(0, "The first turn.", 5.0), said(1, "Here is another.", 7.0)],  # said again
        [said(0, "And", 5.0, ended=False), said(0, "And so on.", 5.0), said(1, "Over.", 7.0)],
        [said(0, "And so on.", 0.5), said(1, "Then it ends.", 2.5)],  # its clock began again, too
        [said(0, "And so on.", None), said(1, "Then it ends.", None)],
        [said(0, "Wait", 5.0, ended=False), said(1, "Then it ends.", 7.0)],
        [said(0, "はい、そうです。", 5.0), said(1, "以上です。", 7.0)],
    ],
    ids=lambda heard: heard[0].text,
)
def test_turns_counted_from_0_again_are_turns_of_their_own(again: list[Transcript]) -> None:
    last = {transcript.order: transcript.text for transcript in again}
    ended, revised = kinds(FIRST, SECOND, *again)
    assert ended == [FIRST.text, SECOND.text, *last.values()]
    assert revised == []


def test_the_copy_of_an_older_turn_with_its_times_revises_it() -> None:
    assert kinds(FIRST, SECOND, said(0, "The 1st turn!", 1.0)) == (
        [FIRST.text, SECOND.text],
        ["The 1st turn!"],
    )


def test_an_onset_of_speech_tells_a_turn_without_times_from_a_copy() -> None:
    heard: list[Heard] = [said(0, "Yes.", None), SpeechBegan(4.0), said(0, "No, wait.", None)]
    assert kinds(*heard) == (["Yes.", "No, wait."], [])


def test_an_open_turn_keeps_its_words_when_the_count_begins_again() -> None:
    open_turn = said(0, "my number is", 1.0, ended=False)
    ended, _ = kinds(open_turn, said(0, "Hello there.", 5.0))
    assert ended == ["my number is", "Hello there."]


def test_partials_that_hold_only_the_newest_words_continue_their_turn() -> None:
    part = said(0, "my number is", 1.0, ended=False)
    longer = Transcript(0, "my number is five", ended=True, words=(Word("five", 1.9, 2.1),))
    assert kinds(part, longer)[0] == ["my number is five"]


def test_words_after_a_turn_that_its_deadline_ended_are_another_turn() -> None:
    part = said(0, "my number is", 1.0, ended=False)
    expired = Transcript(0, part.text, ended=True, words=part.words, expired=True)
    later = [said(0, "five", 12.0, ended=False), said(0, "Five.", 12.0)]
    assert lines(e for e in track([part, expired, *later]) if not isinstance(e, TurnStarted)) == [
        "1: my number is",
        "1 ended: my number is",
        "2: five",
        "2 ended: Five.",
    ]


@pytest.mark.parametrize(
    ("partial", "final"),
    [
        ("ｓｅｔ it to ５", "Set it to 5."),
        ("ｶｰﾄﾞの残高", "カードの残高。"),
        ("une cafe\u0301 s'il vous plaît", "Une caf\u00e9, s'il vous plaît."),
        ("\u1100\u1161\u1102\u1161", "\uac00\ub098."),
    ],
)
def test_an_end_in_another_form_of_its_letters_is_no_turn_of_its_own(
    partial: str, final: str
) -> None:
    heard = said(0, partial, 0.5, ended=False), said(0, final, 5.0)
    assert kinds(*heard) == ([final], [])
