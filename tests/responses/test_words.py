"""Words by script: counted for gates and interruptions, found for keywords."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.responses.words import contains_phrase, count_words, words

SENTENCES = {
    "english": ("Where is my parcel, please?", 5),
    "french": ("Qu'est-ce que c'est ?", 3),
    "hindi": ("कृपया हिन्दी में बताओ।", 4),
    "arabic": ("أين طلبي من فضلك؟", 4),
    "urdu": ("یہ اچھا ہے۔", 3),
    "hebrew": ("איפה החבילה שלי?", 3),
    "korean": ("내일 날씨를 알려 주세요.", 4),
    "chinese": ("请告诉我明天北京的天气怎么样？", 9),
    "japanese": ("明日の天気を教えてください。", 8),
    "thai": ("ช่วยบอกสภาพอากาศพรุ่งนี้หน่อยครับ", 8),
    "khmer": ("សូមប្រាប់ខ្ញុំអំពីអាកាសធាតុ", 5),
    "lao": ("ສະບາຍດີເຈົ້າເປັນແນວໃດ", 5),
    "burmese": ("နေကောင်းလား", 3),
    "two scripts": ("我的iPhone坏了, ok?", 5),
}


@pytest.mark.parametrize(("text", "count"), SENTENCES.values(), ids=SENTENCES)
def test_words_are_counted_as_the_script_separates_them(text: str, count: int) -> None:
    assert count_words(text) == count, words(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        (" \n", 0),
        ("one  two\nthree", 3),
        ("— — —", 0),
        ("… ?! 。、", 0),
        ("😀 👍", 0),
        ("one—two", 2),
        ("one...two", 2),
        ("uh-huh", 1),
        ("I don't", 2),
        ("1,000.50 at 10:30", 3),
        ("嗯。", 1),
        ("ครับ", 1),
        ("half \ud83d of a pair 你好\ud83d", 5),
    ],
)
def test_signs_and_spaces_are_no_words(text: str, count: int) -> None:
    assert count_words(text) == count


@given(st.text(max_size=60))
def test_any_text_has_words_that_stand_in_it(text: str) -> None:
    found = words(text)
    assert all(word in text for word in found)
    assert all(any(sign.isalnum() for sign in word) for word in found)
    assert sum(map(len, found)) <= len(text)


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Take the Late, train!", "late train"),
        ("Hey, Alexa — play", "hey alexa"),
        ("Where is my parcel's number?", "parcel"),
        ("the parcels’ state", "parcels"),
        ("parcel-tracking is down", "parcel tracking"),
        ("My e-mail, please", "mail"),
        ("The Wi-Fi is down", "wifi"),
        ("L’addition, s'il vous plaît", "addition"),
        ("dell'ordine", "ordine"),
        ("İstanbul'da hava", "i̇stanbul"),
        ("STRASSE", "straße"),
        ("택배가 안 왔어요", "택배"),
        ("서울에서는 어때요?", "서울"),
        ("그건 택배입니다", "택배"),
        ("איפה החבילה שלי", "חבילה"),
        ("ולחבילה", "חבילה"),
        ("أين طلبي؟", "طلب"),
        ("وين الطَّلَب", "طلب"),
        ("明日の天気を教えてください。", "天気"),
        ("天气预报", "天气"),
        ("我要去北京市", "北京"),
        ("我的iPhone坏了", "iphone"),
        ("ﾗｰﾒﾝ屋はどこ", "ラーメン"),
        ("พัสดุของฉันอยู่ที่ไหน", "พัสดุ"),
        ("ขอน้ำหน่อยครับ", "น้ำ"),
    ],
)
def test_a_phrase_is_found_whatever_its_script_writes_with_it(text: str, phrase: str) -> None:
    assert contains_phrase(text, phrase)


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("translate trains", "late train"),
        ("late", "late train"),
        ("I don't", "don"),
        ("I don't", "t"),
        ("배가 고프다", "택배"),
        ("나비가 난다", "나"),
        ("رسالة", "سالة"),
        ("東京都に行く", "京都"),
        ("火车来了", "火"),
        ("รถไฟมาแล้ว", "รถ"),
        ("— — —", "—"),
        ("", "parcel"),
    ],
)
def test_a_part_of_another_word_is_not_the_phrase(text: str, phrase: str) -> None:
    assert not contains_phrase(text, phrase)


def test_texts_with_spaces_between_words_do_not_load_icu() -> None:
    script = (
        "import sys; from pipeline.responses.words import count_words;"
        "count_words('one two'); print('icu4py' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert shown.stdout.split() == [b"False"]
