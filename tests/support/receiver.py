"""A webhook receiver on loopback: stores each POST and replies as scripted."""

import socket
import struct
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
from anyio.abc import SocketAttribute, SocketStream
from msgspec import Struct
from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

#: the reply; or a reset after half a head; or no reply at all
Conduct = bytes | Literal["reset", "hang"]


def status(code: int, headers: str = "", body: str = "") -> bytes:
    """Return a reply; each line of ``headers`` ends with CRLF."""
    length = f"content-length: {len(body)}\r\n"
    return f"HTTP/1.1 {code} Whatever\r\n{length}{headers}\r\n{body}".encode()


class Posted(Struct, frozen=True):
    """One POST."""

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> dict[str, Any]:
        """The body, if the specification's own library accepts its signature."""
        found: dict[str, Any] = Webhook(SECRET).verify(self.body, self.headers)
        return found


class Receiver:
    """A receiver that replies with ``conducts`` in order, then with 204."""

    def __init__(self, conducts: Sequence[Conduct]) -> None:
        self.posts: list[Posted] = []
        self.port = 0
        self._conducts = list(conducts)
        self._more = anyio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def got(self, count: int) -> list[Posted]:
        """Wait for ``count`` POSTs and return all received so far."""
        with anyio.fail_after(20):
            while len(self.posts) < count:
                self._more = anyio.Event()
                await self._more.wait()
        return self.posts

    async def serve(self, stream: SocketStream) -> None:
        async with stream:
            received = b""
            while True:
                try:
                    received, post = await _read(stream, received)
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return
                conduct = self._conducts.pop(0) if self._conducts else status(204)
                self.posts.append(post)
                self._more.set()
                if conduct == "hang":
                    await anyio.sleep_forever()
                elif conduct == "reset":
                    await stream.send(b"HTTP/1.1 200 OK\r\ncontent-le")
                    _reset(stream)
                    return
                else:
                    await stream.send(conduct)


async def _read(stream: SocketStream, received: bytes) -> tuple[bytes, Posted]:
    while b"\r\n\r\n" not in received:
        received += await stream.receive()
    head, _, rest = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines)}
    size = int(headers["content-length"])
    while len(rest) < size:
        rest += await stream.receive()
    return rest[size:], Posted(first.split(" ")[1], headers, rest[:size])


def _reset(stream: SocketStream) -> None:
    raw = stream.extra(SocketAttribute.raw_socket)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@asynccontextmanager
async def receiving(*conducts: Conduct) -> AsyncGenerator[Receiver]:
    """Run a receiver on a free port."""
    receiver = Receiver(conducts)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        receiver.port = listener.extra(SocketAttribute.local_port)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, receiver.serve)
            yield receiver
            tasks.cancel_scope.cancel()
