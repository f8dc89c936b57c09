"""Stitching of transcripts across connections: no word twice, and the audio to keep. Pure.

Times are seconds on the session's clock. A vendor restarts its turn numbers and its audio
time with each connection; the clock does not, so words can be compared across connections.
"""

import math

from msgspec.structs import replace

from pipeline.interfaces.stt import Heard, SpeechBegan, Transcript, Word

LEAD = 2.0  #: seconds kept before an open turn's first word, which a later partial may move
#: seconds kept although no word was recognised: a partial may be 3 s late with speaker labels
#: (observed, 2026-09)
MARGIN = 8.0
UNCONFIRMED = 30.0  #: seconds, the same without heartbeats that confirm the received audio
#: seconds; a word that starts before the end of the last turn and ends at most so long after it
#: is a part of the last word: a new one comes after the silence that ended the turn
TAIL = 0.5
REACTION = 0.5  #: seconds from the end of a turn to its message, when it has no word times


class Stitch:
    """State of the transcript over all connections of a session."""

    def __init__(self, *, partials: bool = True, run_up: float = 0.5) -> None:
        self.ended = 0.0  #: where the last word of the last ended turn ends
        self.open_from: float | None = None  #: where the open turn's first word starts
        self.run_up = run_up  #: seconds kept before the end of the last ended turn
        self.partials = partials  #: without them an open turn is not known
        self._last = ""  # the last word of the last ended turn
        self._base = 0.0  # the end of what earlier connections delivered
        self._until = math.inf  # where the next connection takes over
        self._open = Transcript(-1, "")  # the open turn so far
        self._open_end = 0.0  # where its last word ends
        self._expired = self._open  # the turn that was ended by its deadline, as it was delivered

    def opened(self) -> None:
        """Begin a new connection; its first words may have been delivered already."""
        self._base, self._until = self.ended, math.inf
        self.open_from = None
        self._expired = replace(self._expired, order=-1)

    def retire(self, position: float) -> None:
        """Leave everything from ``position`` on to another connection."""
        self._until = position

    def expire(self) -> Transcript:
        """Return the end of the open turn, of the words so far: they do not come again."""
        self._end(self._open, self._open_end)
        self._base, self._expired = self.ended, self._open
        return replace(self._open, ended=True, paused=False, expired=True)

    @property
    def answered(self) -> float:
        """Where the last recognised word ends, of an open turn too."""
        return max(self.ended, self._open_end)

    def floor(self, sent: float, received: float | None, ahead: float = 0.0) -> float:
        """Return the start of the audio to keep, given what was sent and received.

        ``ahead`` is how far the audio sent is ahead of real time, in seconds: a recogniser may be
        as far behind it.
        """
        covered = self.ended - self.run_up
        if not self.partials:
            return covered
        if self.open_from is not None:
            return max(covered, self.open_from - LEAD)
        known = sent - UNCONFIRMED if received is None else received - MARGIN
        return max(covered, known - ahead)

    def accept(self, heard: Heard, sent: float) -> Heard | None:
        """Return the new part of ``heard``, or None when an earlier connection delivered it.

        ``sent`` is the end of the audio sent when it came.
        """
        if isinstance(heard, SpeechBegan):
            return heard if self._base <= heard.at < self._until else None
        if not isinstance(heard, Transcript):
            return heard
        if heard.order == self._expired.order:
            following = self._after_expired(heard)
            if following is None:
                return None
            heard = following
        fresh = self._fresh(heard) if heard.words else heard
        if fresh is None:
            return None
        if fresh.text:
            self._note(fresh, sent)
        elif fresh.ended and fresh.order == self._open.order:
            self._end(self._open, self._open_end)
        return fresh

    def _note(self, heard: Transcript, sent: float) -> None:
        end = heard.words[-1].end if heard.words else sent - REACTION
        # A word cannot end after the audio: vendors let the last one absorb the silence.
        self._open, self._open_end = heard, min(end, sent)
        if heard.ended:
            self._end(heard, self._open_end)
        elif heard.words:
            self.open_from = min(heard.words[0].start, sent)
        else:
            self.open_from = self.open_from or sent - MARGIN

    def _end(self, turn: Transcript, end: float) -> None:
        self.ended = max(self.ended, end)
        self.open_from = None
        self._last = turn.words[-1].text if turn.words else ""

    def _is_known(self, word: Word) -> bool:
        if word.start >= self._base:
            return False
        tail = word.start < self._base - 0.05 and word.end < self._base + TAIL
        return tail or _middle(word) < self._base or _plain(word.text) == _plain(self._last)

    def _after_expired(self, heard: Transcript) -> Transcript | None:
        """Return what follows the words of the turn that expired: they may have got other times."""
        parts, known = heard.text.split(), self._expired.text.split()
        repeated = [_plain(part) for part in parts[: len(known)]] == [
            _plain(part) for part in known
        ]
        if not repeated and heard.words:
            return heard  # another reading, whose words are distinguished by their times
        rest = parts[len(known) :]
        if not rest:
            return None
        timed = heard.words[len(known) :] if len(heard.words) == len(parts) else ()
        return replace(heard, text=" ".join(rest), words=timed)

    def _fresh(self, heard: Transcript) -> Transcript | None:
        if _middle(heard.words[-1]) >= self._until:
            return None
        old = 0
        while old < len(heard.words) and self._is_known(heard.words[old]):
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


def _plain(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _middle(word: Word) -> float:
    return (word.start + word.end) / 2
