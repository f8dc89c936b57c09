"""Gaps of a recording: the silence that its timestamps leave between blocks of sound. Pure."""

#: seconds between a timestamp and the end of the sound before it that are no gap: containers round
#: to milliseconds, and codecs begin some tens of milliseconds before or after
SLACK = 0.2
LONGEST_GAP = 4 * 3600.0  #: seconds; a longer one is an error of the timestamps, and not played


class GapFiller:
    """Position in a recording, with gaps and a late start kept as silence.

    Timestamps that go back, as where recordings were joined, begin a new count.
    """

    def __init__(self, start: float | None = None) -> None:
        """``start``: timestamp of the recording's beginning; None for that of the first block."""
        self._origin = start
        self.position = 0.0  #: seconds played, silence included

    def silence_before(self, at: float | None, seconds: float) -> float:
        """Return the silence before a block of ``seconds`` with timestamp ``at``, in seconds."""
        silence = 0.0
        if at is not None:
            if self._origin is None:
                self._origin = at
            ahead = at - self._origin - self.position
            if SLACK < ahead <= LONGEST_GAP:
                silence = ahead
            elif abs(ahead) > SLACK:
                self._origin += ahead
        self.position += silence + seconds
        return silence
