"""Servers on raw sockets that send exactly the bytes of a test."""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import cast

import anyio
import anyio.lowlevel

from pipeline.config.settings import LlmSettings
from pipeline.gateway.client import GatewayClient
from pipeline.gateway.http.transport import WarmTransport
from pipeline.interfaces.llm import CompletionRequest, Message, Piece, TextDelta

REQUEST = CompletionRequest(model="m", messages=(Message("user", "hi"),))
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = SSE + b"Transfer-Encoding: chunked\r\n\r\n"


def event(text: str, finish: str = "") -> bytes:
    reason = f'"{finish}"' if finish else "null"
    return (
        f'data: {{"choices":[{{"delta":{{"content":"{text}"}},"finish_reason":{reason}}}]}}\n\n'
    ).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


HELLO = chunk(event("hel")) + chunk(event("lo", "stop") + b"data: [DONE]\n\n")
WHOLE = CHUNKED + HELLO + b"0\r\n\r\n"


class Peer:
    """One accepted connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.requests: list[bytes] = []
        self.gone = anyio.Event()  #: the client has closed

    async def request(self) -> bytes:
        head = await self.reader.readuntil(b"\r\n\r\n")
        size = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line[:15] == b"Content-Length:"), 0
        )
        self.requests.append(head + await self.reader.readexactly(size))
        return self.requests[-1]

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        link = cast("socket.socket", self.writer.get_extra_info("socket"))
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class Server:
    """A server that does what its script says with every request."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.url = ""
        self.peers: list[Peer] = []
        self.asked = anyio.Event()  #: there was a request

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        try:
            while True:
                await peer.request()
                self.asked.set()
                await self.script(peer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            peer.gone.set()
            writer.close()

    async def all_gone(self) -> None:
        with anyio.fail_after(5):
            for peer in self.peers:
                await peer.gone.wait()


@asynccontextmanager
async def serving(script: Script) -> AsyncGenerator[Server]:
    server = Server(script)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        listener.close()
        for peer in server.peers:
            peer.writer.transport.abort()
        await server.all_gone()


@asynccontextmanager
async def talking(
    script: Script, *, connections: int = 4, stall: float = 5.0
) -> AsyncGenerator[tuple[GatewayClient, Server]]:
    async with serving(script) as server:
        settings = LlmSettings(connections=connections, stall_timeout=stall, connect_timeout=1)
        client = GatewayClient(server.url, "key", settings)
        try:
            with anyio.fail_after(10):
                yield client, server
            assert client.slots.held == client.slots.waiting == 0
            assert isinstance(client.transport, WarmTransport)
            with anyio.fail_after(5):  # the end of a last body may be on its way
                while client.transport.in_use:
                    await anyio.lowlevel.checkpoint()
        finally:
            await client.aclose()


async def ask(client: GatewayClient) -> list[Piece]:
    pieces: list[Piece] = []
    async with client.open(REQUEST) as reply:
        while batch := await reply.receive():
            pieces += batch
    return pieces


def text(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, TextDelta))


def saying(*parts: bytes) -> Script:
    async def script(peer: Peer) -> None:
        for part in parts:
            peer.send(part)

    return script


def ending(data: bytes, how: Callable[[Peer], None] = Peer.close) -> Script:
    async def script(peer: Peer) -> None:
        peer.send(data)
        await peer.writer.drain()
        how(peer)

    return script


async def a_spare(client: GatewayClient) -> None:
    """Wait until a connection stands ready."""
    with anyio.fail_after(5):
        while not client.transport_idle():
            await anyio.lowlevel.checkpoint()


@contextmanager
def never_accepting() -> Generator[str]:
    """A port whose queue is full: connections to it neither open nor fail."""
    with ExitStack() as sockets:
        full = sockets.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}/v1"
