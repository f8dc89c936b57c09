"""One connection at work: its socket, its link, and how far the audio has gone on it."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import anyio

from pipeline.interfaces.stt import Heard
from pipeline.stt.assemblyai import wire
from pipeline.stt.assemblyai.endpoint import SttEndpoint
from pipeline.stt.assemblyai.protocol import StreamProtocol
from pipeline.stt.pacing import Bucket
from pipeline.stt.replay import Replay

log = logging.getLogger(__name__)

CLOSE_AFTER_ERROR = 0.2  #: seconds an Error may be ahead of the close that follows it
BURST = 1.0  #: seconds of audio that may go at once


class SttSocket(Protocol):
    """What a call needs of a connection; ``stt.websocket`` satisfies it."""

    @property
    def easy(self) -> bool:
        """Whether a message can be sent now without a wait."""
        ...

    async def send(self, message: bytes | str) -> None: ...

    async def receive(self) -> bytes: ...

    def abort(self, reason: str) -> None: ...

    async def leave(self, last: str | None) -> None: ...


Dial = Callable[[SttEndpoint], Awaitable[SttSocket]]


class SttConnection:
    """Sends audio from a replay buffer and reads what comes back."""

    def __init__(
        self, connection: SttEndpoint, socket: SttSocket, audio: Replay, *, pace: float
    ) -> None:
        self.protocol = StreamProtocol(connection)
        self.opened = anyio.current_time()
        self.cursor = 0  #: bytes of the session's audio; the next to be sent
        self.forced: int | None = None  #: bytes; where the open turn is to be ended
        self.ended_mute = -1  #: bytes; where a turn was ended because the source was mute
        self.moving = False  #: it ends, but not the stream
        self.said: list[Heard] = []  #: heard before anybody listened
        self._connection = connection
        self._socket = socket
        self._audio = audio
        self._bucket = Bucket(pace, BURST)
        self._frame = connection.bytes_per_second // 20  # 50 ms
        self._second = connection.bytes_per_second

    @property
    def caught_up(self) -> bool:
        return self.cursor == self._audio.end

    @property
    def sent(self) -> float:
        """Seconds on the session's clock up to which audio has been sent."""
        return self.protocol.origin + self.protocol.sent

    # --- opening ---------------------------------------------------------------------------

    async def begin(self, place: Callable[[], int]) -> None:
        """Wait for Begin; ``place`` says then from which byte on this connection will hear.

        Raises a ``SttError`` when there is none within ``connect_timeout``.
        """
        with anyio.move_on_after(self._connection.connect_timeout) as waiting:
            while self.protocol.state == "opening":
                self.said += await self._step(place)
        if waiting.cancelled_caught:
            raise self.protocol.silent(self._connection.connect_timeout)

    def _place(self, position: int) -> None:
        self.cursor = position
        self.protocol.origin = position / self._second

    # --- audio out -------------------------------------------------------------------------

    async def pass_on(self, frame: bytes) -> bool:
        """Send a frame that was appended just now, if nothing is waiting before it.

        Returns whether it was taken; if not, ``push`` gets to it. Whoever brings audio waits for
        no server, so one that has stopped reading is left to ``push``.
        """
        size = len(frame)
        if self.cursor != self._audio.end - size or self.forced is not None:
            return False
        if not self._socket.easy:
            return False
        seconds = size / self._second
        if not self._bucket.ready(seconds, anyio.current_time()):
            return False
        await self._send(frame)
        return True

    async def push(self, *, rest: bool = False) -> bool:
        """Send the next piece of waiting audio, at the pace that is allowed.

        Returns whether there was one. Less than 50 ms is kept back, unless it is the ``rest``.
        """
        piece = self._piece(rest=rest)
        if not piece:
            await self._force(rest=True)
            return False
        seconds = len(piece) / self._second
        wait = self._bucket.take(seconds, anyio.current_time())
        if wait:
            await anyio.sleep(wait)
        await self._send(piece)
        await self._force()
        return True

    def _piece(self, *, rest: bool) -> bytes:
        waiting = self._audio.end - self.cursor
        if waiting >= 2 * self._frame:
            return self._audio.read(self.cursor, self._frame)
        if waiting >= self._frame or rest:
            return self._audio.read(self.cursor, waiting)
        return b""

    async def _send(self, piece: bytes) -> None:
        # Counted first: a send that is cancelled has been written all the same.
        self.cursor += len(piece)
        self.protocol.send(piece)
        await self._socket.send(piece)

    async def _force(self, *, rest: bool = False) -> None:
        if self.forced is not None and (rest or self.cursor >= self.forced):
            self.forced = None
            await self._socket.send(wire.FORCE_ENDPOINT)

    # --- messages --------------------------------------------------------------------------

    async def tell(self, message: str) -> None:
        """Send a control message."""
        await self._socket.send(message)

    async def terminate(self) -> None:
        if self.protocol.state == "open":
            await self._socket.send(self.protocol.terminate())

    async def heard(self) -> Sequence[Heard]:
        """Return what the next message says.

        Raises a ``SttError`` when the connection ended, but not as agreed.
        """
        if self.said:
            said, self.said = self.said, []
            return said
        return await self._step()

    async def _step(self, place: Callable[[], int] | None = None) -> Sequence[Heard]:
        try:
            data = await (self._last() if self.protocol.failed else self._socket.receive())
        except wire.Closed as closed:
            return self.protocol.close(closed.code, closed.reason)
        except TimeoutError:
            return self.protocol.close(1006)
        if place is not None:
            self._place(place())
        heard = self.protocol.receive(data, anyio.current_time())
        if self.protocol.note:
            log.debug("speech-to-text at %s: %s", self._connection.host, self.protocol.note)
        return heard

    async def _last(self) -> bytes:
        with anyio.fail_after(CLOSE_AFTER_ERROR):
            return await self._socket.receive()

    # --- the end ---------------------------------------------------------------------------

    def give_up(self, reason: str) -> None:
        """Drop the connection; ``heard`` raises this as the reason."""
        log.info("speech-to-text at %s is given up: %s", self._connection.host, reason)
        self._socket.abort(reason)

    async def leave(self) -> None:
        """Say goodbye: the server bills until it is told to end."""
        last = wire.TERMINATE if self.protocol.state in ("opening", "open") else None
        await self._socket.leave(last)


async def open_connection(
    connection: SttEndpoint,
    dial: Dial,
    audio: Replay,
    place: Callable[[], int],
    pace: float,
) -> SttConnection:
    """Open a connection and wait until the server has begun.

    Raises ``SttRefused``, ``SttBusy`` or ``SttLost``.
    """
    call = SttConnection(connection, await dial(connection), audio, pace=pace)
    try:
        await call.begin(place)
    except BaseException:
        await call.leave()
        raise
    return call
