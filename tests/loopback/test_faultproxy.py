"""Faults of the proxy, in front of an echo server."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from tests.support import FaultProxy, fault_proxy


async def echo(stream: SocketStream) -> None:
    async with stream:
        try:
            async for data in stream:
                await stream.send(data)
        except anyio.BrokenResourceError:
            return


@asynccontextmanager
async def proxied() -> AsyncGenerator[FaultProxy]:
    """Run a proxy before an echo server."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        async with fault_proxy(("127.0.0.1", port)) as proxy:
            yield proxy
        tasks.cancel_scope.cancel()


async def dial(proxy: FaultProxy) -> SocketStream:
    return await anyio.connect_tcp(proxy.host, proxy.port)


async def receive(stream: SocketStream, size: int) -> bytes:
    received = b""
    with anyio.fail_after(5):
        while len(received) < size:
            received += await stream.receive()
    return received


async def test_bytes_pass() -> None:
    async with proxied() as proxy, await dial(proxy) as stream:
        await stream.send(b"hello")
        assert await receive(stream, 5) == b"hello"
        assert proxy.connections == proxy.accepted == 1


async def test_an_orderly_end_passes() -> None:
    async with proxied() as proxy, await dial(proxy) as stream:
        await stream.send(b"hello")
        await stream.send_eof()
        assert await receive(stream, 5) == b"hello"
        with anyio.fail_after(5), pytest.raises(anyio.EndOfStream):
            await stream.receive()


async def test_latency_counts_each_way() -> None:
    async with proxied() as proxy, await dial(proxy) as stream:
        proxy.latency = 0.05
        began = anyio.current_time()
        await stream.send(b"hello")
        await receive(stream, 5)
        assert 0.1 <= anyio.current_time() - began + 0.002 < 1


async def test_bytes_arrive_in_slices() -> None:
    async with proxied() as proxy, await dial(proxy) as stream:
        proxy.slice_bytes = 1
        await stream.send(b"hello")
        assert await stream.receive(100) != b"hello"


async def test_a_half_open_connection_delivers_nothing_until_it_heals() -> None:
    async with proxied() as proxy, await dial(proxy) as stream:
        proxy.blackhole()
        await stream.send(b"hello")
        with anyio.move_on_after(0.05) as waited:
            await stream.receive()
        proxy.heal()
        assert await receive(stream, 5) == b"hello"
    assert waited.cancelled_caught


@pytest.mark.parametrize(
    ("by", "end"), [("fin", anyio.EndOfStream), ("rst", anyio.BrokenResourceError)]
)
async def test_a_connection_is_cut_after_so_many_bytes(by: str, end: type[Exception]) -> None:
    async with proxied() as proxy:
        proxy.cut(3, "fin" if by == "fin" else "rst")
        async with await dial(proxy) as stream:
            await stream.send(b"hello")
            with anyio.fail_after(5), pytest.raises(end):
                await drain(stream)


async def drain(stream: SocketStream) -> None:
    """Read the three bytes before the cut, where a reset has not overtaken them, and the end."""
    assert await stream.receive() == b"hel"
    await stream.receive()


async def test_connections_are_refused_until_they_are_not() -> None:
    async with proxied() as proxy:
        proxy.refuse = True
        async with await dial(proxy) as stream:
            with anyio.fail_after(5), pytest.raises(anyio.BrokenResourceError):
                await stream.receive()
        proxy.refuse = False
        async with await dial(proxy) as stream:
            await stream.send(b"hello")
            assert await receive(stream, 5) == b"hello"


async def test_a_peer_that_stops_reading_makes_sends_wait() -> None:
    async with proxied() as proxy, await dial(proxy) as stream:
        await stream.send(b"hello")
        await receive(stream, 5)
        proxy.stop_reading()
        with anyio.move_on_after(0.3) as waited:
            for _ in range(1000):
                await stream.send(bytes(65_536))
    assert waited.cancelled_caught


async def test_every_connection_is_killed_at_once() -> None:
    async with proxied() as proxy, await dial(proxy) as one, await dial(proxy) as two:
        for stream in (one, two):
            await stream.send(b"x")
            await receive(stream, 1)
        with anyio.fail_after(5):
            await proxy.kill_all("rst")
        assert proxy.connections == 0
        for stream in (one, two):
            with anyio.fail_after(5), pytest.raises(anyio.BrokenResourceError):
                await stream.receive()
