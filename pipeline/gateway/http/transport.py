"""HTTP/1.1 connection pool with spare connections; also an httpx transport.

It has no queue: ``gateway/slots.py`` decides before which request is sent. Leaving an exchange
early closes its connection at once: in HTTP/1.1 that is the only way to cancel a request.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator
from typing import NamedTuple

import anyio
import anyio.lowlevel
import httpx

from pipeline.errors import GatewayError, GatewayLost, GatewayRefused
from pipeline.gateway.http.connection import HttpConnection
from pipeline.gateway.http.dial import connect

#: seconds for the end of the body after a reply is over
TAIL_TIMEOUT = 1.0


class Origin(NamedTuple):
    """Server of a connection."""

    host: str
    port: int
    is_tls: bool


def origin_of(url: httpx.URL) -> Origin:
    is_tls = url.scheme == "https"
    return Origin(url.raw_host.decode("ascii"), url.port or (443 if is_tls else 80), is_tls)


class Exchange:
    """One request and its response. ``close`` must be called, and never waits."""

    def __init__(
        self, transport: "WarmTransport", origin: Origin, request: bytes, connection: HttpConnection
    ) -> None:
        self._transport = transport
        self._origin = origin
        self._request = request
        self._connection = connection
        self._may_retry = connection.used > 1  # the server may have closed an idle one
        self._was_dropped = False

    @property
    def status(self) -> int:
        return self._connection.status

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The response headers, with lower-case names."""
        return self._connection.headers

    async def written(self) -> None:
        """Wait until the request is written; ``head`` raises a failure."""
        while not self._connection.is_written:
            await self._connection.wait()

    async def head(self) -> None:
        """Wait for status and headers; raises GatewayLost.

        A request that is lost on a reused connection, before any response, is sent once more.
        """
        while not self._connection.has_head:
            if self._was_dropped:
                await anyio.sleep_forever()
            if self._connection.ended or self._connection.is_broken:
                if not self._may_retry or self._connection.received:
                    raise self._lost("closed the connection before answering")
                self._may_retry = False
                self._transport.drop(self._connection)
                self._connection = await self._transport.open(self._origin)
                self._connection.send(self._request)
            await self._connection.wait()

    async def read(self, deadline: float | None = None) -> bytes:
        """Return more of the body, empty at its end.

        Raises GatewayLost when the body is truncated, TimeoutError when the loop's clock passes
        ``deadline``.
        """
        connection = self._connection
        while True:
            if self._was_dropped:
                await anyio.sleep_forever()
            data = connection.take()
            if data:
                return data
            if connection.failure is not None:
                raise self._lost(
                    "closed the connection inside the response"
                ) from connection.failure
            if connection.ended:
                return b""
            if connection.is_broken:
                raise self._lost("is not connected")
            if not await connection.wait(deadline) and not connection.has_unread:
                raise TimeoutError

    def close(self, *, is_over: bool = False) -> None:
        """Return the connection to the pool, or close it at once before the end of the response.

        ``is_over``: the reply is complete, but the end of the body may not have arrived yet.
        """
        self._transport.release(self._origin, self._connection, is_over=is_over)

    def drop(self) -> None:
        """Close the connection at once: the task that reads from it has just been cancelled.

        Until the cancellation reaches that task, its reads wait.
        """
        self._was_dropped = True
        self._transport.discard(self._connection)

    async def aclose(self) -> None:
        """Do nothing: ``close`` needs no waiting."""

    def _lost(self, event: str) -> GatewayLost:
        place = f"{self._origin.host}:{self._origin.port}"
        failure = self._connection.failure
        if isinstance(failure, GatewayLost):
            return GatewayLost(f"{place}: {failure}", status=self._connection.status or None)
        return GatewayLost(f"{place} {event}", status=self._connection.status or None)


