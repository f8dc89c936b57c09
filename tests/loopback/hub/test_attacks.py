"""The hub under attack: floods, slow requests, compression bombs, many connections."""

import os
import socket
import struct
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import InvalidStatus

from pipeline.config.settings import ServeSettings
from pipeline.hub import server as server_module
from pipeline.hub.server import Hub, serve
from pipeline.ingest.raw import RawAdapter
from pipeline.protocol.events import ResponseDelta
from tests.support.fake_service import FakeService

T = TypeVar("T")

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)


@asynccontextmanager
async def serving(fake: FakeService | None = None, most: int = 2000) -> AsyncGenerator[Hub]:
    settings = ServeSettings(port=0, max_subscribers=most)
    async with serve(fake or FakeService(), settings, adapters={"raw": RawAdapter}) as hub:
        yield hub


def dial(hub: Hub) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", hub.port), timeout=10)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    return sock


def open_websocket(hub: Hub, path: str, more: str = "") -> tuple[socket.socket, bytes]:
    sock = dial(hub)
    sock.sendall(HANDSHAKE.format(path=path, more=more).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += sock.recv(4096)
    return sock, answer


def frame(opcode: int, data: bytes, bits: int = 0x80) -> bytes:
    """A masked frame, with a mask of zeros."""
    size = len(data)
    if size < 126:
        head = struct.pack("!BB", bits | opcode, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", bits | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", bits | opcode, 0x80 | 127, size)
    return head + bytes(4) + data


def frame_of_ours(opcode: int, data: bytes) -> bytes:
    return bytes([0x80 | opcode, len(data)]) + data


def receive(sock: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        got += sock.recv(1 << 16)
    return got


def until_cut(sock: socket.socket, chunk: bytes = b"") -> int:
    """Send ``chunk`` again and again until the other side cuts; return the bytes that went."""
    sent = 0
    try:
        while True:
            if chunk:
                sent += sock.send(chunk)
            elif not sock.recv(65536):
                return sent
    except (ConnectionError, TimeoutError):
        return sent
    finally:
        sock.close()


async def in_thread(call: Callable[[], T]) -> T:
    with anyio.fail_after(15):
        return await anyio.to_thread.run_sync(call)


async def cut_soon(sock: socket.socket, chunk: bytes) -> None:
    """Send until cut, and see that it neither took long nor filled our memory."""
    before, began = resident_bytes(), anyio.current_time()
    await in_thread(lambda: until_cut(sock, chunk))
    assert anyio.current_time() - began < 10
    assert resident_bytes() - before < 64 << 20


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_f31_a_hundred_megabytes_are_refused_at_the_first_header() -> None:
    async with serving() as hub:
        sock, _ = await in_thread(lambda: open_websocket(hub, "/v1/ingest/raw"))
        sock.sendall(frame(2, b"")[:1] + struct.pack("!BQ", 0x80 | 127, 100 << 20) + bytes(4))
        await cut_soon(sock, bytes(1 << 16))


async def test_f31_fragments_do_not_add_up_to_more() -> None:
    async with serving() as hub:
        sock, _ = await in_thread(lambda: open_websocket(hub, "/v1/ingest/raw"))
        sock.sendall(frame(2, bytes(1000), bits=0))
        await cut_soon(sock, frame(0, bytes(1000), bits=0))


async def test_f31_a_compressed_bomb_is_cut_for_compression_is_never_agreed_to() -> None:
    async with serving() as hub:
        offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
        sock, answer = await in_thread(lambda: open_websocket(hub, "/v1/ingest/raw", offer))
        assert b"101" in answer
        assert b"extensions" not in answer.lower()
        bomb = zlib.compress(bytes(10 << 20))[2:]
        sock.sendall(frame(2, bomb[:60_000], bits=0xC0))
        await in_thread(lambda: until_cut(sock))


async def test_f31_a_flood_of_pings_from_one_who_never_reads_is_cut_and_costs_no_memory() -> None:
    async with serving() as hub:
        sock, _ = await in_thread(lambda: open_websocket(hub, "/v1/events"))
        held: list[int] = []

        async def look() -> None:
            while True:
                held.extend(each.get_write_buffer_size() for each in hub.transports)
                await anyio.sleep(0.01)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
            await cut_soon(sock, frame(9, bytes(125)) * 400)
            tasks.cancel_scope.cancel()
    assert 1 << 17 < max(held) < 1 << 20  # unread pongs


async def test_one_who_was_not_heard_for_its_flood_is_heard_again_once_it_reads() -> None:
    async with serving() as hub:
        sock, _ = await in_thread(lambda: open_websocket(hub, "/v1/events"))
        sock.setblocking(False)
        flood = frame(9, bytes(125)) * 400
        sent = 0
        with anyio.move_on_after(1):  # not long enough to be cut
            while True:
                with suppress(BlockingIOError):
                    sent += sock.send(flood[sent % len(flood) :])
                await anyio.lowlevel.checkpoint()
        sock.settimeout(10)
        pongs = await in_thread(lambda: receive(sock, sent // 131 * 127))
        assert pongs.count(frame_of_ours(10, bytes(125))) == sent // 131
        sock.close()


async def test_f31_dripping_handshakes_and_silent_connections_are_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "OPEN_TIMEOUT", 0.5)
    async with serving() as hub:
        socks = await in_thread(lambda: [dial(hub) for _ in range(50)])
        for sock in socks[:25]:
            sock.sendall(b"GET /v1/events HTTP/1.1\r\nX-Drip: ")
        for sock in socks:
            await in_thread(partial(until_cut, sock))
        assert not hub.transports


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 9000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00" + b"\x00" * 600,
        b"POST /v1/events HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    ],
    ids=["long path", "many headers", "long header", "tls", "body"],
)
async def test_what_is_no_handshake_is_cut(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "OPEN_TIMEOUT", 0.5)
    async with serving() as hub:
        sock = await in_thread(lambda: dial(hub))
        sock.sendall(head)
        await in_thread(lambda: until_cut(sock))
        sock, answer = await in_thread(lambda: open_websocket(hub, "/v1/events"))
        sock.close()
        assert answer.startswith(b"HTTP/1.1 101")


async def test_a_crowd_is_turned_away_and_those_inside_stay() -> None:
    fake = FakeService()
    session = fake.session("s1")
    async with serving(fake, most=5) as hub:
        url = f"{hub.url}/v1/events?session_id=s1&after_seq=0"
        inside = [await connect_websocket(url, proxy=None) for _ in range(5)]
        with pytest.raises(InvalidStatus, match="503"):
            await connect_websocket(url, proxy=None)
        session.publish(ResponseDelta(response_id="r1", delta="a"))
        for subscriber in inside:
            assert b'"seq":1' in await subscriber.recv(decode=False)
            await subscriber.close()
        await (await connect_websocket(url, proxy=None)).close()


async def test_connections_that_say_nothing_leave_nothing_behind() -> None:
    async with serving(most=100) as hub:

        def come_and_go() -> None:
            for _ in range(300):
                dial(hub).close()

        await in_thread(come_and_go)
        with anyio.fail_after(10):
            while hub.transports:  # noqa: ASYNC110 - the kernel tells of each end by itself
                await anyio.sleep(0.01)


def come_and_be_cut(hub: Hub, times: int) -> None:
    for _ in range(times):
        with suppress(ConnectionResetError):  # so soon that it may still be connecting
            until_cut(dial(hub))


async def test_only_so_many_may_say_nothing_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_UNAUTHENTICATED", 20)
    async with serving(most=10) as hub:
        socks = await in_thread(lambda: [dial(hub) for _ in range(30)])
        await in_thread(partial(come_and_be_cut, hub, 70))
        assert len(hub.transports) == 30
        for sock in socks:
            sock.close()
