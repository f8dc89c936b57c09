"""Playback of a prompt's newest response, as far as the client reports it. Pure."""

SLOWEST = 12.0  #: characters per second; slow speech has more
SLACK = 2.0  #: seconds; the next report may be late


class PlaybackState:
    """State of the newest response's playback.

    It plays from the first report until all of it was played, until the client cancels it, or
    until the rest must have been played since the last report.
    """

    def __init__(self) -> None:
        self.response_id: str | None = None  #: the newest response
        self._reported_at: float | None = None  # seconds
        self._is_stopped = False

    def begin(self, response_id: str) -> None:
        """Take a new response, which replaces the one before."""
        self.response_id, self._reported_at, self._is_stopped = response_id, None, False

    def report(self, response_id: str, now: float) -> None:
        """Take a client's report on a response."""
        if response_id == self.response_id:
            self._reported_at = now

    def stop(self, response_id: str | None) -> None:
        """Take the end of the playback of a response; None is any."""
        if response_id in (None, self.response_id):
            self._is_stopped = True

    def is_playing(self, unplayed: int, now: float) -> bool:
        """Return whether it still plays, with ``unplayed`` characters to come."""
        if self._is_stopped or self._reported_at is None or not unplayed:
            return False
        return now < self._reported_at + SLACK + unplayed / SLOWEST
