"""Benchmark of HTTP transports: open() to request at the server, and token at the server to us.

The server is a process of its own; both read the same monotonic clock. The candidates take
turns, so that their ratios hold although the machine is shared. One JSON line comes out.
"""

import asyncio
import importlib
import json
import platform
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import anyio
import httpx

from pipeline.gateway import wire
from pipeline.gateway.client import GatewayClient
from pipeline.gateway.stream import ReplyReader
from pipeline.interfaces.llm import CompletionRequest, Finished, Message, TextDelta

CALLS = 150  #: of each candidate, after a tenth as many to warm up
TOKENS = 10
GAP = 0.001  #: seconds between tokens
MESSAGES = tuple(
    Message(("user", "assistant")[n % 2], f"Sentence number {n} of a conversation.")
    for n in range(9)
)
REQUEST = CompletionRequest(model="m", messages=MESSAGES, max_tokens=120)
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer key"}

Samples = dict[str, list[float]]
Call = Callable[[], Awaitable[None]]


class Answering(asyncio.Protocol):
    """Server that sends the time of arrival of a request, then the send time of each token."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.seen = b""

    def data_received(self, data: bytes) -> None:
        arrived = time.monotonic_ns()
        self.seen += data
        head, _, body = self.seen.partition(b"\r\n\r\n")
        sizes = [line for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"]
        if not sizes or len(body) < int(sizes[0][15:]):
            return
        self.seen = b""
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        self.say(arrived, 0)

    def say(self, stamp: int, count: int) -> None:
        loop = asyncio.get_running_loop()
        if count == TOKENS:
            self.chunk(b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n')
            self.chunk(b"data: [DONE]\n\n")
            self.transport.write(b"0\r\n\r\n")
            return
        self.chunk(
            b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices"'
            b':[{"index":0,"delta":{"content":"%d "},"finish_reason":null}]}\n\n' % stamp
        )
        loop.call_later(GAP, lambda: self.say(time.monotonic_ns(), count + 1))

    def chunk(self, data: bytes) -> None:
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # until the parent process exits


class Stopwatch:
    """Times of one candidate."""

    def __init__(self) -> None:
        self.request: list[float] = []  # milliseconds
        self.token: list[float] = []

    def take(self, began: int, texts: list[str]) -> None:
        """``texts``: the first holds the arrival of the request, the others when they left."""
        now = time.monotonic_ns()
        for text in texts:
            for stamp in text.split():
                if len(self.request) * TOKENS == len(self.token) + len(self.request):
                    self.request.append((int(stamp) - began) / 1e6)
                else:
                    self.token.append((now - int(stamp)) / 1e6)


async def read(watch: Stopwatch, began: int, chunks: AsyncIterator[bytes]) -> None:
    """Parse the body, as every candidate but ours must."""
    reader = ReplyReader("server", {})
    async for data in chunks:
        watch.take(began, [p.text for p in reader.feed(data) if isinstance(p, TextDelta)])


def ours(url: str, watch: Stopwatch, transport: httpx.AsyncBaseTransport | None) -> Call:
    client = GatewayClient(url, "key", transport=transport)

    async def call() -> None:
        began = time.monotonic_ns()
        async with client.open(REQUEST) as reply:
            while pieces := await reply.receive():
                watch.take(began, [p.text for p in pieces if isinstance(p, TextDelta)])
                if isinstance(pieces[-1], Finished):
                    return

    return call


def any_httpx(library: Any, url: str, watch: Stopwatch, stack: AsyncExitStack) -> Call:
    client = library.AsyncClient(http2=False, trust_env=False)
    stack.push_async_callback(client.aclose)

    async def call() -> None:
        began = time.monotonic_ns()
        body = wire.encode_request(REQUEST)
        async with client.stream(
            "POST", url + "/chat/completions", content=body, headers=HEADERS
        ) as response:
            await read(watch, began, response.aiter_raw())

    return call


async def aiohttp_call(url: str, watch: Stopwatch, stack: AsyncExitStack) -> Call:
    library: Any = importlib.import_module("aiohttp")
    session = await stack.enter_async_context(library.ClientSession())

    async def call() -> None:
        began = time.monotonic_ns()
        body = wire.encode_request(REQUEST)
        async with session.post(url + "/chat/completions", data=body, headers=HEADERS) as response:
            await read(watch, began, response.content.iter_any())

    return call


async def candidates(url: str, stack: AsyncExitStack) -> dict[str, tuple[Call, Stopwatch]]:
    watches = {name: Stopwatch() for name in ("ours", "ours+httpx pool", "httpx", "httpx2")}
    pool = httpx.AsyncHTTPTransport()
    stack.push_async_callback(pool.aclose)
    calls: dict[str, Call] = {
        "ours": ours(url, watches["ours"], None),
        "ours+httpx pool": ours(url, watches["ours+httpx pool"], pool),
        "httpx": any_httpx(httpx, url, watches["httpx"], stack),
    }
    for name in ("httpx2", "aiohttp"):
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        watch = watches[name] = Stopwatch()
        if name == "httpx2":
            calls[name] = any_httpx(library, url, watch, stack)
        else:
            calls[name] = await aiohttp_call(url, watch, stack)
    return {name: (call, watches[name]) for name, call in calls.items()}


async def measure(url: str) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        field = await candidates(url, stack)
        for round_ in range(CALLS + CALLS // 10):
            for call, watch in field.values():
                if round_ == CALLS // 10:
                    watch.request.clear()
                    watch.token.clear()
                await call()
    base = quantile(field["ours"][1].request, 0.5)
    return {
        name: {
            "request_ms": spread(watch.request),
            "token_ms": spread(watch.token),
            "request_ratio": round(quantile(watch.request, 0.5) / base, 2),
        }
        for name, (_, watch) in field.items()
    }


def quantile(samples: list[float], share: float) -> float:
    return sorted(samples)[min(len(samples) - 1, int(len(samples) * share))]


def spread(samples: list[float]) -> dict[str, float]:
    return {f"p{n}": round(quantile(samples, n / 100), 3) for n in (50, 95, 99)}


def versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in ("httpx", "httpx2", "aiohttp", "anyio", "uvloop"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    if "--serve" in sys.argv:
        anyio.run(serve, backend_options={"use_uvloop": True})
        return
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        results = anyio.run(measure, url, backend_options={"use_uvloop": True})
    finally:
        server.kill()
        server.wait()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    about = {
        "bench": "transport",
        "commit": commit,
        "machine": platform.machine(),
        "python": platform.python_version(),
        "libraries": versions(),
        "n": CALLS,
    }
    print(json.dumps(about | results))


if __name__ == "__main__":
    main()
