"""Comparison of transcripts by their meaning-bearing text. Pure.

Case, sentence punctuation and spaces are formatting: speech-to-text adds and changes them between
two versions of one turn. Everything else makes another text: letters, digits and their grouping,
signs, currency, apostrophes.
"""

import re
import unicodedata
from functools import lru_cache

#: sentence punctuation without the class of brackets and quotation marks that Unicode gives
_PUNCTUATION = frozenset(
    ".,;:!?…¿¡‼⁇⁈⁉‽\"'`"  # Latin; an apostrophe in a word is kept
    "·"  # Greek semicolon, as NFKC writes it
    "،؛؟۔؞"  # Arabic, Urdu
    "׃"  # Hebrew
    "՜՝՞։"  # Armenian
    "।॥"  # Devanagari and its neighbours
    "።፣፤፥፦፧"  # Ethiopic
    "။၊"  # Burmese
    "។៕៖"  # Khmer
    "།༎"  # Tibetan
    "、。〃・"  # Chinese, Japanese
    "᠂᠃"  # Mongolian
)
_BRACKETS = frozenset(("Ps", "Pe", "Pi", "Pf"))  #: classes of brackets and quotation marks
_APOSTROPHES = str.maketrans("’‘ʼ＇´", "'''''")
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−﹣－", "-"))
#: raised digits, which NFKC would join to the number before them: 10² is not 102
_RAISED = re.compile(r"(?<![⁰¹²³⁴-⁹])(?=[⁰¹²³⁴-⁹])")


def same_words(one: str, other: str) -> bool:
    """Return whether two texts say the same, formatting aside."""
    return one == other or meaning(one) == meaning(other)


@lru_cache(maxsize=64)
def meaning(text: str) -> str:
    """Return ``text`` without what formatting may change: case, sentence punctuation, spaces.

    A mark in front of a digit stays: 1.5 is not 15, and -5 is not 5. So does a gap between
    digits: 10 20 is not 1020.
    """
    kept: list[str] = []
    has_gap = False  # after the last sign kept
    plain = _plain(text)
    for at, sign in enumerate(plain):
        if not _is_kept(plain, at, sign):
            has_gap = True
            continue
        if has_gap and sign.isdigit() and kept and kept[-1].isdigit():
            kept.append(" ")
        kept.append(sign)
        has_gap = False
    return "".join(kept)


def _plain(text: str) -> str:
    if not text.isascii():
        text = _RAISED.sub("^", text).translate(_APOSTROPHES).translate(_DASHES)
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        return text.translate(_DASHES)
    return text.casefold()


def _is_kept(plain: str, at: int, sign: str) -> bool:
    """Return whether ``sign``, which stands at ``at``, bears meaning."""
    if sign.isalnum():
        return True
    following = plain[at + 1 : at + 2]
    if sign == "-":
        return _is_minus(plain, at)
    if sign == "'":
        return plain[at - 1 : at].isalnum() or following.isalnum()
    kind = unicodedata.category(sign)
    if kind[0] in "ZC":
        return False
    if sign in _PUNCTUATION:
        return following.isdigit()
    return kind not in _BRACKETS


def _is_minus(plain: str, at: int) -> bool:
    """Return whether a dash belongs to the number or the amount after it."""
    following = plain[at + 1 :].lstrip()[:1]
    return following.isdigit() or (following != "" and unicodedata.category(following) == "Sc")
