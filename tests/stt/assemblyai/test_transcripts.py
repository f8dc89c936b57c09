"""The best cumulative text and the pauses, for each shape of Turn the vendor sends."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.interfaces.stt import Transcript
from pipeline.responses.text_match import same_words
from pipeline.stt.assemblyai import wire
from pipeline.stt.assemblyai.parameters import Family
from pipeline.stt.assemblyai.transcripts import text_of, transcript


def turn(transcript: str = "", *words: str, **fields: Any) -> wire.Turn:
    """Make a Turn; a word that ends in ~ is not final yet."""
    spoken = [
        {
            "text": w.rstrip("~"),
            "start": i * 100,
            "end": i * 100 + 90,
            "word_is_final": w[-1] != "~",
        }
        for i, w in enumerate(words)
    ]
    message = {"type": "Turn", "turn_order": 0, "transcript": transcript, "words": spoken}
    decoded = wire.decode(msgspec.json.encode(message | fields))
    assert isinstance(decoded, wire.Turn)
    return decoded


def read(message: wire.Turn, family: Family = "universal-3", *, quiet: bool = False) -> Transcript:
    return transcript(message, origin=0.0, family=family, quiet=quiet)


US: Family = "universal-streaming"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        pytest.param(turn("", "hi~"), "hi", id="US: the first word is not final"),
        pytest.param(turn("hi my", "hi", "my", "na~"), "hi my na", id="US: a word is growing"),
        pytest.param(
            turn(
                "hi my name is", "hi", "my", "name", "is", "son~", utterance="hi my name is sonny"
            ),
            "hi my name is sonny",
            id="US: the transcript lags the utterance by its last word",
        ),
        pytest.param(
            turn("hi my name is", utterance="Hi, my name is Sonny."),
            "hi my name is Sonny.",
            id="US: and the words lag as well",
        ),
        pytest.param(
            turn("hi there i am", "hi", "there", "i", "am", "so~", utterance="I am Sonny"),
            "hi there i am Sonny",
            id="US: a second utterance in the turn",
        ),
        pytest.param(
            turn("hi there", "hi", "there", "i~", utterance="hi there"),
            "hi there i",
            id="US: a word begins while the utterance ends",
        ),
        pytest.param(
            turn("book it for tomorrow", "book", "it", "for", "tomorrow~"),
            "book it for tomorrow",
            id="US: a word that is not final stands in the transcript already",
        ),
        pytest.param(
            turn("Book it for tomorrow.", "book", "it", "for~", "tomorrow~"),
            "Book it for tomorrow.",
            id="US: two of them, in a formatted transcript",
        ),
        pytest.param(
            turn("no", "no", "no~"), "no no", id="US: a word said twice, the second not final"
        ),
        pytest.param(turn("no no", "no", "no~"), "no no", id="US: and then in the transcript"),
        pytest.param(turn("ego", "ego", "go~"), "ego go", id="US: the end of a word is no word"),
        pytest.param(
            turn("one two three four", "three", "four~"),
            "one two three four",
            id="US: words of the last utterance only",
        ),
        pytest.param(turn("你好吗", "你", "好", "吗~"), "你好吗", id="US: written without spaces"),
        pytest.param(turn("hi there", "hi", "there"), "hi there", id="US: the end"),
        pytest.param(turn("Hi there.", "Hi", "there."), "Hi there.", id="US: the formatted copy"),
        pytest.param(turn("Hi, my", "Hi,~", "my~"), "Hi, my", id="U3: no word is final"),
        pytest.param(turn("你好吗", "你~", "好~", "吗~"), "你好吗", id="U3: words without spaces"),
        pytest.param(
            turn("Hi there.", "Hi", "there.", utterance="Hi there.", end_of_turn=True),
            "Hi there.",
            id="U3: the final",
        ),
        pytest.param(turn("", utterance="", end_of_turn=True), "", id="an empty final"),
        pytest.param(turn(utterance="Yes."), "Yes.", id="nothing but an utterance"),
    ],
)
def test_the_text_is_all_that_was_said_so_far(message: wire.Turn, text: str) -> None:
    assert text_of(message) == text


@pytest.mark.parametrize(
    "pause",
    [
        pytest.param(turn("call me tomorrow", "call", "me", "tomorrow~"), id="in both places"),
        pytest.param(turn("call me", "call", "me", "tomorrow~"), id="not final yet"),
        pytest.param(
            turn("call me", "call", "me", "tom~", utterance="call me tomorrow"), id="utterance"
        ),
        pytest.param(
            turn("call me tomorrow", "call", "me", "tomorrow~", utterance="call me tomorrow"),
            id="everywhere",
        ),
        pytest.param(turn("Call me tomorrow.", "Call~", "me~", "tomorrow.~"), id="U3"),
        pytest.param(turn("Call me", "Call", "me", "tomorrow~"), id="formatted"),
    ],
)
def test_a_guess_at_the_pause_is_right_for_every_shape_of_message(pause: wire.Turn) -> None:
    end = turn("Call me tomorrow.", "Call", "me", "tomorrow.", end_of_turn=True)
    assert same_words(text_of(pause), text_of(end))


@given(
    said=st.lists(st.sampled_from(["go", "no", "tomorrow", "at", "5"]), min_size=1, max_size=8),
    data=st.data(),
)
def test_each_word_is_read_once_wherever_it_stands(said: list[str], data: st.DataObject) -> None:
    finals = data.draw(st.integers(1, len(said)))
    written = data.draw(st.integers(finals, len(said)))
    marked = [word + "~" * (at >= finals) for at, word in enumerate(said)]
    assert text_of(turn(" ".join(said[:written]), *marked)) == " ".join(said)


@pytest.mark.parametrize(
    ("message", "family", "quiet", "paused"),
    [
        pytest.param(turn("a", "a", utterance="a b"), US, False, True, id="US utterance"),
        pytest.param(
            turn("a", "a", end_of_turn_confidence=0.9), US, True, False, id="US partials carry any"
        ),
        pytest.param(turn("A", "A~"), "universal-3", False, False, id="U3 early or periodic"),
        pytest.param(turn("A", "A~"), "universal-3", True, True, id="U3 silence"),
        pytest.param(
            turn("A", "A~", end_of_turn_confidence=0.6), "universal-3", False, True, id="U3 held"
        ),
        pytest.param(
            turn("A.", "A.", utterance="A.", end_of_turn=True), "universal-3", True, False, id="end"
        ),
        pytest.param(turn(""), "universal-3", True, False, id="no text"),
    ],
)
def test_a_pause_is_distinguished_from_other_partials(
    message: wire.Turn, family: Family, quiet: bool, paused: bool
) -> None:
    assert read(message, family, quiet=quiet).paused is paused


def test_word_times_are_on_the_clock_of_the_session() -> None:
    heard = transcript(turn("a b", "a", "b~"), origin=12.5, family="universal-3")
    assert [(w.start, w.end, w.final) for w in heard.words] == [
        (12.5, 12.59, True),
        (12.6, 12.69, False),
    ]


@pytest.mark.parametrize("label", ["UNKNOWN", "PENDING", None])
def test_a_label_without_a_speaker_is_no_speaker(label: str | None) -> None:
    assert read(turn("a", "a", speaker_label=label)).speaker is None
    assert read(turn("a", "a", speaker_label="B")).speaker == "B"


def test_everything_else_is_taken_over() -> None:
    heard = read(
        turn("Hola.", end_of_turn=True, turn_is_formatted=True, language_code="es", turn_order=3.0)
    )
    assert (heard.order, heard.ended, heard.formatted, heard.language) == (3, True, True, "es")
