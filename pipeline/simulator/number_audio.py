"""Test audio whose words are numbers: synthesis and recognition without errors. Pure.

A real recogniser makes errors; here every lost, repeated or moved word can be counted. Each word
is a run of one sample value, 16-bit mono, with silence between and after.
"""

from array import array
from collections.abc import Iterable, Iterator
from itertools import groupby

from pipeline.simulator.scenario import EndLine, PartialLine, TimedWord

BASE = 8000  #: sample value of word 0
WORD_MS = 200
GAP_MS = 100  #: after each word
PAUSE_MS = 800  #: after the last word of a turn
MIN_WORD_MS = 120  #: least length of a word that is recognised
SILENCE_MS = 400  #: ends a turn


def spoken(numbers: Iterable[int], *, words_per_turn: int = 4, sample_rate: int = 16_000) -> bytes:
    """Return the audio of numbers, each 0 to 20,000, with ``words_per_turn`` in each turn."""
    samples = array("h")
    for i, number in enumerate(numbers, start=1):
        gap = PAUSE_MS if i % words_per_turn == 0 else GAP_MS
        samples += array("h", [BASE + number]) * (WORD_MS * sample_rate // 1000)
        samples += array("h", [0]) * (gap * sample_rate // 1000)
    return samples.tobytes()


class NumberRecogniser:
    """Recognises numbers in audio pieces of any size: one Turn per silence."""

    def __init__(self, bytes_per_ms: float) -> None:
        self._step = int(bytes_per_ms) // 2  #: samples in a millisecond
        self._left = b""
        self._now = 0  #: milliseconds received
        self._value = 0
        self._since = 0  #: milliseconds, where ``_value`` began
        self._words: list[TimedWord] = []

    def feed(self, data: bytes) -> Iterator[PartialLine | EndLine]:
        data = self._left + data
        whole = len(data) - len(data) % (2 * self._step)
        self._left = data[whole:]
        for value, run in groupby(array("h", data[:whole])[:: self._step]):
            if value != self._value:
                yield from self._word_ended()
                self._value, self._since = value, self._now
            self._now += sum(1 for _ in run)
            yield from self._silence()

    def end_turn(self) -> None:
        """Discard the words of the open turn: it has been ended and sent."""
        self._words = []

    def _word_ended(self) -> Iterator[PartialLine]:
        if self._value >= BASE and self._now - self._since >= MIN_WORD_MS:
            text = f"{self._value - BASE}"
            self._words.append(TimedWord(text, self._since, self._now, word_is_final=False))
            yield PartialLine(words=tuple(self._words))

    def _silence(self) -> Iterator[EndLine]:
        if self._value < BASE and self._words and self._now - self._since >= SILENCE_MS:
            words = [TimedWord(word.text, word.start, word.end) for word in self._words]
            self._words = []
            yield EndLine(words=tuple(words))
