"""Alignment of what was played with the answer, whatever synthesis made of the text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.responses import alignment
from pipeline.responses.alignment import PlaybackReport, played_characters

PLAIN = "Sure, order twelve costs five dollars. It arrives on Monday at noon. Anything else?"
MARKDOWN = "\n\nSure! **Order 12** costs $5.\n\nIt arrives on *Monday*.\n\n- Anything else?"
LIST = "Here it is:\n\n- **One** apple.\n- Two pears.\n\nThat is all."
NUMBERS = "Your total is $1,234.56, due on 3/4. Then we ship it to you."
READ_OUT = "one thousand two hundred thirty four dollars and fifty six cents"
LINK = "See [our page](https://example.com/a/b?c=d) for more. Bye now."


def heard(answer: str, played: str, duration: float | None = None) -> str:
    return answer[: played_characters(answer, PlaybackReport(played, duration=duration))]


@pytest.mark.parametrize(
    ("answer", "played", "end"),
    [
        (PLAIN, "Sure, order twel", "order twel"),
        (PLAIN, " Sure, order twelve costs", "twelve costs"),
        (PLAIN, "sure order twelve costs five dollars it arrives", "It arrives"),
        (PLAIN, "SURE - ORDER TWELVE", "order twelve"),
        (PLAIN, "Sure, order 12 costs $5. It arrives", "It arrives"),
        (PLAIN, "Here you go: sure, order twelve", "order twelve"),
        (PLAIN, "It arrives on Monday", "on Monday"),  # the last utterance alone
        (MARKDOWN, "Sure! Order 12 costs $5. It arrives on", "It arrives on"),
        (MARKDOWN, "Sure! Order twelve costs five dollars. It arrives on Monday.", "*Monday*."),
        (LIST, "Here it is: One apple. Two", "Two"),
        (NUMBERS, f"your total is {READ_OUT} due on march fourth then we", "Then we"),
        (LINK, "See our page for more.", "for more."),
        ("Call +1 415 555 2671 today.\n\nOr write.",
         "Call plus one four one five five five five two six seven one today", "today."),
        ("你好。再见！明天见，先生。", "你好 再见", "再见！"),
        ("नमस्ते दुनिया। आप कैसे हैं?", "नमस्ते, दुनिया", "दुनिया।"),
        ("سلام۔ یہ اچھا ہے۔", "سلام یہ", "یہ"),
        ("It's well-known. Yes.", "it is well", "well"),
        ("Die Straße ist LANG. Ja.", "die strasse", "Straße"),
    ],
)  # fmt: skip
def test_what_was_played_ends_at_its_last_word(answer: str, played: str, end: str) -> None:
    assert heard(answer, played).endswith(end)
    assert len(heard(answer, played)) < len(answer)


@pytest.mark.parametrize(
    ("answer", "played"),
    [
        (PLAIN, PLAIN),
        (PLAIN, PLAIN.upper().replace(".", "")),
        (LIST, "Here it is: - **One** apple. - Two pears. That is all."),
        (LIST, "Here it is One apple Two pears That is all"),
        ("It is 5 :)", "it is five"),
        ("All done. 👍\n", "All done."),
        ("你好。再见！", "你好再见"),
    ],
)
def test_an_answer_of_which_every_word_was_played_was_heard_whole(answer: str, played: str) -> None:
    assert heard(answer, played) == answer


SUM = "12 x 5 = 60, 7 x 8 = 56, 9 x 9 = 81; total 197. Then there is the tax to be paid."


def test_a_text_with_no_word_of_the_answer_counts_by_its_length() -> None:
    part = heard(SUM, "twelve times five makes sixty, seven times")
    assert part.startswith("12 x 5 = 60")
    assert len(part) < SUM.index("total")


def test_a_played_text_is_never_taken_for_nothing() -> None:
    assert all(heard(PLAIN, played) for played in ("…", "x", "zwölf", "12"))


def test_a_report_of_no_text_is_nothing() -> None:
    assert heard(PLAIN, "") == heard("", "anything") == ""


@pytest.mark.parametrize(
    ("seconds", "end"), [(0.0, ""), (0.5, "order"), (2.0, "dollars."), (600.0, "else?")]
)
def test_without_text_the_time_counts(seconds: float, end: str) -> None:
    by_time = PLAIN[: played_characters(PLAIN, PlaybackReport(duration=seconds))]
    assert by_time.endswith(end)
    assert bool(by_time) == bool(end)
    assert heard(PLAIN, " ", seconds) == by_time


@pytest.mark.parametrize(("characters", "heard_of_it"), [(-1, 0), (0, 0), (7, 7), (9999, None)])
def test_characters_count_as_they_are(characters: int, heard_of_it: int | None) -> None:
    found = played_characters(PLAIN, PlaybackReport(characters=characters))
    assert found == (len(PLAIN) if heard_of_it is None else heard_of_it)


WORDS = st.lists(
    st.sampled_from(["the", "a", "order", "twelve", "you", "is", "你", "ok"]), max_size=40
)
MARKS = st.sampled_from([" ", "\n\n- ", ", ", ". ", " **", "** ", " — "])


@given(said=WORDS, count=st.integers(0, 40), data=st.data())
def test_other_spaces_case_and_marks_change_nothing(
    said: list[str], count: int, data: st.DataObject
) -> None:
    def written(words: list[str], upper: bool) -> str:
        marks = [data.draw(MARKS) for _ in words]
        pairs = zip(words, marks, strict=True)
        return "".join((word.upper() if upper else word) + mark for word, mark in pairs)

    answer, played = written(said, upper=False), written(said[:count], upper=True)
    words = re.findall(r"\w+", heard(answer, played))
    assert "".join(words) == "".join(said[:count])


@given(answer=st.text(max_size=80), played=st.text(max_size=80), seconds=st.floats(0, 1e6))
def test_any_report_covers_a_part_of_the_answer(answer: str, played: str, seconds: float) -> None:
    for report in (PlaybackReport(played), PlaybackReport(duration=seconds)):
        assert 0 <= played_characters(answer, report) <= len(answer)
    if answer.strip() and played.strip():
        assert heard(answer, played)


def test_the_work_for_texts_that_never_meet_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def never(_said: object, _heard: object, i: int, _j: int) -> bool:
        compared.append(i)
        return False

    monkeypatch.setattr(alignment, "_meet", never)
    heard("ab cd " * 2000, "ef gh " * 2000)
    heard("ab cd " * 2000, "ab gh " * 2000)
    assert 0 < len(compared) <= 2 * alignment.MOST_SKIPS * (alignment.LOOKAHEAD + 1) ** 2
