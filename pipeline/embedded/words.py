"""Conversion of a recogniser's tokens to words with times. Pure."""

import functools
import unicodedata
from collections.abc import Sequence

from pipeline.interfaces.stt import Word

FRAMES_PER_SECOND = 50  #: of the alignment: one per encoder position
NO_SPEECH = 0.6  #: probability of no speech above which the output is discarded as noise


def spoken(tokens: Sequence[str]) -> list[list[str]]:
    """Return groups of tokens, one per word, without the model's control tokens."""
    groups: list[list[str]] = []
    for token in tokens:
        if token.startswith("<|"):
            continue
        if token.startswith("Ġ") or not groups:
            groups.append([])
        groups[-1].append(token)
    return groups


def text_of(tokens: Sequence[str]) -> str:
    """Return the text of byte-level tokens."""
    table = _bytes_by_letter()
    raw = bytes(table[letter] for token in tokens for letter in token if letter in table)
    return raw.decode("utf-8", errors="ignore").strip()


def spread(tokens: Sequence[str], start: float, end: float) -> tuple[Word, ...]:
    """Return words with estimated times: the span (seconds) divided by length."""
    texts = [text for text in map(text_of, spoken(tokens)) if text]
    letters = sum(len(text) + 1 for text in texts)
    words: list[Word] = []
    at = start
    for text in texts:
        until = at + (end - start) * (len(text) + 1) / letters
        words.append(Word(text, at, until, final=False))
        at = until
    return tuple(words)


def aligned(
    tokens: Sequence[str],
    path: Sequence[tuple[int, int]],
    probabilities: Sequence[float],
    end: float,
) -> tuple[Word, ...]:
    """Return words timed by the model's attention; ``path`` pairs tokens and alignment frames.

    Times are seconds from the start of the segment, limited to ``end``, the end of the voice.
    """
    first: dict[int, int] = {}
    for token, frame in path:
        first.setdefault(token, frame)
    words: list[Word] = []
    at = 0
    for group in spoken(tokens):
        upto = at + len(group)
        begun = min(first.get(at, 0) / FRAMES_PER_SECOND, end)
        done = min(first[upto] / FRAMES_PER_SECOND, end) if upto in first else end
        likely = min(probabilities[at:upto], default=1.0)
        if text := text_of(group):
            words.append(Word(text, begun, max(begun, done), confidence=round(likely, 3)))
        at = upto
    return tuple(words)


def agreed(before: Sequence[Word], now: Sequence[Word]) -> int:
    """Return the number of equal words at the start of two decodes of one segment."""
    count = 0
    for old, new in zip(before, now, strict=False):
        if _bare(old.text) != _bare(new.text):
            break
        count += 1
    return count


def _bare(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(letter for letter in folded if letter.isalnum())


@functools.cache
def _bytes_by_letter() -> dict[str, int]:
    """Return the alphabet of byte-level tokens: printable bytes unchanged, others from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in set(printable))
    table.update({chr(256 + place): byte for place, byte in enumerate(others)})
    return table
