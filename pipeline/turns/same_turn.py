"""Comparison of transcripts: whether two with one order number are of one turn. Pure.

A server may begin to count its turns again within a connection. Times tell the turns apart; where
there are none, or the server's clock began again too, the texts do.
"""

import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher

from pipeline.interfaces.stt import Transcript, Word
from pipeline.interfaces.turns import TurnEnded

LATER = 0.1  #: seconds; a word that is so much later is another one
SAME = 0.5  #: likeness of two texts of one turn, 0 to 1
COMPARED = 400  #: characters of each text


def is_revision(heard: Transcript, ended: TurnEnded, *, newest: bool) -> bool:
    """Return whether ``heard`` comes late for the turn that ``ended``, which has the same order.

    ``newest`` is whether no other turn and no onset of speech was heard since.
    """
    if not heard.text:
        return True
    if heard.words and ended.words:
        if _is_later(heard.words, ended.words):
            return False
        if newest or _same_times(heard.words, ended.words):
            return True
    elif newest:
        return True  # a number may be written in quite another way
    return _likeness(heard.text, ended.text) >= SAME


def continues(heard: Transcript, text: str, words: Sequence[Word]) -> bool:
    """Return whether ``heard`` is a later transcript of the open turn with ``text`` and ``words``.

    It holds the whole turn, and so begins where the turn began.
    """
    if not (heard.words and words and _is_later(heard.words, words)):
        return True
    old, new = _letters(text), _letters(heard.text)
    common = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), None)
    return common is None or 2 * common >= min(len(old), len(new))


def _is_later(words: Sequence[Word], than: Sequence[Word]) -> bool:
    return _middle(words[0]) > _middle(than[-1]) + LATER


def _same_times(words: Sequence[Word], others: Sequence[Word]) -> bool:
    start, end = words[0].start - others[0].start, words[-1].end - others[-1].end
    return abs(start) <= LATER and abs(end) <= LATER


def _middle(word: Word) -> float:
    return (word.start + word.end) / 2


def _likeness(text: str, other: str) -> float:
    return SequenceMatcher(None, _letters(text), _letters(other), autojunk=False).ratio()


def _letters(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text[:COMPARED]).casefold()
    return "".join(letter for letter in plain if letter.isalnum())
