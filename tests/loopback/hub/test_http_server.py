"""The HTTP server of the port over real sockets: bodies, streams, and clients that misbehave."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
import anyio.to_thread
import httpx
import pytest

from pipeline.errors import InputError
from pipeline.hub import http_server
from pipeline.hub.http_server import HttpServer, PlainRequest
from pipeline.hub.listening import BACKLOG
from pipeline.interfaces.http import HttpResponse
from tests.support.waiting import until

LIMIT = 1000  #: bytes of a body

Handler = Callable[[PlainRequest], Awaitable[HttpResponse | None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[tuple[HttpServer, int]]:
    server = HttpServer(handler)
    listener = await asyncio.get_running_loop().create_server(
        server.protocol, "127.0.0.1", 0, backlog=BACKLOG
    )
    try:
        yield server, listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        with anyio.CancelScope(shield=True):
            await server.stop(0.5)


async def echo(request: PlainRequest) -> HttpResponse:
    request.keep_alive = True
    try:
        body = await request.body(LIMIT)
    except InputError as error:
        return HttpResponse(413, "text/plain", str(error).encode())
    return HttpResponse(200, "text/plain", body)


async def spoken(port: int, *parts: bytes, until: bytes) -> bytes:
    """Send ``parts``, read until ``until`` is there, or the end."""
    received = b""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        with anyio.fail_after(10):
            for part in parts:
                await stream.send(part)
            while until not in received:
                try:
                    received += await stream.receive()
                except anyio.EndOfStream:
                    break
    return received


def post(body: bytes, more: str = "") -> bytes:
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with serving(echo) as (server, port), httpx.AsyncClient(trust_env=False) as client:
        for text in ("one", "two"):
            response = await client.post(f"http://127.0.0.1:{port}/", content=text)
            assert response.text == text
            assert response.headers["server"] == "pipeline"
        assert server.connections == 1


async def test_requests_of_one_packet_are_answered_in_order() -> None:
    async with serving(echo) as (_, port):
        said = await spoken(port, post(b"one") + post(b"two") + post(b"three"), until=b"three")
        assert said.count(b"200 OK") == 3
        assert said.index(b"one") < said.index(b"two") < said.index(b"three")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_may_be_so_long_and_not_a_byte_longer(chunked: bool) -> None:
    async with serving(echo) as (_, port), httpx.AsyncClient(trust_env=False) as client:

        async def parts(size: int) -> AsyncGenerator[bytes]:
            yield b"x" * (size - 1)
            yield b"y"

        for size, status in ((LIMIT, 200), (LIMIT + 1, 413)):
            content = parts(size) if chunked else b"x" * size
            response = await client.post(f"http://127.0.0.1:{port}/", content=content)
            assert response.status_code == status


async def test_a_compressed_body_is_refused_unread() -> None:
    async with serving(echo) as (_, port):
        bomb = post(b"x", "Content-Encoding: gzip\r\n")
        assert b"compressed" in await spoken(port, bomb, until=b"compressed")


async def test_a_client_that_waits_for_permission_gets_it() -> None:
    async with serving(echo) as (_, port):
        head = post(b"12345", "Expect: 100-continue\r\n")[:-5]
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(head)
            with anyio.fail_after(5):
                assert b"100 Continue" in await stream.receive()
                await stream.send(b"12345")
                assert b"12345" in await stream.receive()


async def test_a_body_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "BODY", 0.2)
    async with serving(echo) as (_, port):
        said = await spoken(port, post(b"12345")[:-4], until=b"did not come")
        assert said.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 9000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00" + b"\x00" * 600,
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nA b: c\r\n\r\n",
    ],
    ids=["long path", "many headers", "long header", "tls", "lengths", "smuggling", "name"],
)
async def test_what_is_no_request_is_refused_and_cut(head: bytes) -> None:
    async with serving(echo) as (_, port):
        said = await spoken(port, head, until=b"never")  # returns at the end of the connection
        assert b" 400 Bad Request" in said[:30] or said == b""


class Dripping:
    """Streams until the client is gone, and notes that."""

    def __init__(self, size: int = 10) -> None:
        self.began = anyio.Event()
        self.ended = anyio.Event()
        self.ended_at = 0.0
        self._piece = b"x" * size

    async def answer(self, request: PlainRequest) -> None:
        try:
            stream = await request.stream(200, "text/event-stream", {})
            while True:
                await stream.write(self._piece)
                self.began.set()
                await anyio.sleep(0.001 if len(self._piece) > 10 else 3600)
        finally:
            self.ended_at = anyio.current_time()
            self.ended.set()


async def test_a_client_that_disconnects_cancels_its_request_at_once() -> None:
    drip = Dripping()
    async with serving(drip.answer) as (server, port):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with anyio.fail_after(5):
                await drip.began.wait()
            left = anyio.current_time()
        with anyio.fail_after(5):
            await drip.ended.wait()
            await server.idle()
        assert drip.ended_at - left < 0.1


async def test_a_client_that_stops_reading_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "STALL", 0.3)
    drip = Dripping(1 << 16)
    async with serving(drip.answer) as (server, port):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with anyio.fail_after(10):
            await drip.ended.wait()
            await server.idle()
        with pytest.raises(ConnectionResetError):
            await anyio.to_thread.run_sync(partial(_read_all, sock))
        sock.close()


def _read_all(sock: socket.socket) -> None:
    sock.settimeout(5)
    while sock.recv(1 << 20):
        pass


async def test_a_fault_of_ours_is_a_500_and_the_next_request_is_served() -> None:
    async def fails(request: PlainRequest) -> HttpResponse:
        if request.path == "/":
            raise ZeroDivisionError
        return HttpResponse(200, "text/plain", b"ok")

    async with serving(fails) as (_, port), httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 500
        assert (await client.get(f"http://127.0.0.1:{port}/x")).text == "ok"


async def test_a_fault_in_the_middle_of_a_stream_cuts_it() -> None:
    async def fails(request: PlainRequest) -> None:
        stream = await request.stream(200, "text/plain", {})
        await stream.write(b"part")
        raise ZeroDivisionError

    async with serving(fails) as (_, port), httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.TransportError):
            await client.get(f"http://127.0.0.1:{port}/")


async def test_head_has_no_body_and_its_length() -> None:
    async def answer(_: PlainRequest) -> HttpResponse:
        return HttpResponse(200, "text/plain", b"12345")

    async with serving(answer) as (_, port):
        said = await spoken(port, b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n", until=b"never")
        assert said.endswith(b"\r\n\r\n")
        assert b"content-length: 5" in said.lower()


async def test_a_thousand_clients_that_leave_leave_nothing_behind() -> None:
    drip = Dripping()
    async with serving(drip.answer) as (server, port):

        def come_and_go() -> None:
            for _ in range(50):
                socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
                for sock in socks:
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                for sock in socks:
                    sock.close()

        with anyio.fail_after(50):
            await anyio.to_thread.run_sync(come_and_go)
            await until(lambda: not server.connections)
        assert server.in_progress == 0
