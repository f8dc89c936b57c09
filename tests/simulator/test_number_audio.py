"""Numbers in synthetic audio are recognised, each of them and once."""

import pytest

from pipeline.simulator.number_audio import NumberRecogniser, spoken
from pipeline.simulator.scenario import EndLine, PartialLine

NUMBERS = [3, 3, 0, 20_000, 7, 8, 9, 10]


def heard(audio: bytes, size: int) -> list[PartialLine | EndLine]:
    recogniser = NumberRecogniser(32.0)
    pieces = (audio[i : i + size] for i in range(0, len(audio), size))
    return [line for piece in pieces for line in recogniser.feed(piece)]


def finals(lines: list[PartialLine | EndLine]) -> list[str]:
    return [w.text for line in lines if isinstance(line, EndLine) for w in line.words or ()]


@pytest.mark.parametrize("size", [1600, 32_000, 999])
def test_every_number_is_heard_once_whatever_the_pieces(size: int) -> None:
    lines = heard(spoken(NUMBERS), size)
    assert finals(lines) == [str(number) for number in NUMBERS]
    assert sum(isinstance(line, EndLine) for line in lines) == 2


def test_words_have_their_true_times() -> None:
    words = heard(spoken([1, 2], words_per_turn=2), 1600)[-1].words or ()
    assert [(word.start, word.end) for word in words] == [(0, 200), (300, 500)]


def test_partials_grow_word_by_word() -> None:
    texts = [len(line.words or ()) for line in heard(spoken([1, 2, 3, 4]), 1600)]
    assert texts == [1, 2, 3, 4, 4]


@pytest.mark.parametrize(("skip", "found"), [(79, ["1"]), (81, [])])
def test_a_word_that_lost_its_beginning_is_heard_only_when_most_is_there(
    skip: int, found: list[str]
) -> None:
    audio = spoken([1], words_per_turn=1)
    assert finals(heard(audio[skip * 32 :], 1600)) == found
