"""Words of a text, counted and found as its script has them. Pure.

Words are what spaces and dashes separate, except in scripts that write none between words
(Chinese, Japanese, Thai, Lao, Khmer, Burmese): there ICU's dictionaries separate them. ICU is
loaded for the first such text.
"""

import re
import unicodedata
from functools import lru_cache

from pipeline.responses.clitics import without_clitics

#: characters of scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana, Han
_NO_SPACES = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_WITHOUT_SPACES = re.compile(f"[{_NO_SPACES}]")
_HAN_OR_KANA = re.compile("[\u3005-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
#: between words: spaces, dashes other than hyphens, and marks that do not stand within numbers
_SEPARATORS = re.compile(r"[\s—–―…;!?؟،؛۔]+|[.,:](?!\w)|[.,]{2,}|,(?!\d)")
_PARTS = re.compile(r"['’ʼ‐‑-](?!t\b)")  # of a word: parcel's, l'adresse, e-mail; not don't
#: vowel points and lengthening strokes, which Arabic and Hebrew texts may have or not
_POINTS = re.compile("[\u0591-\u05bd\u05bf\u05c1-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670]")


def count_words(text: str) -> int:
    return len(words(text))


@lru_cache(maxsize=64)
def words(text: str) -> tuple[str, ...]:
    """Return the words of ``text``; signs alone are no words."""
    found: list[str] = []
    for part in _SEPARATORS.split(text):
        if _WITHOUT_SPACES.search(part):
            found += (part[start:end] for start, end in _segments(part))
        elif any(sign.isalnum() for sign in part):
            found.append(part)
    return tuple(found)


def contains_phrase(text: str, phrase: str) -> bool:
    """Return whether ``text`` contains ``phrase`` as whole words, punctuation and case aside.

    A word may have clitics: an article, a possessive or a particle that is written with it.
    """
    if not has_word(phrase):
        return False
    if _WITHOUT_SPACES.search(phrase):
        return _contains_run(text, phrase)
    said, sought = words(text), words(phrase)
    return _contains(
        [(_key(word),) for word in said], [_key(word) for word in sought]
    ) or _contains([_forms(part) for part in _parts(said)], [_key(p) for p in _parts(sought)])


def has_word(text: str) -> bool:
    return any(sign.isalnum() for sign in text)


def is_written_without_spaces(sign: str) -> bool:
    """Return whether ``sign`` is of a script that writes no spaces between words."""
    return _WITHOUT_SPACES.match(sign) is not None


def _contains(said: list[tuple[str, ...]], sought: list[str]) -> bool:
    """Return whether ``sought`` stands in ``said``, which has several forms of each word."""
    return any(
        all(key in forms for key, forms in zip(sought, said[at:], strict=False))
        for at in range(len(said) - len(sought) + 1)
    )


def _parts(said: tuple[str, ...]) -> list[str]:
    """Return the parts that hyphens and apostrophes join to words."""
    return [part for word in said for part in _PARTS.split(word) if has_word(part)]


@lru_cache(maxsize=64)
def _forms(word: str) -> tuple[str, ...]:
    """Return the word as it is, and without the clitics of its script."""
    key = _key(word)
    return (key, *without_clitics(key))


@lru_cache(maxsize=64)
def _key(word: str) -> str:
    """Return ``word`` without case, punctuation and vowel points."""
    plain = _POINTS.sub("", unicodedata.normalize("NFKC", word).casefold())
    return "".join(sign for sign in plain if unicodedata.category(sign)[0] not in "PZC")


def _contains_run(text: str, phrase: str) -> bool:
    """Find a phrase of a script without spaces: from the start of a word to the end of one.

    A phrase of two or more Han or kana signs may also be the beginning of a longer word.
    """
    said, sought = _plain(text), _plain(phrase).strip()
    is_prefix_enough = len(sought) > 1 and _HAN_OR_KANA.match(sought[-1]) is not None
    bounds = _segments(said)
    starts, ends = {start for start, _ in bounds}, {end for _, end in bounds}
    at = said.find(sought)
    while at >= 0:
        if at in starts and (is_prefix_enough or at + len(sought) in ends):
            return True
        at = said.find(sought, at + 1)
    return False


def _plain(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text).casefold()
    # NFKC takes Thai and Lao AM apart; the dictionaries know them as one sign
    return plain.replace("\u0e4d\u0e32", "\u0e33").replace("\u0ecd\u0eb2", "\u0eb3")


def _segments(text: str) -> list[tuple[int, int]]:
    """Return where the words of ``text`` stand, by ICU."""
    from icu4py.breakers import WordBreaker  # 12 ms, and most texts do without

    readable = text.encode("utf-8", "replace").decode()  # half of a pair is no text to ICU
    return [
        (start, end)
        for start, end in WordBreaker(readable, "en").segments()
        if has_word(text[start:end])
    ]