class WarmTransport(httpx.AsyncBaseTransport):
    """Connection pool: sends over an idle connection if there is one, else over a new one."""

    def __init__(
        self,
        *,
        connect_timeout: float = 5.0,
        idle_limit: float = 60.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._connect_timeout = connect_timeout
        self._idle_limit = idle_limit
        self._tls = tls
        self._idle: dict[Origin, deque[HttpConnection]] = {}
        self._open: set[HttpConnection] = set()  # in use, or reading the end of a body
        self._opening = 0
        self._discarded: anyio.Event | None = None
        self._is_closed = False

    async def send(self, content: bytes, origin: Origin) -> Exchange:
        """Send a serialised request; return once it is written; raises a GatewayError."""
        exchange = self.send_now(content, origin)
        if exchange is None:
            connection = await self.open(origin)
            connection.send(content)
            exchange = Exchange(self, origin, content, connection)
        try:
            await exchange.written()
        except BaseException:
            exchange.close()
            raise
        return exchange

    def send_now(self, content: bytes, origin: Origin) -> Exchange | None:
        """Send a serialised request over an idle connection; None when there is none."""
        connection = self._take_idle(origin)
        if connection is None:
            return None
        connection.send(content)
        return Exchange(self, origin, content, connection)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request of an httpx client; raises httpx's errors."""
        await request.aread()
        try:
            exchange = await self.send(serialised(request), origin_of(request.url))
            try:
                await exchange.head()
            except BaseException:
                exchange.close()
                raise
        except GatewayError as failure:
            raise httpx.NetworkError(str(failure), request=request) from failure
        return httpx.Response(
            exchange.status,
            headers=exchange.headers,
            stream=_Body(exchange),
            extensions={"http_version": b"HTTP/1.1"},
        )

    async def warm(self, origin: Origin, spares: int = 1) -> None:
        """Open connections until ``spares`` are idle or opening; raises a GatewayError."""
        while self.idle(origin) + self._opening < spares and not self._is_closed:
            connection = await self.open(origin)
            self._make_idle(origin, connection)

    async def keep_warm(self, origin: Origin) -> None:
        """Replace each connection closed by a cancelled request, until cancelled itself."""
        while True:
            self._discarded = anyio.Event()
            with anyio.move_on_after(self._idle_limit / 2):
                await self._discarded.wait()
            self._purge(origin)
            try:
                await self.warm(origin, 1 + len(self._open) // 4)
            except GatewayError:
                await anyio.sleep(1)  # the next request reports the error

    def idle(self, origin: Origin) -> int:
        """Return the number of idle connections."""
        return sum(not connection.is_broken for connection in self._idle.get(origin, ()))

    @property
    def in_use(self) -> int:
        return len(self._open)

    async def open(self, origin: Origin) -> HttpConnection:
        """Open a connection; raises a GatewayError."""
        if self._is_closed:
            raise GatewayLost("the transport is closed")
        self._opening += 1
        try:
            connection = await connect(
                origin.host,
                origin.port,
                tls=self._context() if origin.is_tls else None,
                connect_timeout=self._connect_timeout,
            )
        finally:
            self._opening -= 1
        self._open.add(connection)
        return connection

    def release(self, origin: Origin, connection: HttpConnection, *, is_over: bool) -> None:
        """Return the connection of an exchange to the pool, or close it."""
        if connection.is_complete and connection.keep_alive and not connection.is_broken:
            self._make_idle(origin, connection)
        elif is_over and connection.is_busy:
            connection.take()
            connection.when_done = lambda: self._tail_arrived(origin, connection)
            asyncio.get_running_loop().call_later(TAIL_TIMEOUT, self._tail_is_late, connection)
        else:
            self.discard(connection)

    async def aclose(self) -> None:
        """Close every connection; requests in progress fail."""
        self._is_closed = True
        for connection in [
            *self._open,
            *(connection for idle in self._idle.values() for connection in idle),
        ]:
            self.drop(connection)
        self._idle.clear()
        await anyio.lowlevel.checkpoint()  # the loop closes the sockets in its next iteration

    def _take_idle(self, origin: Origin) -> HttpConnection | None:
        idle = self._idle.get(origin)
        now = asyncio.get_running_loop().time()
        while idle:
            connection = idle.pop()  # the newest: older ones may reach the idle limit
            if now - connection.idle_since <= self._idle_limit and connection.is_usable():
                self._open.add(connection)
                return connection
            self.drop(connection)
        return None

    def _make_idle(self, origin: Origin, connection: HttpConnection) -> None:
        self._open.discard(connection)
        if self._is_closed:
            self.drop(connection)
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.setdefault(origin, deque()).append(connection)
        self._purge(origin)

    def _purge(self, origin: Origin) -> None:
        idle = self._idle.get(origin)
        oldest = asyncio.get_running_loop().time() - self._idle_limit
        while idle and (idle[0].is_broken or idle[0].idle_since < oldest):
            self.drop(idle.popleft())

    def drop(self, connection: HttpConnection) -> None:
        """Close a connection at once and remove it from the pool."""
        self._open.discard(connection)
        connection.abort()

    def discard(self, connection: HttpConnection) -> None:
        """Close a reusable connection; ``keep_warm`` replaces it."""
        self.drop(connection)
        if self._discarded is not None:
            self._discarded.set()

    def _tail_arrived(self, origin: Origin, connection: HttpConnection) -> None:
        if connection.is_complete and connection.keep_alive and not connection.is_broken:
            self._make_idle(origin, connection)
        else:
            self.drop(connection)

    def _tail_is_late(self, connection: HttpConnection) -> None:
        if connection.when_done is not None:
            connection.when_done = None
            self.drop(connection)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


class _Body(httpx.AsyncByteStream):
    """Body of a response, for httpx."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while data := await self._exchange.read():
                yield data
        except GatewayError as failure:
            raise httpx.RemoteProtocolError(str(failure)) from failure

    async def aclose(self) -> None:
        self._exchange.close()


def serialised(request: httpx.Request) -> bytes:
    """Return the bytes of a request whose content is in memory."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    for name, value in request.headers.raw:
        if b"\n" in value or b"\r" in value:
            raise GatewayRefused(f"the header {name.decode('latin-1')!r} contains a line break")
        lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join([*lines, b"", request.content])
