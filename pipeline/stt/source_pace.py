"""Pace of the source: one that is ahead of real time waits for the server."""

from collections.abc import Callable

import anyio

from pipeline.stt.connection import SttConnection
from pipeline.stt.pacing import TokenBucket
from pipeline.stt.replay import Replay

REAL_TIME = 1.0  #: seconds of audio per second; up to it a source is live, and never waits
SOURCE_BURST = 5.0  #: seconds of audio that a source may send at once, faster than real time
#: seconds of audio that a source ahead of real time may have sent and the server not read; less
#: than ``watchdog.BEHIND``
LEAD = 2.0
LOOK = 0.05  #: seconds until the next look, while nothing can be confirmed


class SourcePace:
    """Slows down a source that is faster than real time to what the server can take."""

    def __init__(self, replay: Replay, bytes_per_second: int) -> None:
        self.holds = False  #: the source waits for the server
        self._stopped = False
        self._replay = replay
        self._lead = LEAD * bytes_per_second
        self._server = TokenBucket(0.0, SOURCE_BURST)
        self._real_time = TokenBucket(REAL_TIME, SOURCE_BURST)

    def limit(self, pace: float) -> None:
        """Let audio come at ``pace`` times real time from now on; 0 is what the server reads."""
        self._server.rate = pace

    def stop(self) -> None:
        """Let the source wait no more: the stream is over."""
        self._stopped = True

    async def wait(self, seconds: float, connection: Callable[[], SttConnection | None]) -> None:
        """Wait before ``seconds`` of audio are taken; live audio never waits."""
        now = anyio.current_time()
        if self._server.rate:
            wait = self._server.take(seconds, now)
            if wait:
                await anyio.sleep(wait)
        elif self._real_time.take(seconds, now):
            self.holds = True
            try:
                await self._catch_up(connection)
            finally:
                self.holds = False

    async def _catch_up(self, current: Callable[[], SttConnection | None]) -> None:
        """Return once less than ``LEAD`` of the audio has not been read by the server."""
        while not self._stopped:
            connection = current()
            if connection is not None and self._replay.end - connection.confirmed < self._lead:
                return
            if connection is None or connection.confirmed == connection.cursor:
                await anyio.sleep(LOOK)  # until there is one, or until more is sent on it
            else:
                await connection.confirm()
