"""Benchmark of fan-out: a thousand subscribers on one session, of which a tenth stops reading.

The real ``pipeline serve``; a source says a kilobyte every 30 ms, every event is pushed to all.
Runs with and without those that stop take turns, with the same number of readers; what is
compared is the delay from the source's send to each reader, from the moment they stop. Half of
those that stop have small buffers in the kernel, half the usual ones. At last the server gets
SIGTERM beside new ones.

    python scripts/bench_fanout.py [--subscribers 1000] [--stuck 100] [--repeat 3]

Prints a line a run and one JSON line.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import select
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from tests.support.commandline import Running  # noqa: E402
from tests.support.serving import Served, begin, serving  # noqa: E402

EVENTS = 220  #: in a run
PAUSE = 0.03  #: seconds between two
BEFORE = 30  #: events until some stop reading
SIZE = 1000  #: characters
STAMP = re.compile(rb"@(\d+)@")
PING, PONG = b"\x89\x00", b"\x8a\x80\0\0\0\0"
CLOSE = 0x88

Numbers = dict[str, Any]


# --- subscribers, in a child process ----- -----------------------------------------------------


class Subscriber(asyncio.Protocol):
    """Minimal websocket client that records the delay of each event."""

    transport: asyncio.Transport

    def __init__(self, path: str, delays: list[int]) -> None:
        self.path = path
        self.delays = delays
        self.code: int | None = None
        self.open = b""
        self.unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.transport.write(
            f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self.unread += data
        if not self.open:
            head, self.open, self.unread = self.unread.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101"), head
        while len(self.unread) >= 4:
            size, at = self.unread[1], 2
            if size == 126:
                size, at = int.from_bytes(self.unread[2:4], "big"), 4
            if len(self.unread) < at + size:
                return
            self.take(self.unread[0], self.unread[at : at + size], now)
            self.unread = self.unread[at + size :]
        if self.unread == PING:
            self.take(PING[0], b"", now)
            self.unread = b""

    def take(self, kind: int, payload: bytes, now: int) -> None:
        if kind == PING[0]:
            self.transport.write(PONG)
        elif kind == CLOSE:
            self.code = int.from_bytes(payload[:2], "big")
            self.transport.close()
        elif stamp := STAMP.search(payload):
            self.delays.append(now - int(stamp[1]))


async def subscribe(port: int, path: str, readers: int, stuck: int) -> None:
    """Run all subscribers; commands come on stdin, results go to stdout."""
    loop = asyncio.get_running_loop()
    delays: list[int] = []
    every: list[Subscriber] = []
    for number in range(readers + stuck):
        sock = socket.socket()
        if number >= readers and number % 2:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", port))
        sock.setblocking(False)
        _, one = await loop.create_connection(lambda: Subscriber(path, delays), sock=sock)
        every.append(one)
    commands = anyio.wrap_file(sys.stdin)
    print("up", flush=True)
    await commands.readline()
    delays.clear()
    gone = select.poll()
    for one in every[readers:]:
        one.transport.pause_reading()
        gone.register(one.transport.get_extra_info("socket").fileno(), 0)
    stopped, cut = time.monotonic(), list[float]()
    print("stopped", flush=True)
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            while len(cut) < stuck:
                await anyio.sleep(0.02)
                for descriptor, _ in gone.poll(0):
                    gone.unregister(descriptor)
                    cut.append(time.monotonic() - stopped)

        tasks.start_soon(watch)
        await commands.readline()
        tasks.cancel_scope.cancel()
    codes = [one.code for one in every[:readers]]
    answer: Numbers = {
        "events": len(delays),
        "gone": len(cut),
        "gone_after": round(max(cut, default=0.0), 2),
        "closed": {str(code): codes.count(code) for code in set(codes) - {None}},
        **percentiles(delays),
    }
    print(json.dumps(answer), flush=True)


def percentiles(delays: list[int]) -> Numbers:
    delays = sorted(delays) or [0]
    return {
        f"p{n}": round(delays[min(len(delays) - 1, len(delays) * n // 100)] / 1e6, 2)
        for n in (50, 99)
    }


class Crowd:
    """Child process with the subscribers."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def step(self) -> None:
        """Start the next step of the child: stop reading, or report."""
        assert self._process.stdin is not None
        await self._process.stdin.send(b"\n")

    async def line(self) -> str:
        assert self._process.stdout is not None
        seen = b""
        while not seen.endswith(b"\n"):
            seen += await self._process.stdout.receive()
        return seen.decode()


@asynccontextmanager
async def crowd(url: str, readers: int, stuck: int) -> AsyncGenerator[Crowd]:
    words = ["--port", url.rpartition(":")[2], "--readers", str(readers), "--stuck", str(stuck)]
    command = [sys.executable, __file__, "--crowd", *words]
    async with await anyio.open_process(command, stderr=None) as process:
        subscribers = Crowd(process)
        assert await subscribers.line() == "up\n"
        await anyio.sleep(1)  # until the last ones are subscribed
        yield subscribers
        process.kill()


