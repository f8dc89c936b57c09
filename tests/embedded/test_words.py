"""Tokens become words with times."""

from itertools import pairwise

import pytest

from pipeline.embedded import words
from pipeline.interfaces.stt import Word


def test_tokens_are_joined_to_words_and_control_tokens_left_out() -> None:
    tokens = ["<|startoftranscript|>", "ĠAmer", "icans", ",", "Ġask"]

    assert [words.text_of(group) for group in words.spoken(tokens)] == ["Americans,", "ask"]


def test_letters_beyond_ascii_come_back_from_their_bytes() -> None:
    assert words.text_of(["ĠcafÃ©"]) == "café"


def test_spread_words_fill_the_span_in_order() -> None:
    spread = words.spread(["Ġa", "Ġlonger", "Ġword"], 1.0, 3.0)

    assert spread[0].start == 1.0
    assert spread[-1].end == pytest.approx(3.0)
    assert all(a.end == b.start for a, b in pairwise(spread))
    assert spread[1].end - spread[1].start > spread[0].end - spread[0].start


def test_an_aligned_word_starts_with_its_first_token_and_ends_with_the_voice() -> None:
    path = [(0, 0), (0, 9), (1, 10), (2, 25), (2, 90)]

    aligned = words.aligned(["ĠAmer", "icans", "Ġask"], path, [0.9, 0.5, 0.8], end=1.2)

    assert [(word.text, word.start, word.end) for word in aligned] == [
        ("Americans", 0.0, 0.5),
        ("ask", 0.5, 1.2),
    ]
    assert [word.confidence for word in aligned] == [0.5, 0.8]


@pytest.mark.parametrize(
    ("before", "now", "count"),
    [
        ("", "and so", 0),
        ("and so", "And so, my", 2),
        ("and so am I", "and so my fellow", 2),
        ("ask", "Ask!", 1),
    ],
)
def test_decodes_agree_up_to_the_first_other_word(before: str, now: str, count: int) -> None:
    def as_words(text: str) -> list[Word]:
        return [Word(word, 0.0, 0.0) for word in text.split()]

    assert words.agreed(as_words(before), as_words(now)) == count
