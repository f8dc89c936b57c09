"""Wall-clock timestamps of events: ISO 8601, UTC, in milliseconds. Pure."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], int]  #: nanoseconds since 1970, as ``time.time_ns``


class Timestamps:
    """Formats a timestamp for every event; the date only once a second."""

    __slots__ = ("_clock", "_second", "_text")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = -1
        self._text = ""

    def __call__(self) -> str:
        """Return the time now, such as ``2026-03-01T09:30:00.250Z``."""
        second, rest = divmod(self._clock() // 1_000_000, 1000)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._text}.{rest:03d}Z"

    def in_seconds(self, seconds: float) -> str:
        """Return the time in so many seconds."""
        moment = datetime.fromtimestamp(self._clock() / 1e9 + seconds, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
