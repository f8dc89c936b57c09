"""One accepted websocket, written to within bounds."""

import asyncio
import math
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import anyio
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from pipeline.hub.auth.grants import ANYBODY, Grant
from pipeline.hub.liveness import Liveness, Signs
from pipeline.protocol.close_codes import LOST, CloseCode, Disconnect
from pipeline.runtime.tcp import reset

if sys.platform == "linux":
    import fcntl
    import termios

_GOODBYES = (1000, 1005)  # 1001 is a page that was left, and may be there again at once
SEND = 2.0  #: seconds without room to write, then the connection is cut
ANSWERS = 1 << 18  #: bytes of pongs and events that may wait, then nothing more is read
PING = b"\x89\x00"  #: a whole frame (RFC 6455 section 5.5.2)


class WatchedConnection(ServerConnection):
    """A websocket that counts signs of life, and does not listen to one who does not read."""

    paused: bool
    flushes = 0  #: times that the full write buffer has emptied
    pongs = 0
    grant = ANYBODY
    _deaf = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stay = ExitStack()  #: closed when it is gone: counts it no longer
        self._is_gone = False

    def count(self, stay: ExitStack) -> None:
        """Be counted until gone; it may be by now."""
        self.stay.push(stay)
        if self._is_gone:
            self.stay.close()

    @property
    def peer(self) -> str:
        """The address of the other end."""
        return str((self.transport.get_extra_info("peername") or ("",))[0])

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_gone = True
        self.stay.close()
        super().connection_lost(exc)
        self._let_go()

    def _let_go(self) -> None:
        """Undo what makes a connection hold itself: each would wait for a rare full collection.

        Those are two, in websockets 17: the choice of a subprotocol, which only the handshake
        needs, and the frames that the parser's end went through.
        """
        vars(self.protocol).pop("select_subprotocol", None)
        if self.protocol.parser_exc is not None:
            self.protocol.parser_exc.__traceback__ = None

    def resume_writing(self) -> None:
        super().resume_writing()
        self.flushes += 1
        if self._deaf:
            self._deaf = False
            self.transport.resume_reading()

    def acknowledge_pings(self, data: bytes) -> None:
        super().acknowledge_pings(data)
        self.pongs += 1

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.paused and self.transport.get_write_buffer_size() > ANSWERS:
            self._deaf = True  # every ping of a flood would make a pong that waits here
            self.transport.pause_reading()


def remembering(
    transports: set[asyncio.Transport],
    most: int,
    count_connection: Callable[[str], Callable[[], None]],
) -> type[WatchedConnection]:
    """Return a ``WatchedConnection`` that keeps its transport in ``transports`` while it lives.

    So that one whose handshake never ends is cut at the end, too; and past ``most``, at once.
    So is one for whose address ``count_connection`` raises ``Disconnect``; else what it returns
    is called at its end.
    """

    class Remembered(WatchedConnection):
        _depart: Callable[[], None] | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            transports.add(self.transport)
            try:
                self._depart = count_connection(self.peer)
            except Disconnect:
                self.transport.abort()
            if len(transports) > most:
                reset(self.transport)

        def connection_lost(self, exc: Exception | None) -> None:
            transports.discard(self.transport)
            if self._depart is not None:
                self._depart()
            super().connection_lost(exc)

    return Remembered


class Socket:
    """One accepted websocket, written to within bounds.

    ``write`` puts ready-made frames on the transport, as ``websockets.broadcast`` does: it may
    when the connection is open and no fragmented message is under way; with ``paused``, the
    transport's own high-water mark, it must not.
    """

    def __init__(self, connection: WatchedConnection) -> None:
        self.connection = connection
        self.scope = anyio.CancelScope()
        self.is_source = False
        self.goodbye = Disconnect("", code=CloseCode.ENDED)
        self._pulse = Liveness(anyio.current_time())
        self._sent = 0  # bytes
        self._until = math.inf

    @property
    def grant(self) -> Grant:
        return self.connection.grant

    def limit_time(self) -> None:
        """Begin the time that its grant gives the connection, if it gives one."""
        if self.grant.lasts:
            self._until = anyio.current_time() + self.grant.lasts

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
        self._sent += len(wire)
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
                reset(connection.transport)
        if not self._open:
            raise Disconnect("the connection is gone", code=CloseCode.SLOW)

    async def _drained(self) -> None:
        with suppress(OSError):  # the connection broke: it is not open any more
            while self.connection.paused and self._open:
                await self.connection.drain()

    async def receive(self) -> bytes | str:
        if self._until == math.inf:
            return await self._next()
        if anyio.current_time() < self._until:
            with anyio.CancelScope(deadline=self._until):
                return await self._next()
        raise Disconnect("the token's time is over: come with another one", code=CloseCode.EXPIRED)

    async def _next(self) -> bytes | str:
        try:
            return await self.connection.recv()
        except ConnectionClosed as closed:
            meant = closed.rcvd is not None and closed.rcvd.code in _GOODBYES
            code = CloseCode.ENDED if meant else LOST
            raise Disconnect("the other side left", code=code) from closed

    async def send(self, text: bytes) -> None:
        await self.ready()
        with anyio.move_on_after(SEND) as patience:
            try:
                await self.connection.send(text, text=True)
            except ConnectionClosed as closed:
                raise Disconnect("the connection is gone", code=CloseCode.SLOW) from closed
        if patience.cancelled_caught:
            reset(self.connection.transport)

    def leave(self, goodbye: Disconnect) -> None:
        """Have the conversation stop and the socket closed with ``goodbye``."""
        self.goodbye = goodbye
        self.scope.cancel()

    async def close_now(self, goodbye: Disconnect) -> None:
        self.goodbye = goodbye
        await self.close()

    async def close(self) -> None:
        """Close with the goodbye that was said, and cut the connection if that takes long."""
        if self.goodbye.code == LOST:
            reset(self.connection.transport)
            return
        with anyio.move_on_after(SEND, shield=True) as patience:
            reason = str(self.goodbye).encode()[:120].decode(errors="ignore")
            await self.connection.close(self.goodbye.code, reason)
        if patience.cancelled_caught:
            reset(self.connection.transport)

    def watch(self, now: float) -> None:
        """Cut the connection when the other side does not read; see ``Liveness``.

        Or when it should have closed: a peer that goes on sending is listened to for ever.
        """
        connection = self.connection
        full = connection.paused or connection.protocol.state is not State.OPEN
        waiting = connection.transport.get_write_buffer_size() + _unacknowledged(connection)
        signs = Signs(self._sent, waiting, connection.pongs, full, connection.flushes)
        match self._pulse.check(now, signs):
            case "ping":
                connection.transport.write(PING)
            case "cut":
                reset(connection.transport)
            case "well":
                pass


def _unacknowledged(connection: WatchedConnection) -> int:
    """Return how many bytes the kernel holds that the other machine has not acknowledged.

    Linux answers this to TIOCOUTQ on a TCP socket (tcp(7), SIOCOUTQ).
    """
    if sys.platform == "linux":
        tcp = connection.transport.get_extra_info("socket")  # uvloop: None once it is closed
        with suppress(OSError, ValueError):  # likewise, but asyncio's
            if tcp is not None:
                answer = fcntl.ioctl(tcp.fileno(), termios.TIOCOUTQ, bytes(4))
                return int.from_bytes(answer, sys.byteorder)
    return 0
