"""Sentences of a growing text, in every script, with their place in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.responses import sentences
from pipeline.responses.sentences import LONGEST, Sentence, SentenceSplitter


def split(*deltas: str, language: str = "en") -> list[Sentence]:
    splitter = SentenceSplitter(language)
    found = [sentence for delta in deltas for sentence in splitter.feed(delta)]
    return [*found, *splitter.finish()]


def texts(*deltas: str) -> list[str]:
    return [sentence.text for sentence in split(*deltas)]


def test_a_sentence_is_whole_when_the_next_one_begins() -> None:
    splitter = SentenceSplitter()
    assert splitter.feed("It is booked.") == []
    assert splitter.feed(" Track") == [("It is booked.", 0, 13)]
    assert splitter.feed(" nine.") == []
    assert splitter.finish() == [("Track nine.", 14, 25)]


def test_an_abbreviation_ends_no_sentence() -> None:
    assert texts("Dr. Smith is in. He waits.") == ["Dr. Smith is in.", "He waits."]


SCRIPTS = {
    "Urdu": ["یہ اچھا ہے۔", "پھر ملیں گے۔", "شکریہ۔"],
    "Arabic": ["مرحبا كيف حالك؟", "أنا بخير شكرا"],
    "Hebrew": ["מה שלומך?", "טוב, תודה."],
    "Hindi": ["नमस्ते।", "आप कैसे हैं?", "ठीक॥"],
    "Armenian": ["Բարեւ։", "Ինչպես ես։"],
    "Amharic": ["ሰላም ነው።", "እንዴት ነህ፧", "ደህና።"],
    "Burmese": ["မင်္ဂလာပါ။", "နေကောင်းလား။"],
    "Khmer": ["សួស្តី។", "អរគុណ៕", "បាទ"],
    "Tibetan": ["བཀྲ་ཤིས།", "བདེ་ལེགས།"],
    "Greek": ["Τι κάνεις;", "Καλά, εσύ;", "Ναι."],
    "Thai": ["สวัสดีครับ", "วันนี้อากาศดีค่ะ", "ขอบคุณ"],
    "Russian": ["Привет!", "Как дела?", "Хорошо."],
}


@pytest.mark.parametrize("expected", SCRIPTS.values(), ids=SCRIPTS)
def test_each_script_ends_sentences_with_its_own_signs(expected: list[str]) -> None:
    text = " ".join(expected)
    assert texts(text) == texts(*text) == expected


@pytest.mark.parametrize(
    "expected",
    [["你好。", "再见！", "吗？", "好"], ["こんにちは｡", "元気です。", "「はい。」", "そう"]],
    ids=["Chinese", "Japanese"],
)
def test_no_space_is_needed_where_the_script_has_none(expected: list[str]) -> None:
    assert texts(*"".join(expected)) == expected


def test_a_run_without_end_counts_as_a_sentence() -> None:
    splitter = SentenceSplitter()
    run = "a" * (LONGEST + 1)
    assert splitter.feed(run) == [(run, 0, LONGEST + 1)]
    assert splitter.finish() == []


@pytest.mark.parametrize("delta", ["a.", "1.5", "e.g. ", "ab ", "؟x", "ครับ"])
def test_work_per_delta_stays_bounded_whatever_the_text_is(
    delta: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []
    segment = sentences.segmented

    def watched(language: str, text: str) -> list[str]:
        lengths.append(len(text))
        return segment(language, text)

    monkeypatch.setattr(sentences, "segmented", watched)
    split(*[delta] * 5000)
    assert max(lengths, default=0) <= LONGEST + len(delta)


@pytest.mark.parametrize("text", ["a.b", "e.g. ", '"Hi, e.g. this, ', "1.2.3"])
def test_a_text_whose_sentences_never_end_is_split_all_the_same(text: str) -> None:
    found = texts(*[text] * (20_000 // len(text)))
    assert max(map(len, found)) <= LONGEST + len(text)


@given(
    st.lists(
        st.sampled_from(
            [
                "Yes",
                ". ",
                "It is 1.",
                "5",
                "? ",
                "\n",
                "  ",
                "Dr.",
                " No",
                "!",
                "؟ ",
                "نعم",
                "។",
                "好。",
            ]
        )
    )
)
def test_sentences_stand_in_the_text_in_order_and_hold_all_of_it(deltas: list[str]) -> None:
    text, at = "".join(deltas), 0
    for sentence in split(*deltas):
        assert text[sentence.start : sentence.end] == sentence.text == sentence.text.strip() != ""
        assert text[at : sentence.start].strip() == ""
        at = sentence.end
    assert text[at:].strip() == ""
