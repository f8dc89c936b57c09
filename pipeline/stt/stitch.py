"""Which audio must be kept, and which words are told once although they were heard twice. Pure.

Times are seconds on the session's clock. The vendor restarts its turn numbers and its audio
time with each connection; the clock does not, so words can be compared across connections.
"""

import math

from msgspec.structs import replace

from pipeline.interfaces.stt import Heard, SpeechBegan, Transcript, Word

LEAD = 2.0  #: kept before the first word of an open turn, which a later partial may move
#: kept although nothing was recognised in it: a partial may be 3 s late with speaker labels
#: (observed, 2026-09)
MARGIN = 8.0
BLIND = 30.0  #: the same where no Heartbeat says what has arrived
#: a word that begins in what was told and ends so soon after it is a piece of the last word:
#: a new one comes after the silence that ended the turn
TAIL = 0.5
REACTION = 0.5  #: from the end of a turn to its message, where it has no word times


class Stitch:
    """Follows what was heard over all connections of a session."""

    def __init__(self, *, partials: bool = True, run_up: float = 0.5) -> None:
        self.ended = 0.0  #: where the last word of the last ended turn ends
        self.open_from: float | None = None  #: where the open turn's first word starts
        self._run_up = run_up  # seconds kept before the end of the last ended turn
        self._partials = partials  # without them nobody knows when a turn opens
        self._last = ""  # the last word of the last ended turn
        self._base = 0.0  # what earlier connections have told already
        self._until = math.inf  # where the next connection takes over

    def opened(self) -> None:
        """A connection has been opened anew; its first words may be known already."""
        self._base, self._until = self.ended, math.inf
        self.open_from = None

    def retire(self, position: float) -> None:
        """Another connection hears everything from ``position`` on."""
        self._until = position

    def floor(self, sent: float, received: float | None) -> float:
        """Return from where on audio must be kept, given what was sent and acknowledged."""
        covered = self.ended - self._run_up
        if not self._partials:
            return covered
        if self.open_from is not None:
            return max(covered, self.open_from - LEAD)
        known = sent - BLIND if received is None else received - MARGIN
        return max(covered, known)

    def accept(self, heard: Heard, sent: float) -> Heard | None:
        """Return what is new in ``heard``, or None when an earlier connection has told it.

        ``sent`` is how far the audio had been sent when it came.
        """
        if isinstance(heard, SpeechBegan):
            return heard if self._base <= heard.at < self._until else None
        if not isinstance(heard, Transcript):
            return heard
        if heard.words:
            if _middle(heard.words[-1]) >= self._until:
                return None
            fresh = self._fresh(heard)
            if fresh is None:
                return None
            heard = fresh
        if heard.text:
            self._note(heard, sent)
        return heard

    def _note(self, heard: Transcript, sent: float) -> None:
        if not heard.ended:
            self.open_from = (
                heard.words[0].start if heard.words else self.open_from or sent - MARGIN
            )
            return
        end = heard.words[-1].end if heard.words else sent - REACTION
        # A word cannot end after the audio: vendors let the last one absorb the silence.
        self.ended = max(self.ended, min(end, sent))
        self.open_from = None
        self._last = heard.words[-1].text if heard.words else ""

    def _is_old(self, word: Word) -> bool:
        if word.start >= self._base:
            return False
        tail = word.start < self._base - 0.05 and word.end < self._base + TAIL
        return tail or _middle(word) < self._base or _key(word.text) == _key(self._last)

    def _fresh(self, heard: Transcript) -> Transcript | None:
        old = 0
        while old < len(heard.words) and self._is_old(heard.words[old]):
            old += 1
        if not old:
            return heard
        if old == len(heard.words):
            return None
        parts = heard.text.split()
        words = heard.words[old:]
        known = parts if len(parts) == len(heard.words) else None
        text = " ".join(known[old:] if known else [word.text for word in words])
        return replace(heard, text=text, words=words)


def _key(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _middle(word: Word) -> float:
    return (word.start + word.end) / 2
