"""Alignment of what a client played with the answer that it played. Pure.

Speech synthesis and clients change an answer's text: other spaces and line breaks, no Markdown,
other case and punctuation, numbers in words. Both texts are compared by their letters and digits;
where they differ, the alignment goes on at the next words that both have. What cannot be aligned
counts by its length.
"""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

from pipeline.responses.words import has_word, is_written_without_spaces

LOOKAHEAD = 24  #: words skipped at most on either side to align again: a number read out
MOST_SKIPS = 64  #: places where the texts differ; past it the rest counts by its length
CLEAR = 4  #: letters of a word that is enough to align again, without the next one
SHORTEST_QUOTE = 8  #: letters of a played text that may begin in mid-answer
PER_SECOND = 15.0  #: letters spoken per second, as in 150 English words a minute
#: letters that a sign stands for when it is read out
PER_DIGIT = 7.0
PER_SYLLABLE = 3.0  #: a sign of Chinese, Japanese or another script without spaces


class PlaybackReport(Struct, frozen=True):
    """What a client reports to have played of a response: the first of these that it knows."""

    text: str | None = None
    characters: int | None = None
    duration: float | None = None  #: seconds


class _Word(NamedTuple):
    folded: str  #: letters and digits, without case
    start: int  #: in the answer, or the played text
    end: int


class _Position(NamedTuple):
    """Position in the words of a text: so many whole words, and letters of the next."""

    words: int
    letters: int = 0


def played_characters(answer: str, report: PlaybackReport) -> int:
    """Return how many characters of ``answer`` the report covers."""
    if report.text is not None and (report.text.strip() or not report.duration):
        return _aligned(answer, report.text)
    if report.characters is not None:
        return max(0, min(report.characters, len(answer)))
    return _by_weight(answer, _words(answer), 0, (report.duration or 0.0) * PER_SECOND)


def _aligned(answer: str, played: str) -> int:
    if not played.strip():
        return 0
    if answer.startswith(played):
        return len(played) if has_word(answer[len(played) :]) else len(answer)
    said, heard = _words(answer), _words(played[: 2 * len(answer) + 200])
    if not said or not heard:
        return min(len(played.strip()), len(answer))
    quoted = _quote(said, heard)
    if quoted is not None:
        return _end(answer, said, quoted)
    at, rest = _align(said, heard)
    if rest:
        return _by_weight(answer, said, at.words, sum(map(_weight, rest)))
    return _end(answer, said, at)


def _quote(said: Sequence[_Word], heard: Sequence[_Word]) -> _Position | None:
    """Find a played text that is letter for letter in the answer, at its start or later."""
    letters, wanted = "".join(w.folded for w in said), "".join(w.folded for w in heard)
    start = 0 if letters.startswith(wanted) else -1
    if start < 0 and len(wanted) >= SHORTEST_QUOTE:
        start = letters.find(wanted)
    if start < 0:
        return None
    end = start + len(wanted)
    for number, word in enumerate(said):
        if end <= len(word.folded):
            whole = end == len(word.folded)
            return _Position(number + whole, 0 if whole else end)
        end -= len(word.folded)
    return _Position(len(said))


def _align(said: Sequence[_Word], heard: Sequence[_Word]) -> tuple[_Position, Sequence[_Word]]:
    """Return the position reached in ``said``, and the played words behind it.

    Where words differ, both sides skip as few as lead to words that they have in common.
    """
    i = j = 0
    last = 0, 0  # behind the last words in common
    for _ in range(MOST_SKIPS):
        while i < len(said) and j < len(heard) and said[i].folded == heard[j].folded:
            i, j = i + 1, j + 1
            last = i, j
        if j == len(heard) or i == len(said):
            break
        if j == len(heard) - 1 and said[i].folded.startswith(heard[j].folded):
            return _Position(i, len(heard[j].folded)), ()
        skip = _skip(said, heard, i, j)
        if skip is None:
            break
        i, j = i + skip[0], j + skip[1]
    i, j = last
    return _Position(i), heard[j:]


def _skip(said: Sequence[_Word], heard: Sequence[_Word], i: int, j: int) -> tuple[int, int] | None:
    """Return how many words of each side to skip, the fewest that align both again."""
    for total in range(1, 2 * LOOKAHEAD + 1):
        for skipped in range(max(0, total - LOOKAHEAD), min(total, LOOKAHEAD) + 1):
            if _meet(said, heard, i + total - skipped, j + skipped):
                return total - skipped, skipped
    return None


def _meet(said: Sequence[_Word], heard: Sequence[_Word], i: int, j: int) -> bool:
    """Return whether both texts go on with the same words, which are not so by chance."""
    if i >= len(said) or j >= len(heard) or said[i].folded != heard[j].folded:
        return False
    if len(said[i].folded) >= CLEAR or j + 1 == len(heard):
        return True
    return i + 1 < len(said) and said[i + 1].folded == heard[j + 1].folded


def _by_weight(answer: str, said: Sequence[_Word], words: int, letters: float) -> int:
    """Return the end of the word that is reached ``letters`` behind the first ``words``."""
    while words < len(said) and letters > 0:
        letters -= _weight(said[words])
        words += 1
    return _end(answer, said, _Position(words))


def _weight(word: _Word) -> float:
    """Return how many letters of speech a word stands for."""
    return sum(_weight_of(sign) for sign in word.folded)


def _weight_of(sign: str) -> float:
    if sign.isdigit():
        return PER_DIGIT
    return PER_SYLLABLE if is_written_without_spaces(sign) else 1.0


def _end(answer: str, said: Sequence[_Word], at: _Position) -> int:
    """Return the characters of ``answer`` up to a position in its words."""
    if at.words == len(said):
        return len(answer)  # what follows is not spoken
    if at.letters:
        return min(said[at.words].start + at.letters, said[at.words].end)
    return _with_marks(answer, said[at.words - 1].end) if at.words else 0


def _with_marks(answer: str, end: int) -> int:
    """Return ``end``, moved behind the punctuation and Markdown that closes a word there."""
    at = end
    while at < len(answer) and _closes(answer[at]):
        at += 1
    joined = at < len(answer) and answer[end:at].isascii() and answer[at].isalnum()
    return end if joined else at  # as in well-known, or 1.5


def _closes(sign: str) -> bool:
    kind = unicodedata.category(sign)
    return sign in "`~" or (kind[0] == "P" and kind not in ("Ps", "Pi"))


def _words(text: str) -> list[_Word]:
    """Return the words of ``text``; each sign of a script without spaces is one."""
    found: list[_Word] = []
    start = 0
    while start < len(text):
        end = _end_of_word(text, start)
        if end > start:
            folded = unicodedata.normalize("NFKC", text[start:end]).casefold()
            found.append(_Word(folded, start, end))
        start = max(end, start + 1)
    return found


def _end_of_word(text: str, start: int) -> int:
    if not text[start].isalnum():
        return start
    end = start + 1
    is_single = is_written_without_spaces(text[start])
    while end < len(text) and (
        unicodedata.category(text[end])[0] == "M"
        or (not is_single and text[end].isalnum() and not is_written_without_spaces(text[end]))
    ):
        end += 1
    return end
