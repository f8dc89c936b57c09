"""Playback of a prompt's responses, as far as the client reports it. Pure."""

from pipeline.protocol.events import ResponsePlayed
from pipeline.responses.alignment import PlaybackReport
from pipeline.responses.history import History
from pipeline.responses.steps import Publish, Step

SLOWEST = 12.0  #: characters per second; slow speech has more
SLACK = 2.0  #: seconds; the next report may be late


class Playback:
    """Playback of the newest response; reports also cut older ones in the history.

    It plays from the first report until all of it was played, until the client cancels it, or
    until the rest must have been played since the last report.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._newest: str | None = None  # a response id
        self._reported_at: float | None = None  # seconds
        self._is_stopped = False

    def begin(self, response_id: str) -> None:
        """Take a new response, which replaces the one before."""
        self._newest, self._reported_at, self._is_stopped = response_id, None, False

    def stop(self, response_id: str | None) -> None:
        """Take the end of the playback of a response; None is any."""
        if response_id in (None, self._newest):
            self._is_stopped = True

    def report(self, response_id: str, report: PlaybackReport, now: float) -> list[Step]:
        """Take what the client played of a response, which may have ended."""
        if response_id == self._newest:
            self._reported_at = now
        played = self._history.play(response_id, report)
        if played is None:
            return []
        event = ResponsePlayed(
            response_id=response_id,
            text=played.text,
            characters=len(played.text),
            interrupted=played.interrupted,
        )
        return [Publish(event)]

    def is_playing(self, now: float) -> bool:
        """Return whether the newest response still plays."""
        if self._newest is None or self._reported_at is None or self._is_stopped:
            return False
        unplayed = self._history.unplayed(self._newest)
        return unplayed > 0 and now < self._reported_at + SLACK + unplayed / SLOWEST
