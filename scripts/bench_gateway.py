"""Gateway benchmark: what ``pipeline gateway`` adds to a direct call of the same server.

Both answer in turns in one run, so that a busy machine slows both. Prints one JSON line:

    python scripts/bench_gateway.py [--streams 1] [--rounds 300]
"""

import argparse
import asyncio
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

sys.path.insert(0, str(Path(__file__).parents[1]))
from pipeline.simulator.serve import simulate

TOKENS = 20
BODY = json.dumps(
    {"model": "small", "stream": True, "messages": [{"role": "user", "content": "x" * 500}]}
).encode()


def request(path: str, port: int) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY


class Caller:
    """One connection that is kept open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def call(self) -> tuple[float, float]:
        """Return seconds to the first token and to the end."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        assert self._reader is not None
        began = time.perf_counter()
        self._writer.write(request("/v1/chat/completions", self._port))
        seen = b""
        first = 0.0
        while b"[DONE]" not in seen[-200:] and not seen.endswith(b"0\r\n\r\n"):
            data = await self._reader.read(1 << 16)
            if not data:
                self._writer = None
                break
            seen += data
            if not first and b'"content":"w' in seen:
                first = time.perf_counter() - began
        while self._writer is not None and not seen.endswith(b"0\r\n\r\n"):
            seen += await self._reader.read(1 << 16)
        return first, time.perf_counter() - began

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


@asynccontextmanager
async def gateway(url: str) -> AsyncGenerator[tuple[int, int]]:
    """Run ``pipeline gateway`` in a process of its own; gives its port and process id."""
    command = [sys.executable, "-m", "pipeline", "gateway", "--port", "0", "--json"]
    command += ["--llm", url, "--model", "small"]
    process = await anyio.open_process(command, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        ready = json.loads(await process.stdout.receive())
        yield int(ready["url"].rpartition(":")[2].partition("/")[0]), ready["pid"]
    finally:
        process.terminate()
        with anyio.CancelScope(shield=True):
            await process.wait()


def cpu_seconds(pid: int) -> float:
    """Return what a process has used (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def measured(ports: dict[str, int], streams: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds to the first token of both, which take turns."""
    callers = {name: [Caller(port) for _ in range(streams)] for name, port in ports.items()}
    firsts: dict[str, list[float]] = {name: [] for name in ports}

    async def one(name: str, caller: Caller) -> None:
        first, _ = await caller.call()
        firsts[name].append(first)

    for round_ in range(rounds + 5):
        for name, each in callers.items():
            async with anyio.create_task_group() as tasks:
                for caller in each:
                    tasks.start_soon(one, name, caller)
        if round_ == 4:
            firsts = {name: [] for name in ports}  # that was the warm-up
    for each in callers.values():
        for caller in each:
            caller.close()
    return firsts


async def cancels(port: int, sim: Any, times: int) -> list[float]:
    """Return the seconds from a client's close to the close at the server behind."""
    took: list[float] = []
    for _ in range(times):
        before = sim.llm.cancelled_by_client
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("/v1/chat/completions", port))
        await reader.readuntil(b'"content":"w')
        closed = time.monotonic()
        writer.transport.abort()
        with anyio.fail_after(5):
            await sim.llm.cancelled(before + 1)
        took.append(sim.llm.requests[-1].closed_at - closed)
    return took


def summary(seconds: list[float]) -> dict[str, float]:
    """Return percentiles in milliseconds."""
    ordered = sorted(seconds)
    return {
        f"p{share}": round(ordered[min(len(ordered) - 1, len(ordered) * share // 100)] * 1000, 3)
        for share in (50, 95, 99)
    }


async def main(streams: int, rounds: int) -> None:
    tokens = [f"word{n} " for n in range(TOKENS)]
    script = [{"llm": "reply", "tokens": tokens, "times": 0}]
    async with simulate(script) as sim, gateway(sim.llm_url) as (port, pid):
        direct = int(sim.llm_url.rpartition(":")[2].partition("/")[0])
        before, began = cpu_seconds(pid), time.perf_counter()
        firsts = await measured({"direct": direct, "gateway": port}, streams, rounds)
        used, seconds = cpu_seconds(pid) - before, time.perf_counter() - began
        calls = (rounds + 5) * streams
    async with (
        simulate([{**script[0], "token_ms": 10_000}]) as sim,
        gateway(sim.llm_url) as (port, _),
    ):
        closes = await cancels(port, sim, 50)
    medians = {name: statistics.median(each) * 1000 for name, each in firsts.items()}
    print(
        json.dumps(
            {
                "streams": streams,
                "n": len(firsts["gateway"]),
                "time_to_first_token_ms": {name: summary(each) for name, each in firsts.items()},
                "added_p50_ms": round(medians["gateway"] - medians["direct"], 3),
                "cpu_ms_per_stream": round(used / calls * 1000, 3),
                "streams_per_second_per_core": round(calls / used) if used else None,
                "cancel_to_upstream_closed_ms": summary(closes),
                "tokens_per_stream": TOKENS,
                "seconds": round(seconds, 1),
                "python": platform.python_version(),
                "machine": platform.machine(),
            }
        )
    )


if __name__ == "__main__":
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--streams", type=int, default=1, help="at once")
    flags.add_argument("--rounds", type=int, default=300)
    given = flags.parse_args()
    anyio.run(main, given.streams, given.rounds, backend_options={"use_uvloop": True})
