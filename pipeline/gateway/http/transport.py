"""An HTTP/1.1 transport of our own, behind httpx's types, over connections kept warm.

No queue inside: who may send is decided before (``gateway/slots.py``). Leaving an exchange early
closes its connection at once, for that is the only way to call a request off.
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

#: seconds for the end of a body to arrive behind a reply that is over
TAIL_PATIENCE = 1.0


class Origin(NamedTuple):
    """Where a connection leads."""

    host: str
    port: int
    is_tls: bool


def origin_of(url: httpx.URL) -> Origin:
    is_tls = url.scheme == "https"
    return Origin(url.raw_host.decode("ascii"), url.port or (443 if is_tls else 80), is_tls)


class Exchange:
    """One request and its answer. ``close`` must be called, and never waits."""

    def __init__(
        self, transport: "WarmTransport", origin: Origin, request: bytes, link: HttpConnection
    ) -> None:
        self._transport = transport
        self._origin = origin
        self._request = request
        self._link = link
        self._may_retry = link.used > 1  # one that was idle may have been closed meanwhile
        self._was_dropped = False

    @property
    def status(self) -> int:
        return self._link.status

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """As they came, with lower-case names."""
        return self._link.headers

    @property
    def framed(self) -> bool:
        """The body says itself where it ends; otherwise it ends with the connection."""
        return self._link.framed

    async def written(self) -> None:
        """Wait until the request has left; a failure shows in ``head``."""
        while not self._link.is_written:
            await self._link.wait()

    async def head(self) -> None:
        """Wait for status and headers; raises GatewayLost.

        A request that was lost on a reused connection, before any answer, is sent once more.
        """
        while not self._link.has_head:
            if self._was_dropped:
                await anyio.sleep_forever()
            if self._link.ended or self._link.is_broken:
                if not self._may_retry or self._link.received:
                    raise self._lost("closed the connection before answering")
                self._may_retry = False
                self._transport.drop(self._link)
                self._link = await self._transport.fresh(self._origin)
                self._link.send(self._request)
            await self._link.wait()

    async def read(self, deadline: float | None = None) -> bytes:
        """Return more of the body, empty at its end.

        Raises GatewayLost when the body was cut, TimeoutError when the loop's clock passes
        ``deadline``.
        """
        link = self._link
        while True:
            if self._was_dropped:
                await anyio.sleep_forever()
            data = link.take()
            if data:
                return data
            if link.failure is not None:
                raise self._lost("cut the answer short") from link.failure
            if link.ended:
                return b""
            if link.is_broken:
                raise self._lost("is not connected any more")
            if not await link.wait(deadline) and not link.has_unread:
                raise TimeoutError

    def close(self, *, is_over: bool = False) -> None:
        """Give the connection back, or close it at once when the answer is not over.

        ``is_over``: all that matters has been read, but the end of the body may be on its way.
        """
        self._transport.release(self._origin, self._link, is_over=is_over)

    def drop(self) -> None:
        """Close the connection at once: the task that reads from it has just been cancelled.

        Its cancellation is on the way, and what it would read until then is of no use.
        """
        self._was_dropped = True
        self._transport.burn(self._link)

    async def aclose(self) -> None:
        """There is nothing to wait for: ``close`` has done it."""

    def _lost(self, what: str) -> GatewayLost:
        place = f"{self._origin.host}:{self._origin.port}"
        failure = self._link.failure
        if isinstance(failure, GatewayLost):
            return GatewayLost(f"{place}: {failure}", status=self._link.status or None)
        return GatewayLost(f"{place} {what}", status=self._link.status or None)


class WarmTransport(httpx.AsyncBaseTransport):
    """Sends requests over idle connections where there are some, over new ones where not."""

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
        self._open: set[HttpConnection] = set()  # in use, or finishing an answer
        self._opening = 0
        self._burned: anyio.Event | None = None
        self._is_closed = False

    async def send(self, content: bytes, origin: Origin) -> Exchange:
        """Send a whole request as it is, return once it is written; raises a GatewayError."""
        exchange = self.send_now(content, origin)
        if exchange is None:
            link = await self.fresh(origin)
            link.send(content)
            exchange = Exchange(self, origin, content, link)
        try:
            await exchange.written()
        except BaseException:
            exchange.close()
            raise
        return exchange

    def send_now(self, content: bytes, origin: Origin) -> Exchange | None:
        """Send a whole request over a connection that is ready; None when there is none."""
        link = self._take(origin)
        if link is None:
            return None
        link.send(content)
        return Exchange(self, origin, content, link)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """For use below any httpx client; errors are httpx's."""
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
        """Open connections until ``spares`` are idle or about to be; raises a GatewayError."""
        while self.idle(origin) + self._opening < spares and not self._is_closed:
            link = await self.fresh(origin)
            self._rest(origin, link)

    async def keep_warm(self, origin: Origin) -> None:
        """Replace each connection that a cancel cost, until cancelled itself."""
        while True:
            self._burned = anyio.Event()
            with anyio.move_on_after(self._idle_limit / 2):
                await self._burned.wait()
            self._purge(origin)
            try:
                await self.warm(origin, 1 + len(self._open) // 4)
            except GatewayError:
                await anyio.sleep(1)  # the next request will say what is wrong

    def idle(self, origin: Origin) -> int:
        """Return how many connections stand ready."""
        return sum(not link.is_broken for link in self._idle.get(origin, ()))

    @property
    def in_use(self) -> int:
        return len(self._open)

    async def fresh(self, origin: Origin) -> HttpConnection:
        """Open a connection; raises a GatewayError."""
        if self._is_closed:
            raise GatewayLost("the transport is closed")
        self._opening += 1
        try:
            link = await connect(
                origin.host,
                origin.port,
                tls=self._context() if origin.is_tls else None,
                patience=self._connect_timeout,
            )
        finally:
            self._opening -= 1
        self._open.add(link)
        return link

    def release(self, origin: Origin, link: HttpConnection, *, is_over: bool) -> None:
        """Take a connection back from an exchange."""
        if link.is_complete and link.keep_alive and not link.is_broken:
            self._rest(origin, link)
        elif is_over and link.is_busy:
            link.take()
            link.when_done = lambda: self._tail_arrived(origin, link)
            asyncio.get_running_loop().call_later(TAIL_PATIENCE, self._tail_is_late, link)
        else:
            self.burn(link)

    async def aclose(self) -> None:
        """Close every connection; requests under way fail."""
        self._is_closed = True
        for link in [*self._open, *(link for idle in self._idle.values() for link in idle)]:
            self.drop(link)
        self._idle.clear()
        await anyio.lowlevel.checkpoint()  # the loop closes the sockets in its next turn

    def _take(self, origin: Origin) -> HttpConnection | None:
        idle = self._idle.get(origin)
        now = asyncio.get_running_loop().time()
        while idle:
            link = idle.pop()  # the youngest: the old ones may run out
            if now - link.idle_since <= self._idle_limit and link.is_usable():
                self._open.add(link)
                return link
            self.drop(link)
        return None

    def _rest(self, origin: Origin, link: HttpConnection) -> None:
        self._open.discard(link)
        if self._is_closed:
            self.drop(link)
            return
        link.idle_since = asyncio.get_running_loop().time()
        self._idle.setdefault(origin, deque()).append(link)
        self._purge(origin)

    def _purge(self, origin: Origin) -> None:
        idle = self._idle.get(origin)
        oldest = asyncio.get_running_loop().time() - self._idle_limit
        while idle and (idle[0].is_broken or idle[0].idle_since < oldest):
            self.drop(idle.popleft())

    def drop(self, link: HttpConnection) -> None:
        """Close a connection at once and forget it."""
        self._open.discard(link)
        link.abort()

    def burn(self, link: HttpConnection) -> None:
        """Close a connection that could have served others; ``keep_warm`` replaces it."""
        self.drop(link)
        if self._burned is not None:
            self._burned.set()

    def _tail_arrived(self, origin: Origin, link: HttpConnection) -> None:
        if link.is_complete and link.keep_alive and not link.is_broken:
            self._rest(origin, link)
        else:
            self.drop(link)

    def _tail_is_late(self, link: HttpConnection) -> None:
        if link.when_done is not None:
            link.when_done = None
            self.drop(link)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


class _Body(httpx.AsyncByteStream):
    """The body of an answer, for httpx."""

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
            raise GatewayRefused(f"the header {name.decode('latin-1')!r} holds a line break")
        lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join([*lines, b"", request.content])
