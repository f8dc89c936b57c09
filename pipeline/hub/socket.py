"""One accepted websocket, written to within bounds."""

import asyncio
from contextlib import suppress

import anyio
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from pipeline.hub.access import ANYBODY, Grant
from pipeline.hub.protocol import LOST, CloseCode, Goodbye

_GOODBYES = (1000, 1005)  # 1001 is a page that was left, and may be there again at once
SEND = 2.0  #: seconds without room to write, then the connection is cut


class Connection(ServerConnection):
    """A websocket that counts how often its write buffer was emptied."""

    paused: bool
    resumes = 0
    grant = ANYBODY

    def resume_writing(self) -> None:
        super().resume_writing()
        self.resumes += 1


def remembering(transports: set[asyncio.Transport], most: int) -> type[Connection]:
    """Return a ``Connection`` that keeps its transport in ``transports`` while it lives.

    So that one whose handshake never ends is cut at the end, too; and past ``most``, at once.
    """

    class Remembered(Connection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            transports.add(self.transport)
            if len(transports) > most:
                self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            transports.discard(self.transport)
            super().connection_lost(exc)

    return Remembered


class Socket:
    """One accepted websocket, written to within bounds.

    ``write`` puts ready-made frames on the transport, as ``websockets.broadcast`` does: it may
    when the connection is open and no fragmented message is under way; with ``paused``, the
    transport's own high-water mark, it must not.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.scope = anyio.CancelScope()
        self.goodbye = Goodbye("", code=CloseCode.ENDED)
        self._stuck: tuple[float, int] | None = None  # since when, at which count of resumes

    @property
    def grant(self) -> Grant:
        return self.connection.grant

    def write(self, wire: bytes) -> bool:
        connection = self.connection
        if (
            connection.paused
            or connection.protocol.state is not State.OPEN
            or connection.send_in_progress is not None
            or connection.transport.is_closing()
        ):
            return False
        connection.transport.write(wire)
        return True

    @property
    def _open(self) -> bool:
        connection = self.connection
        return connection.protocol.state is State.OPEN and not connection.transport.is_closing()

    async def ready(self) -> None:
        connection = self.connection
        if connection.paused:
            with anyio.move_on_after(SEND) as patience:
                await self._drained()
            if patience.cancelled_caught:
                connection.transport.abort()
        if not self._open:
            raise Goodbye("the connection is gone", code=CloseCode.SLOW)

    async def _drained(self) -> None:
        with suppress(OSError):  # the connection broke: it is not open any more
            while self.connection.paused and self._open:
                await self.connection.drain()

    async def receive(self) -> bytes | str:
        try:
            return await self.connection.recv()
        except ConnectionClosed as closed:
            meant = closed.rcvd is not None and closed.rcvd.code in _GOODBYES
            code = CloseCode.ENDED if meant else LOST
            raise Goodbye("the other side left", code=code) from closed

    async def send(self, text: bytes) -> None:
        await self.ready()
        with anyio.move_on_after(SEND) as patience:
            try:
                await self.connection.send(text, text=True)
            except ConnectionClosed as closed:
                raise Goodbye("the connection is gone", code=CloseCode.SLOW) from closed
        if patience.cancelled_caught:
            self.connection.transport.abort()

    def leave(self, goodbye: Goodbye) -> None:
        """Have the conversation stop and the socket closed with ``goodbye``."""
        self.goodbye = goodbye
        self.scope.cancel()

    async def dismiss(self, goodbye: Goodbye) -> None:
        self.goodbye = goodbye
        await self.close()

    async def close(self) -> None:
        """Close with the goodbye that was said, and cut the connection if that takes long."""
        if self.goodbye.code == LOST:
            self.connection.transport.abort()
            return
        with anyio.move_on_after(SEND, shield=True) as patience:
            reason = str(self.goodbye).encode()[:120].decode(errors="ignore")
            await self.connection.close(self.goodbye.code, reason)
        if patience.cancelled_caught:
            self.connection.transport.abort()

    def watch(self, now: float) -> None:
        """Cut the connection when its buffer has not emptied for a while, whoever filled it.

        Or when it should have closed: a peer that goes on sending is listened to for ever.
        """
        connection = self.connection
        if not connection.paused and connection.protocol.state is State.OPEN:
            self._stuck = None
        elif self._stuck is None or self._stuck[1] != connection.resumes:
            self._stuck = now, connection.resumes
        elif now - self._stuck[0] > SEND:
            connection.transport.abort()
