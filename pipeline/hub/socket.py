"""Accepted websocket with time and memory limits on sending."""

import asyncio
import math
import sys
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import anyio
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from pipeline.hub.auth.grants import UNRESTRICTED, Grant
from pipeline.hub.liveness import ConnectionSample, Liveness
from pipeline.protocol.close_codes import LOST, CloseCode, Disconnect
from pipeline.runtime.tcp import reset

if sys.platform == "linux":
    import fcntl
    import termios

_CLEAN_CLOSES = (1000, 1005)  # not 1001: a reloaded browser page may reconnect at once
SEND_TIMEOUT = 2.0  #: seconds without room to write, then the connection is reset
MAX_UNSENT = 1 << 18  #: bytes of pongs and events in the write buffer, then reading is paused
PING = b"\x89\x00"  #: a complete frame (RFC 6455 section 5.5.2)


class ReadingGate:
    """Pauses reading from a transport while at least one of several owners has a reason.

    The library pauses it while its queue of messages is full, this module while the write buffer
    is. Each would resume what the other has paused, and memory would grow without a bound.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._reasons: set[str] = set()

    def pause(self, reason: str) -> None:
        if not self._reasons:
            self._transport.pause_reading()
        self._reasons.add(reason)

    def resume(self, reason: str) -> None:
        if reason in self._reasons:
            self._reasons.remove(reason)
            if not self._reasons:
                self._transport.resume_reading()


class WatchedConnection(ServerConnection):
    """Websocket that counts pongs and flushes, and pauses reading while the peer does not read."""

    paused: bool
    reading: ReadingGate  #: set when the connection is made
    flushes = 0  #: number of times that the full write buffer was emptied
    pongs = 0
    sent = 0  #: bytes: events, replies, pongs, the handshake; not our own pings
    grant = UNRESTRICTED

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cleanup = ExitStack()  #: closed with the connection; ends its counts
        self._is_gone = False

    def count(self, cleanup: ExitStack) -> None:
        """Add counts that end with the connection, which may have ended already."""
        self.cleanup.push(cleanup)
        if self._is_gone:
            self.cleanup.close()

    @property
    def peer(self) -> str:
        """Address of the client."""
        return str((self.transport.get_extra_info("peername") or ("",))[0])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.reading = ReadingGate(self.transport)
        self.recv_messages.pause = partial(self.reading.pause, "full queue")
        self.recv_messages.resume = partial(self.reading.resume, "full queue")

    def forget(self) -> None:
        """Drop what the connection holds: it ends, and never was a websocket."""
        self._is_gone = True
        self.cleanup.close()
        self._break_cycles()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_gone = True
        self.cleanup.close()
        super().connection_lost(exc)
        self._break_cycles()

    def _break_cycles(self) -> None:
        """Break reference cycles: the connection would live until the next full collection.

        There are two in websockets 17: the subprotocol selection, which only the handshake
        needs, and the traceback of the parser's exception.
        """
        vars(self.protocol).pop("select_subprotocol", None)
        if self.protocol.parser_exc is not None:
            self.protocol.parser_exc.__traceback__ = None

    def resume_writing(self) -> None:
        super().resume_writing()
        self.flushes += 1
        self.reading.resume("full write buffer")

    def acknowledge_pings(self, data: bytes) -> None:
        super().acknowledge_pings(data)
        self.pongs += 1

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.paused and self.transport.get_write_buffer_size() > MAX_UNSENT:
            # each ping of a flood would add a pong to the buffer
            self.reading.pause("full write buffer")

    def send_data(self) -> None:
        self.sent += sum(map(len, self.protocol.writes))
        super().send_data()


class Socket:
    """Accepted websocket with time and memory limits on sending.

    ``write`` puts encoded frames on the transport, as ``websockets.broadcast`` does. This is
    allowed while the connection is open and no fragmented message is being sent, but not while
    ``paused``, which is the transport's own high-water mark.
    """

    def __init__(self, connection: WatchedConnection) -> None:
        self.connection = connection
        self.scope = anyio.CancelScope()
        self.is_source = False
        self.disconnect = Disconnect("", code=CloseCode.ENDED)
        self._liveness = Liveness(anyio.current_time())
        self._deadline = math.inf

    @property
    def grant(self) -> Grant:
        return self.connection.grant

    def limit_time(self) -> None:
        """Start the connection's time limit, if its grant has one."""
        if self.grant.lasts:
            self._deadline = anyio.current_time() + self.grant.lasts

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
        connection.sent += len(wire)
        return True

    @property
    def _open(self) -> bool:
        connection = self.connection
        return connection.protocol.state is State.OPEN and not connection.transport.is_closing()

    async def ready(self) -> None:
        connection = self.connection
        if connection.paused:
            with anyio.move_on_after(SEND_TIMEOUT) as timeout:
                await self._drained()
            if timeout.cancelled_caught:
                reset(connection.transport)
        if not self._open:
            raise Disconnect("the connection is gone", code=CloseCode.SLOW)

    async def _drained(self) -> None:
        with suppress(OSError):  # the connection broke; ``_open`` is False then
            while self.connection.paused and self._open:
                await self.connection.drain()

    async def receive(self) -> bytes | str:
        if self._deadline == math.inf:
            return await self._receive()
        if anyio.current_time() < self._deadline:
            with anyio.CancelScope(deadline=self._deadline):
                return await self._receive()
        raise Disconnect(
            "the token's connection time is over: reconnect with another token",
            code=CloseCode.EXPIRED,
        )

    async def _receive(self) -> bytes | str:
        try:
            return await self.connection.recv()
        except ConnectionClosed as closed:
            is_clean = closed.rcvd is not None and closed.rcvd.code in _CLEAN_CLOSES
            code = CloseCode.ENDED if is_clean else LOST
            raise Disconnect("the client closed the connection", code=code) from closed

    async def send(self, text: bytes) -> None:
        await self.ready()
        with anyio.move_on_after(SEND_TIMEOUT) as timeout:
            try:
                await self.connection.send(text, text=True)
            except ConnectionClosed as closed:
                raise Disconnect("the connection is gone", code=CloseCode.SLOW) from closed
        if timeout.cancelled_caught:
            reset(self.connection.transport)

    def cancel_with(self, disconnect: Disconnect) -> None:
        """Cancel the socket's handler and close the socket with ``disconnect``."""
        self.disconnect = disconnect
        self.scope.cancel()

    async def close_now(self, disconnect: Disconnect) -> None:
        self.disconnect = disconnect
        await self.close()

    async def close(self) -> None:
        """Close with ``disconnect``; reset the connection after ``SEND_TIMEOUT``."""
        if self.disconnect.code == LOST:
            reset(self.connection.transport)
            return
        with anyio.move_on_after(SEND_TIMEOUT, shield=True) as timeout:
            reason = str(self.disconnect).encode()[:120].decode(errors="ignore")
            await self.connection.close(self.disconnect.code, reason)
        if timeout.cancelled_caught:
            reset(self.connection.transport)

    def watch(self, now: float) -> None:
        """Reset the connection when the peer does not read; see ``Liveness``.

        Also when it should have closed: a peer that keeps sending could otherwise keep it open.
        """
        connection = self.connection
        full = connection.paused or connection.protocol.state is not State.OPEN
        waiting = connection.transport.get_write_buffer_size() + _unacknowledged(connection)
        signs = ConnectionSample(
            connection.sent, waiting, connection.pongs, full, connection.flushes
        )
        match self._liveness.check(now, signs):
            case "ping":
                connection.transport.write(PING)
            case "cut":
                reset(connection.transport)
            case "well":
                pass


def _unacknowledged(connection: WatchedConnection) -> int:
    """Return the bytes in the kernel that the peer's machine has not acknowledged.

    Linux returns this for TIOCOUTQ on a TCP socket (tcp(7), SIOCOUTQ).
    """
    if sys.platform == "linux":
        tcp = connection.transport.get_extra_info("socket")  # uvloop: None once it is closed
        with suppress(OSError, ValueError):  # raised by asyncio once it is closed
            if tcp is not None:
                answer = fcntl.ioctl(tcp.fileno(), termios.TIOCOUTQ, bytes(4))
                return int.from_bytes(answer, sys.byteorder)
    return 0