# --- one run -------------------------------------------------------------------------------------


def resident(server: Running) -> float:
    """Return the memory of a process in MiB."""
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


async def talk(source: ClientConnection, events: int, mark: str = "@") -> None:
    """Send ``events`` turns; only those with the mark ``@`` are measured."""
    for _ in range(events):
        text = f"{mark}{time.monotonic_ns()}{mark}" + "x" * SIZE
        await source.send(json.dumps({"type": "turn.create", "text": text}))
        await anyio.sleep(PAUSE)


async def run(server: Served, source: ClientConnection, readers: int, stuck: int) -> Numbers:
    async with crowd(server.url, readers, stuck) as subscribers:
        await talk(source, BEFORE, mark="#")
        base = peak = resident(server.process)
        await subscribers.step()
        assert await subscribers.line() == "stopped\n"
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                nonlocal peak
                while True:
                    peak = max(peak, resident(server.process))
                    await anyio.sleep(0.02)

            tasks.start_soon(watch)
            await talk(source, EVENTS - BEFORE)
            tasks.cancel_scope.cancel()
        await anyio.sleep(0.5)
        await subscribers.step()
        report: Numbers = json.loads(await subscribers.line())
    lost = readers * (EVENTS - BEFORE) - report["events"]
    return {
        **report,
        "readers": readers,
        "stuck": stuck,
        "lost": lost,
        "mib": round(peak - base, 1),
    }


async def stop(server: Served, source: ClientConnection, readers: int, stuck: int) -> Numbers:
    """Stop the server while some subscribers do not read."""
    async with crowd(server.url, readers, stuck) as subscribers:
        await talk(source, BEFORE)
        await subscribers.step()
        assert await subscribers.line() == "stopped\n"
        await talk(source, BEFORE)
        began = time.monotonic()
        code = await server.process.stop(signal.SIGTERM)
        took = time.monotonic() - began
        await anyio.sleep(0.5)
        await subscribers.step()
        report: Numbers = json.loads(await subscribers.line())
    return {"seconds": round(took, 2), "code": code, "closed": report["closed"]}


async def read(source: ClientConnection) -> None:
    async for _ in source:
        pass


async def measure(subscribers: int, stuck: int, repeat: int) -> Numbers:
    readers = subscribers - stuck
    runs: list[Numbers] = []
    ended: Numbers = {}
    env = {"PIPELINE_PROMPTS__REPLY__MIN_WORDS": "1000"}  # no turn starts a request
    async with serving(env=env, patience=600) as server, anyio.create_task_group() as tasks:
        ingest = f"{server.url}/v1/ingest/raw?events=session.*"
        async with connect_websocket(ingest, proxy=None) as source:
            await begin(source, "fan")
            for _ in range(repeat):
                for each in (0, stuck):
                    with anyio.fail_after(90):
                        runs.append(await run(server, source, readers, each))
                    print(json.dumps(runs[-1]), flush=True)
            tasks.start_soon(read, source)
            ended = await stop(server, source, readers, stuck)
        tasks.cancel_scope.cancel()
    without = [each for each in runs if not each["stuck"]]
    beside = [each for each in runs if each["stuck"]]
    alone, among = (statistics.median(r["p99"] for r in some) for some in (without, beside))
    return {
        "bench": "fanout",
        "commit": commit(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "subscribers": subscribers,
        "stuck": stuck,
        "p50_ms": [statistics.median(r["p50"] for r in some) for some in (without, beside)],
        "p99_ms": [alone, among],
        "p99_ratio": round(among / alone, 2),
        "lost": sum(r["lost"] for r in runs),
        "mib": [max(r["mib"] for r in some) for some in (without, beside)],
        "gone": [r["gone"] for r in beside],
        "gone_after_s": max(r["gone_after"] for r in beside),
        "sigterm": ended,
    }


def commit() -> str:
    git = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=REPO, capture_output=True, text=True
    )
    return git.stdout.strip()


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--subscribers", type=int, default=1000)
    words.add_argument("--stuck", type=int, default=100)
    words.add_argument("--repeat", type=int, default=3)
    words.add_argument(
        "--crowd", action="store_true", help="run the subscribers (used by the benchmark itself)"
    )
    words.add_argument("--port", type=int)
    words.add_argument("--readers", type=int)
    args = words.parse_args()
    uvloop = {"use_uvloop": True}
    if args.crowd:
        path = "/v1/events?session_id=fan"
        anyio.run(subscribe, args.port, path, args.readers, args.stuck, backend_options=uvloop)
        return
    results = anyio.run(measure, args.subscribers, args.stuck, args.repeat, backend_options=uvloop)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
