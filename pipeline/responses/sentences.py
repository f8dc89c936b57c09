"""Sentence segmentation of a text that is still growing. Pure."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

from sentencex import segment  # type: ignore[import-untyped]  # it ships no types

segmented = cast("Callable[[str, str], list[str]]", segment)

#: without one of these nothing can have ended: the sentence terminals of Unicode
ENDERS = frozenset(
    ".!?\n։؝؞؟۔܀܁܂߹࠷࠹࠽࠾।॥၊။።፧፨᙮᜵᜶។៕᠃᠉᥄᥅᪨᭚᭞᰻᱾‼‽⁇⁈⁉⸮⸼。꓿꘎꛳꛷꡶꣎꤯꧈꩝꫰꯫﹒﹖﹗！．？｡།༎;\u037e"
)
#: ends that sentencex does not know: Khmer, Tibetan; the Greek question mark; a Thai polite
#: particle before a space, where Thai has no terminal
_MORE_ENDS = re.compile(
    r"[។៕།༎]+[»”’\")\]]*\s*|(?<=[\u0370-\u03ff\u1f00-\u1fff])[;\u037e]\s+|(?:ครับ|ค่ะ|คะ|จ้ะ|จ้า)\s+"
)
LONGEST = 2000  #: characters; a longer run without an end counts as a sentence


class Sentence(NamedTuple):
    """Sentence of a text, and where it stands there."""

    text: str
    start: int  #: characters (code points) of the text before it
    end: int


class SentenceSplitter:
    """Splits deltas into sentences; each is returned once, when the next one has begun."""

    def __init__(self, language: str = "en") -> None:
        self._language = language
        self._rest = ""
        self._at = 0  # characters before the rest

    def feed(self, delta: str) -> list[Sentence]:
        before = len(self._rest)
        self._rest += delta
        # The sign itself may have come with the delta before, its space with this one.
        whole: list[str] = []
        if self._may_end(self._rest[max(0, before - 2) :]):
            *whole, self._rest = self._parts()
        if len(self._rest) > LONGEST:
            whole.append(self._rest)
            self._rest = ""
        found = [self._next(part) for part in whole]
        return [sentence for sentence in found if sentence.text]

    def finish(self) -> list[Sentence]:
        """Return the rest: the last sentence, whole or not."""
        rest, self._rest = self._next(self._rest), ""
        return [rest] if rest.text else []

    def _may_end(self, recent: str) -> bool:
        if not ENDERS.isdisjoint(recent):
            return True
        has_space = not self._rest.isascii() and " " in recent
        return has_space and _MORE_ENDS.search(self._rest) is not None

    def _parts(self) -> list[str]:
        """Return the rest in sentences, each with the spaces behind it."""
        parts = segmented(self._language, self._rest)
        if self._rest.isascii():
            return parts
        return [piece for part in parts for piece in _split(part)]

    def _next(self, part: str) -> Sentence:
        """Return the sentence of ``part``, which follows the last one."""
        start = self._at + len(part) - len(part.lstrip())
        self._at += len(part)
        text = part.strip()
        return Sentence(text, start, start + len(text))


def _split(part: str) -> Iterator[str]:
    """Split at the ends that sentencex does not know."""
    start = 0
    for found in _MORE_ENDS.finditer(part):
        yield part[start : found.end()]
        start = found.end()
    if start < len(part):
        yield part[start:]
