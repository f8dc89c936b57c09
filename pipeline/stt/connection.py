"""One connection of a stream: its socket, its protocol, and how much audio has been sent on it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from pipeline.interfaces.stt import Heard
from pipeline.interfaces.stt_protocol import SttEndpoint
from pipeline.stt.intake import ReadingPace
from pipeline.stt.pacing import TokenBucket
from pipeline.stt.replay import Replay
from pipeline.stt.transport import Closed, Dial, SttSocket

log = logging.getLogger(__name__)

CLOSE_AFTER_ERROR = 0.2  #: seconds an error message may be ahead of the close that follows it
BURST = 1.0  #: seconds of audio that may be sent at once


class SttConnection:
    """Sends audio from a replay buffer and receives what the server recognises."""

    def __init__(
        self, endpoint: SttEndpoint, socket: SttSocket, audio: Replay, *, engine: int, pace: float
    ) -> None:
        self.endpoint = endpoint
        self.engine = engine  #: its place among the engines of the stream
        self.protocol = endpoint.protocol()
        self.opened = anyio.current_time()
        self.cursor = 0  #: bytes of the session's audio; the next to be sent
        self.endpoint_at: int | None = None  #: bytes; where the open turn is to be ended
        self.confirmed = 0  #: bytes of the session's audio; the server has read what is before
        self.stalled_at = -1  #: bytes; where a turn was ended because the source sent no audio
        self.replaced = False  #: this connection ends, but the stream goes on
        self.unread: list[Heard] = []  #: values that came before ``receive`` was called
        self._socket = socket
        self._audio = audio
        self._bucket = TokenBucket(pace, BURST)
        self._reading = ReadingPace()
        self._frame = endpoint.bytes_per_second // 20  # 50 ms
        self._bytes_per_second = endpoint.bytes_per_second

    @property
    def caught_up(self) -> bool:
        return self.cursor == self._audio.end

    @property
    def behind(self) -> float:
        """Seconds of audio that wait to be sent."""
        return (self._audio.end - self.cursor) / self._bytes_per_second

    @property
    def sent(self) -> float:
        """Seconds on the session's clock up to which audio has been sent."""
        return self.protocol.origin + self.protocol.progress.sent

    @property
    def ahead(self) -> float:
        """Seconds of audio that were sent faster than real time."""
        elapsed = anyio.current_time() - self.opened
        return max(0.0, self.protocol.progress.sent - elapsed)

    # --- opening ---------------------------------------------------------------------------

    async def begin(self, start: Callable[[], int]) -> None:
        """Wait until the server confirms the session; ``start`` then returns where audio starts.

        Raises a ``SttError`` when it does not within ``connect_timeout``.
        """
        with anyio.move_on_after(self.endpoint.connect_timeout) as waiting:
            for message in self.protocol.open():
                await self._socket.send(message)
            while self.protocol.state == "opening":
                self.unread += await self._step(start)
        if waiting.cancelled_caught:
            raise self.protocol.begin_timeout(self.endpoint.connect_timeout)

    def _start_at(self, position: int) -> None:
        self.cursor = self.confirmed = position
        self.protocol.origin = position / self._bytes_per_second

    # --- audio out -------------------------------------------------------------------------

    async def try_send(self, frame: bytes) -> bool:
        """Send a frame that was appended just now, if no audio is waiting before it.

        Returns whether it was sent; if not, ``send_next`` sends it later. The source must not
        wait for the server, so a server that has stopped reading is left to ``send_next``.
        """
        size = len(frame)
        if self.cursor != self._audio.end - size or self.endpoint_at is not None:
            return False
        if not self._socket.writable:
            return False
        seconds = size / self._bytes_per_second
        if not self._bucket.ready(seconds, anyio.current_time()):
            return False
        await self._send(frame)
        return True

    async def send_next(self, *, rest: bool = False) -> bool:
        """Send the next piece of waiting audio, at the permitted pace.

        Returns whether there was one. Less than 50 ms is kept back, unless it is the ``rest``.
        """
        piece = self._next_piece(rest=rest)
        if not piece:
            await self._end_turn(rest=True)
            return False
        seconds = len(piece) / self._bytes_per_second
        wait = self._bucket.take(seconds, anyio.current_time())
        if wait:
            await anyio.sleep(wait)
        await self._send(piece)
        await self._end_turn()
        return True

    def _next_piece(self, *, rest: bool) -> bytes:
        waiting = self._audio.end - self.cursor
        if waiting >= 2 * self._frame:
            return self._audio.read(self.cursor, self._frame)
        if waiting >= self._frame or rest:
            return self._audio.read(self.cursor, waiting)
        return b""

    async def _send(self, piece: bytes) -> None:
        # Counted first: a send that is cancelled may have been written all the same.
        self.cursor += len(piece)
        await self._socket.send(self.protocol.send(piece))

    async def _end_turn(self, *, rest: bool = False) -> None:
        if self.endpoint_at is not None and (rest or self.cursor >= self.endpoint_at):
            self.endpoint_at = None
            await self.force_endpoint()

    async def confirm(self) -> None:
        """Wait until the server has read the audio that was sent so far."""
        cursor = self.cursor
        await self._socket.confirm()
        self.confirmed = cursor

    # --- control messages ------------------------------------------------------------------

    async def force_endpoint(self) -> None:
        """End the open turn now, if the server can."""
        if self.endpoint.capabilities.force_endpoint:
            await self._socket.send(self.protocol.force_endpoint())

    async def update(self, changes: Mapping[str, Any]) -> None:
        """Send a change of parameters, which must have been checked."""
        await self._socket.send(self.protocol.update(changes))

    async def terminate(self) -> None:
        """Request the end of an open session."""
        if self.protocol.state == "open":
            await self._socket.send(self.protocol.terminate())

    # --- messages in -----------------------------------------------------------------------

    async def receive(self) -> Sequence[Heard]:
        """Return the values in the next message.

        Raises a ``SttError`` when the connection ended, but not as agreed.
        """
        if self.unread:
            return self.take_unread()
        # before a message is read, so that none is lost when the wait is cancelled
        if self._reading.wait:
            await anyio.sleep(self._reading.wait)
        elif self._reading.yields():
            await checkpoint()
        return await self._step()

    def take_unread(self) -> Sequence[Heard]:
        """Return the values that came while the session was opened."""
        values, self.unread = self.unread, []
        return values

    async def _step(self, start: Callable[[], int] | None = None) -> Sequence[Heard]:
        try:
            data = await (self._last() if self.protocol.failed else self._socket.receive())
        except Closed as closed:
            return self.protocol.close(closed.code, closed.reason)
        except TimeoutError:
            return self.protocol.close(1006)
        if start is not None:
            self._start_at(start())
        self._reading.note(len(data), anyio.current_time())
        skipped = self.protocol.progress.skipped
        values = self.protocol.receive(data, anyio.current_time())
        if self.protocol.note:
            self._log(self.protocol.note, before=skipped)
        return values

    def _log(self, note: str, *, before: int) -> None:
        """Log a note; of the skipped messages the first, second, fourth, eighth ... as warnings."""
        skipped = self.protocol.progress.skipped
        warns = skipped > before and skipped.bit_count() == 1
        level = logging.WARNING if warns else logging.DEBUG
        count = f" ({skipped} so far)" if skipped > before else ""
        log.log(level, "speech-to-text at %s: %s%s", self.endpoint.host, note, count)

    async def _last(self) -> bytes:
        with anyio.fail_after(CLOSE_AFTER_ERROR):
            return await self._socket.receive()

    # --- the end ---------------------------------------------------------------------------

    def abort(self, reason: str) -> None:
        """Drop the connection; ``receive`` raises an error with this reason."""
        log.info("dropping the connection to speech-to-text at %s: %s", self.endpoint.host, reason)
        self._socket.abort(reason)

    async def close(self) -> None:
        """Close the connection; end the session first: it is billed until the server knows."""
        running = self.protocol.state in ("opening", "open")
        await self._socket.leave(self.protocol.terminate() if running else None)


async def open_connection(  # noqa: PLR0913 - all of one connection
    endpoint: SttEndpoint,
    dial: Dial,
    audio: Replay,
    start: Callable[[], int],
    *,
    engine: int,
    pace: float,
) -> SttConnection:
    """Open a connection and wait until the server has confirmed the session.

    Raises ``SttRefused``, ``SttBusy`` or ``SttLost``.
    """
    connection = SttConnection(endpoint, await dial(endpoint), audio, engine=engine, pace=pace)
    try:
        await connection.begin(start)
    except BaseException:
        await connection.close()
        raise
    return connection
