"""Bounds on the messages of one server: how fast they are read, which partials are merged. Pure.

A recogniser sends a handful of messages per second. One that sends thousands must not take the
event loop from the other sessions, nor fill this session's log.
"""

import math
from collections.abc import Sequence

from pipeline.interfaces.stt import Heard, Transcript
from pipeline.stt.pacing import TokenBucket

MESSAGES = 500.0  #: per second; further ones wait in the socket, and then at the server
MESSAGES_AT_ONCE = 2000.0
MESSAGE = 8 * 2**10  #: bytes; a longer message counts as several
IN_A_ROW = 16  #: messages after which other tasks get a turn
PARTIALS = 20.0  #: per second; of further ones only the newest is delivered
PARTIALS_AT_ONCE = 40.0


class ReadingPace:
    """Decides how long to wait before the next message is read."""

    def __init__(self) -> None:
        self.wait = 0.0  #: seconds before the next message is read
        self._bucket = TokenBucket(MESSAGES, MESSAGES_AT_ONCE)
        self._in_a_row = 0

    def note(self, size: int, now: float) -> None:
        """Record that a message of ``size`` bytes was read."""
        self.wait = self._bucket.take(1 + size / MESSAGE, now)

    def yields(self) -> bool:
        """Return whether other tasks get a turn first."""
        self._in_a_row = (self._in_a_row + 1) % IN_A_ROW
        return not self._in_a_row


class PartialMerge:
    """Holds a partial back while they come too fast: the next one replaces it."""

    def __init__(self) -> None:
        self._bucket = TokenBucket(PARTIALS, PARTIALS_AT_ONCE)
        self._held: Transcript | None = None

    def add(self, heard: Heard, now: float) -> Sequence[Heard]:
        """Return the values to deliver now, in order."""
        held, self._held = self._held, None
        if isinstance(heard, Transcript):
            if held is not None and held.order == heard.order:
                held = None  # replaced
            if not heard.ended and not self._bucket.ready(1, now):
                self._held, heard = heard, held or heard
                return () if heard is self._held else (heard,)
        return (heard,) if held is None else (held, heard)

    def wait(self, now: float) -> float:
        """Return the seconds until the partial that is held back is due."""
        return math.inf if self._held is None else self._bucket.until(1, now)

    def release(self, now: float) -> Sequence[Heard]:
        """Return the partial that is held back, if there is one, to be delivered now."""
        held, self._held = self._held, None
        if held is None:
            return ()
        self._bucket.take(1, now)
        return (held,)
