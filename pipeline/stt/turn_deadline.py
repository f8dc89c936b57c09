"""Deadlines of an open turn whose server sends neither words nor its end. Pure.

A live transport is not a live recogniser: heartbeats and repeated partials do not count, only new
words do.
"""

from collections.abc import Callable
from typing import Literal

from pipeline.interfaces.stt import Heard, StreamClosed, StreamOpened, Transcript

FORCE_IN_SILENCE = 5.0  #: seconds without new words, the latest of them without speech
FORCE = 7.0  #: seconds without new words, whatever the audio holds
EXPIRE = 8.0  #: seconds without new words
LATEST = 9.0  #: seconds without new words, when a new connection may still find some
SILENCE = 3.0  #: seconds of audio that must hold no speech
GRACE = 2.0  #: seconds after the longest silence that the server tolerates in a turn

Verdict = Literal["force", "expire"]


class TurnDeadline:
    """Decides when the open turn of a stream is ended by force, and when without the server.

    =========================  ==================================================================
    since the last new words   verdict
    =========================  ==================================================================
    5 s, no speech             force, once: the server is to end the turn
    7 s                        force, once
    8 s, 9 s after a reconnect expire: the turn ends with its last partial
    =========================  ==================================================================

    Where the server is set to tolerate a longer silence in a turn, all three are later.
    """

    def __init__(self) -> None:
        self._order: int | None = None  # of the open turn
        self._text = ""
        self._since = 0.0  # when its last new words came
        self._waits_from = 0.0  # later, when the server had no chance to find more until then
        self._forced = False

    def hear(self, heard: Heard, now: float) -> None:
        """Note a value of the stream."""
        match heard:
            case Transcript(ended=True):
                if heard.text or heard.order == self._order:
                    self._order = None
            case Transcript(order, text):
                if text and (order != self._order or text != self._text):
                    self._order, self._text = order, text
                    self._since = self._waits_from = now
                    self._forced = False
            case StreamOpened():
                self.wait_from(now)
            case StreamClosed():
                self._order = None
            case _:
                pass

    def wait_from(self, now: float) -> None:
        """Begin the wait anew, up to ``LATEST``: the server has not had the latest audio yet."""
        self._waits_from, self._forced = now, False

    def postpone(self, now: float) -> None:
        """Begin the wait anew: the source is ahead of real time and waits for the server."""
        self._since = now
        self.wait_from(now)

    def verdict(self, now: float, tolerated: float, silent: Callable[[], bool]) -> Verdict | None:
        """Return what is to be done now.

        ``tolerated`` is the longest silence in a turn, in seconds, if it was configured; ``silent``
        returns whether the last ``SILENCE`` seconds of audio hold no speech, and is called only
        when it matters.
        """
        if self._order is None:
            return None
        later = max(0.0, tolerated + GRACE - FORCE_IN_SILENCE)
        waited = now - self._waits_from - later
        if waited >= EXPIRE or now - self._since - later >= LATEST:
            self._order = None
            return "expire"
        if not self._forced and (waited >= FORCE or (waited >= FORCE_IN_SILENCE and silent())):
            self._forced = True
            return "force"
        return None
