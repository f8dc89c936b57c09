"""A TCP proxy on loopback that injects network faults."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Literal, cast
from urllib.parse import urlsplit

import anyio
from anyio.abc import TaskGroup

from pipeline.runtime.tasks import plain_errors
from pipeline.runtime.tcp import reset

How = Literal["fin", "rst"]

HIGH = (
    1_048_576  #: bytes buffered in one direction; above it, the proxy stops reading from the sender
)


class FaultProxy:
    """A proxy between clients and one server, with faults that can be set at any time.

    A setting applies to bytes that arrive after the change, on old and new connections.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = "127.0.0.1"
        self.port = 0  #: where the proxy listens
        self.url = ""  #: the given address, with the proxy's port
        self.latency = 0.0  #: seconds, each way
        self.slice_bytes = 0  #: deliver in pieces of so many bytes; 0: as they come
        self.refuse = False  #: reset new connections at once
        self.accepted = 0  #: connections since the start
        self._server = (host, port)
        self._cut: tuple[int, How] | None = None
        self._links: set[_Link] = set()
        self._open = anyio.Event()
        self._open.set()

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._links)

    def cut(self, after: int, by: How = "fin") -> None:
        """Cut each connection that opens from now on, ``after`` bytes from the server on."""
        self._cut = (after, by)

    def blackhole(self) -> None:
        """Deliver nothing, not even an end, in either direction: a half-open connection."""
        self._open = anyio.Event()

    def stop_reading(self) -> None:
        """Stop reading from clients: their send buffers fill, then their sends wait."""
        for link in self._links:
            link.client.pause()

    def heal(self) -> None:
        """Deliver what was held back, stop cutting, and forward bytes as before."""
        self._cut = None
        self._open.set()
        for link in self._links:
            link.client.resume()

    async def kill_all(self, by: How = "rst") -> None:
        """End every open connection, at both ends."""
        ending = set(self._links)  # a client may reconnect before they are closed
        for link in ending:
            link.end(by)
        while ending & self._links:
            await anyio.lowlevel.checkpoint()

    # --- internals ------------------------------------------------------------------------

    async def passable(self) -> None:
        await self._open.wait()

    async def serve(self, client: "_End") -> None:
        """Forward one client's connection until either end closes."""
        self.accepted += 1
        if self.refuse:
            return client.end("rst")
        loop = asyncio.get_running_loop()
        try:
            _, server = await loop.create_connection(_End, *self._server)
        except OSError:
            return client.end("rst")
        link = _Link(self, client, server, self._cut)
        self._links.add(link)
        try:
            await link.run()
        finally:
            link.end("rst")
            self._links.discard(link)


class _End(asyncio.Protocol):
    """One of the two sockets of a link; buffers received data until it is fetched."""

    transport: asyncio.Transport

    def __init__(self, accepted: "Callable[[_End], None] | None" = None) -> None:
        self._accepted = accepted
        self._arrived: deque[tuple[float, bytes]] = deque()  #: when; empty bytes: the end
        self._waiting = 0  #: bytes
        self._signal = anyio.Event()
        self._paused = False
        self.was_reset = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        if self._accepted is not None:
            self._accepted(self)

    def data_received(self, data: bytes) -> None:
        self._arrived.append((anyio.current_time(), data))
        self._waiting += len(data)
        if self._waiting > HIGH:
            self.transport.pause_reading()
        self._signal.set()

    def eof_received(self) -> bool:
        self._arrived.append((anyio.current_time(), b""))
        self._signal.set()
        return True  # the other direction goes on

    def connection_lost(self, exc: Exception | None) -> None:
        self.was_reset = exc is not None
        self._arrived.append((anyio.current_time(), b""))
        self._signal.set()

    async def fetch(self) -> tuple[float, bytes]:
        while not self._arrived:
            self._signal = anyio.Event()
            await self._signal.wait()
        at, data = self._arrived.popleft()
        was, self._waiting = self._waiting, self._waiting - len(data)
        if was > HIGH >= self._waiting and not self._paused:
            self.transport.resume_reading()
        return at, data

    def pause(self) -> None:
        self._paused = True
        self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()

    def end(self, by: How) -> None:
        if by == "rst":
            reset(self.transport)
        else:
            self.transport.close()


class _Link:
    """A client's connection, paired with its connection to the server."""

    def __init__(
        self, proxy: FaultProxy, client: _End, server: _End, cut: tuple[int, How] | None
    ) -> None:
        self.client = client
        self._server = server
        self._proxy = proxy
        self._cut = cut
        self._over = anyio.Event()

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._pump, self.client, self._server, None)
            tasks.start_soon(self._pump, self._server, self.client, self._cut)
            await self._over.wait()
            tasks.cancel_scope.cancel()

    def end(self, by: How) -> None:
        self.client.end(by)
        self._server.end(by)
        self._over.set()

    async def _pump(self, source: _End, sink: _End, cut: tuple[int, How] | None) -> None:
        left = cut[0] if cut else None
        while True:
            at, data = await source.fetch()
            await _sleep_until(at + self._proxy.latency)
            await self._proxy.passable()
            if not data:
                return self._finish(source, sink)
            part = data if left is None else data[:left]
            await self._deliver(sink, part)
            if left is not None and cut is not None:
                left -= len(part)
                if left <= 0:
                    return self.end(cut[1])

    async def _deliver(self, sink: _End, data: bytes) -> None:
        size = self._proxy.slice_bytes or len(data) or 1
        for i in range(0, len(data), size):
            if sink.transport.is_closing():
                return
            sink.transport.write(data[i : i + size])
            await anyio.lowlevel.checkpoint()

    def _finish(self, source: _End, sink: _End) -> None:
        """Forward an end of stream or a reset; end the link when neither side can be written to."""
        if source.was_reset:
            self.end("rst")
        elif source.transport.is_closing() or sink.transport.is_closing():
            self.end("fin")
        else:
            sink.transport.write_eof()


@asynccontextmanager
async def fault_proxy(server: str | tuple[str, int]) -> AsyncGenerator[FaultProxy]:
    """Run a proxy in front of a server, given as (host, port) or as any URL of it."""
    url = urlsplit(server if isinstance(server, str) else f"tcp://{server[0]}:{server[1]}")
    proxy = FaultProxy(url.hostname or "127.0.0.1", url.port or 0)
    async with plain_errors(), anyio.create_task_group() as tasks:
        listener = await _listen(proxy, tasks)
        proxy.port = listener.sockets[0].getsockname()[1]
        proxy.url = url._replace(netloc=f"{proxy.host}:{proxy.port}").geturl()
        try:
            yield proxy
        finally:
            listener.close()
            tasks.cancel_scope.cancel()


async def _listen(proxy: FaultProxy, tasks: TaskGroup) -> asyncio.Server:
    def accepted(client: _End) -> None:
        tasks.start_soon(proxy.serve, client)

    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: _End(accepted), proxy.host, 0)


async def _sleep_until(at: float) -> None:
    if (seconds := at - anyio.current_time()) > 0:
        await anyio.sleep(seconds)
