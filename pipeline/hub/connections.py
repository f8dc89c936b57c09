"""Accepted connections of the port: each a websocket or plain HTTP, as its first request says."""

import asyncio
from collections.abc import Callable
from typing import ClassVar, cast

from msgspec import Struct

from pipeline.hub.protocol_switch import FirstBytes
from pipeline.hub.socket import WatchedConnection
from pipeline.protocol.close_codes import Disconnect
from pipeline.runtime.tcp import reset


class PortConnections(Struct):
    """What all connections of one port share."""

    most: int  #: connections at once
    count: Callable[[str], Callable[[], None]]  #: by address; may raise ``Disconnect``
    http: Callable[[], asyncio.Protocol]  #: makes the protocol of a plain HTTP connection
    open_timeout: float  #: seconds for the head of the first request
    transports: set[asyncio.Transport] = set()

    def connection_class(self) -> type["PortConnection"]:
        """Return the class of this port's connections."""

        class Connection(PortConnection):
            port = self

        return Connection


class PortConnection(WatchedConnection):
    """A connection whose protocol is chosen by the head of its first request.

    It is registered from its first moment, so that each is closed at shutdown. One too many is
    reset at once; one whose first head does not come in time is closed.
    """

    port: ClassVar[PortConnections]
    _uncount: Callable[[], None] | None = None
    _first: FirstBytes | None = None  # while it is not known what the connection speaks
    _timer: asyncio.TimerHandle
    _http: asyncio.Protocol | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        port = self.port
        self.transport = transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        port.transports.add(transport)
        self._first = FirstBytes()
        self._timer = self.loop.call_later(port.open_timeout, transport.abort)
        try:
            self._uncount = port.count(self.peer)
        except Disconnect:
            transport.abort()
        if len(port.transports) > port.most:
            reset(transport)

    def data_received(self, data: bytes) -> None:
        if self._http is not None:
            self._http.data_received(data)
        elif self._first is None:
            super().data_received(data)
        elif (is_websocket := self._first.feed(data)) is not None:
            self._choose(self._first.data, is_websocket=is_websocket)

    def _choose(self, data: bytes, *, is_websocket: bool) -> None:
        self._timer.cancel()
        self._first = None
        if is_websocket:
            super().connection_made(self.transport)
            super().data_received(data)
            return
        self._http = self.port.http()
        self._http.connection_made(self.transport)
        self._http.data_received(data)

    def eof_received(self) -> None:
        if self._http is not None:
            self._http.eof_received()
        elif self._first is None:
            super().eof_received()

    def pause_writing(self) -> None:
        if self._http is None:
            super().pause_writing()
        else:
            self._http.pause_writing()

    def resume_writing(self) -> None:
        if self._http is None:
            super().resume_writing()
        else:
            self._http.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.port.transports.discard(self.transport)
        self._timer.cancel()
        if self._uncount is not None:
            self._uncount()
        if self._http is not None:
            self._http.connection_lost(exc)
        if self._http is None and self._first is None:
            super().connection_lost(exc)
        else:
            self.forget()
