"""Comparison of transcripts by their words. Pure."""

import unicodedata
from functools import lru_cache

KEPT = frozenset("%#@&+")  #: punctuation by Unicode's classes, but spoken aloud


@lru_cache(maxsize=1024)
def spoken(text: str) -> str:
    """Return ``text`` without what formatting may change: case, punctuation, spaces.

    A mark between two digits stays: 1.5 is not 15.
    """
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept: list[str] = []
    for at, sign in enumerate(plain):
        kind = unicodedata.category(sign)[0]
        in_number = plain[at - 1 : at].isdigit() and plain[at + 1 : at + 2].isdigit()
        if kind not in "PZC" or sign in KEPT or (kind == "P" and in_number):
            kept.append(sign)
    return "".join(kept)


def same_words(one: str, other: str) -> bool:
    return one == other or spoken(one) == spoken(other)


def count_words(text: str) -> int:
    return len(text.split())


def contains_phrase(text: str, phrase: str) -> bool:
    """Return whether ``text`` contains ``phrase`` as whole words, punctuation and case aside."""

    def words(of: str) -> list[str]:
        return [word for word in map(spoken, of.split()) if word]

    said, sought = words(text), words(phrase)
    return any(said[at : at + len(sought)] == sought for at in range(len(said) - len(sought) + 1))
