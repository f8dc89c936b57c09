"""Benchmark of ten thousand cancels: stuck slots, and time until the server sees the close.

More callers than slots ask a server of another process, which answers nothing, or stalls, or
streams without end; each call is cancelled at a random moment. Then every probe must succeed.
One JSON line comes out, and the exit code is 1 when anything is stuck.
"""

import asyncio
import json
import os
import platform
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx

from pipeline.config.settings import LlmSettings
from pipeline.gateway.client import GatewayClient
from pipeline.gateway.http.transport import WarmTransport
from pipeline.interfaces.llm import CompletionRequest, Finished, Message, Reply

CANCELS = 10_000
CALLERS = 100
SLOTS = 50
PATIENCE = 0.04  #: seconds until a call is cancelled, at most
PROBES = 60
KINDS = ("silent", "stalled", "streaming", "probe")

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"on "},"finish_reason":null}]}\n\n'
LAST = b'data: {"choices":[{"delta":{"content":"ok"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Server:
    """Counters of the server."""

    def __init__(self) -> None:
        self.open = 0  #: connections
        self.closed: dict[int, int] = {}  #: request → nanoseconds
        self.asked: set[int] = set()


class Answering(asyncio.Protocol):
    """One connection. The message of a request is its kind and its number."""

    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self.server = server
        self.number: int | None = None
        self.seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.server.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.open -= 1
        if self.number is not None:
            self.server.closed[self.number] = time.monotonic_ns()

    def data_received(self, data: bytes) -> None:
        self.seen += data
        head, _, body = self.seen.partition(b"\r\n\r\n")
        sizes = [line for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"]
        if head.startswith(b"GET"):
            self.report()
        elif sizes and len(body) >= int(sizes[0][15:]):
            self.seen = b""
            kind, number = json.loads(body)["messages"][0]["content"].split()
            if kind != "probe":
                self.number = int(number)
                self.server.asked.add(self.number)
            self.answer(kind)

    def answer(self, kind: str) -> None:
        if kind == "silent":
            return
        self.transport.write(HEAD)
        if kind == "probe":
            self.transport.write(chunk(LAST) + b"0\r\n\r\n")
            return
        self.transport.write(chunk(TOKEN))
        if kind == "streaming":
            self.go_on()

    def go_on(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(chunk(TOKEN))
            asyncio.get_running_loop().call_later(0.005, self.go_on)

    def report(self) -> None:
        self.seen = b""
        seen = {
            "open": self.server.open,
            "closed": self.server.closed,
            "unclosed": len(self.server.asked - self.server.closed.keys()),
        }
        body = json.dumps(seen).encode()
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


async def serve() -> None:
    loop = asyncio.get_running_loop()
    seen = Server()
    server = await loop.create_server(lambda: Answering(seen), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # until the parent process exits


@dataclass
class Run:
    """Results of the callers."""

    client: GatewayClient
    number: int = 0
    decided: dict[int, int] = field(default_factory=dict[int, int])  #: nanoseconds
    moments: dict[str, int] = field(default_factory=dict[str, int])
    completed: int = 0
    dice: random.Random = field(default_factory=lambda: random.Random(7))

    async def call(self, reply: Reply) -> None:
        moment = "waiting for a slot"
        try:
            async with reply:
                moment = "before the head"
                while pieces := await reply.receive():
                    moment = "in the body"
                    self.completed += isinstance(pieces[-1], Finished)
        finally:
            self.moments[moment] = self.moments.get(moment, 0) + 1

    def reply(self, kind: str, number: int) -> Reply:
        request = CompletionRequest(model="m", messages=(Message("user", f"{kind} {number}"),))
        return self.client.open(request)

    async def probe(self) -> None:
        await self.call(self.reply("probe", -1))

    async def caller(self) -> None:
        loop = asyncio.get_running_loop()
        while self.number < CANCELS:
            number, kind = self.number, KINDS[self.number % 3]
            self.number += 1
            reply, patience = self.reply(kind, number), self.dice.uniform(0, PATIENCE)
            with anyio.CancelScope() as scope:
                loop.call_later(patience, self.call_off, number, scope, reply)
                await self.call(reply)

    def call_off(self, number: int, scope: anyio.CancelScope, reply: Reply) -> None:
        """Cancel a call as the service cancels a superseded one."""
        self.decided[number] = time.monotonic_ns()
        scope.cancel()
        reply.drop()


async def measure(url: str) -> dict[str, Any]:
    client = GatewayClient(url, settings=LlmSettings(connections=SLOTS))
    run = Run(client)
    await run.probe()
    run.moments.clear()
    fds = open_files()
    began = time.monotonic()
    async with anyio.create_task_group() as callers:
        for _ in range(CALLERS):
            callers.start_soon(run.caller)
    took = time.monotonic() - began
    await anyio.sleep(0.5)  # until the last closes have arrived
    stuck = client.slots.held + client.slots.waiting
    grown = open_files() - fds
    moments, run.completed = dict(run.moments), 0
    with anyio.move_on_after(20):
        for _ in range(PROBES):
            await run.probe()
    async with httpx.AsyncClient(transport=WarmTransport()) as other:
        seen = (await other.get(url)).json()
    await client.aclose()
    late = sorted(
        (at - run.decided[int(number)]) / 1e6
        for number, at in seen["closed"].items()
        if int(number) in run.decided
    )
    return {
        "cancels": CANCELS,
        "callers": CALLERS,
        "slots": SLOTS,
        "seconds": round(took, 1),
        "moments": moments,
        "reached_the_server": len(late),
        "stuck_slots": stuck,
        "never_closed": seen["unclosed"],
        "probes_ok": run.completed,
        "probes": PROBES,
        "descriptors_grown": grown,
        "decision_to_close_ms": {
            f"p{n}": round(late[min(len(late) - 1, len(late) * n // 100)], 2) for n in (50, 95, 99)
        },
    }


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def main() -> int:
    if "--serve" in sys.argv:
        anyio.run(serve, backend_options={"use_uvloop": True})
        return 0
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
        "bench": "supersede",
        "commit": commit,
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    print(json.dumps(about | results))
    is_clean = not (results["stuck_slots"] or results["never_closed"])
    return 0 if is_clean and results["probes_ok"] == PROBES else 1


if __name__ == "__main__":
    sys.exit(main())
