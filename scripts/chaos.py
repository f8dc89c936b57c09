"""Chaos test: every peer misbehaves at random; afterwards the laws are checked over all journals.

The real ``pipeline serve`` with a journal in a file. Language model servers are slow, fail, send
wrong data and flood; speech-to-text connections are reset; sources disconnect, reconnect, send
garbage and flood; subscribers do not read, or send garbage; the disk is full twice. Sessions follow
one another without the silences of real conversations: half a minute stands for half an hour.

    scripts/chaos [--seconds 60] [--sessions 50] [--seed 1]

Prints what was done and what was found, and one JSON line; exit code 1 when a law is broken, an
unforeseen error is logged, or memory grows by more than half from the second quarter to the last.
"""

import argparse
import json
import random
import resource
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import median

import anyio
import httpx
from anyio.abc import SocketAttribute, SocketStream
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from pipeline.journal.sqlite import stored_events, stored_sessions  # noqa: E402
from tests.support import Simulation, simulate  # noqa: E402
from tests.support.commandline import Running, running  # noqa: E402
from tests.support.laws import violations  # noqa: E402
from tests.support.oracle import parse  # noqa: E402
from tests.support.soaking import look  # noqa: E402

SETTINGS = """
[serve]
reattach = 1.0
drain = 5.0
log_level = "error"
requests_per_second = 5000
[journal]
keep_ended = 5.0
[prompts.reply]
first_token_timeout = 1.0
total_timeout = 3.0
[prompts.notes]
policy = "conflate"
first_token_timeout = 1.0
total_timeout = 3.0
"""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
FULL = 2.0  #: seconds that the disk is full
SETTLE = 3.0  #: seconds for sessions whose sources are gone
GROWTH = 1.5  #: of memory, from the second quarter to the last
FRAME = bytes(1600)  #: 50 ms of silence
SPOKEN = [
    {"stt": "end", "at_ms": 100 + 300 * number, "text": f"Turn number {number}."}
    for number in range(20)
]
GARBAGE = ("{", "[]", "null", '{"type":"turn.create"}', '{"type":"nothing"}', "\x00", "x" * 5000)
BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)
GONE = (ConnectionClosed, InvalidHandshake, OSError, TimeoutError, httpx.HTTPError)


class Chaos:
    """All peers of one run, with counts of their actions."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.url = ""
        self.memory: list[float] = []  # bytes, resident
        self.live: list[str] = []

    def pick(self, *kinds: str) -> str:
        kind = self.dice.choice(kinds)
        self.done[kind] += 1
        return kind

    # --- language model servers ---

    async def answer(self, client: SocketStream) -> None:
        """Answer one request with a random behaviour."""
        with suppress(
            anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError
        ):
            async with client:
                await client.receive()
                kind = self.pick(
                    "llm well", "llm well", "llm well", "llm slow", "llm 500", "llm 429",
                    "llm dies", "llm lies", "llm floods", "llm silent", "llm garbage",
                )  # fmt: skip
                await self._misbehave(client, kind)

    async def _misbehave(self, client: SocketStream, kind: str) -> None:
        match kind:
            case "llm 500":
                await client.send(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops")
            case "llm 429":
                await client.send(
                    b"HTTP/1.1 429 No\r\nRetry-After: 0.2\r\nContent-Length: 0\r\n\r\n"
                )
            case "llm silent":
                await anyio.sleep(5)
            case "llm garbage":
                await client.send(self.dice.randbytes(3000))
            case "llm lies":
                await client.send(HEAD + chunk("yes") + b'data: {"usage":{"completion_tokens":-1,')
                await client.send(b'"prompt_tokens":1e300}}\n\ndata: [{]\n\ndata: [DONE]\n\n')
            case "llm floods":
                await client.send(HEAD)
                for _ in range(200):
                    await client.send(chunk("word " * 200))
            case _:
                await self._reply(client, kind)

    async def _reply(self, client: SocketStream, kind: str) -> None:
        await client.send(HEAD)
        for word in range(self.dice.randint(1, 20)):
            await client.send(chunk(f"word{word} "))
            await anyio.sleep(0.3 if kind == "llm slow" else 0.01)
            if kind == "llm dies" and word == 2:
                return  # without an end
        await client.send(
            b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
        )

    # --- sources ---

    async def converse(self, number: int) -> None:
        """Run one session after another, until cancelled."""
        count = 0
        while True:
            count += 1
            name = f"s{number}-{count}"
            self.live.append(name)
            with suppress(*GONE):
                await self._session(name, with_audio=self.dice.random() < 0.4)
            self.live.remove(name)
            await anyio.sleep(0.05)

    async def _session(self, name: str, *, with_audio: bool) -> None:
        start = {"type": "session.start", "session_id": name}
        if not with_audio:
            start |= {"audio": None}  # type: ignore[dict-item]
        for _ in range(self.dice.randint(1, 3)):  # connections
            async with self._dial("/v1/ingest/raw") as socket:
                await socket.send(json.dumps({**start, "resume": False}))
                for turn in range(self.dice.randint(1, 8)):
                    await self._turn(socket, turn, with_audio=with_audio)
                match self.pick("source ends", "source resets", "source leaves", "source silent"):
                    case "source ends":
                        await socket.send('{"type":"session.end","client_id":"end"}')
                        with anyio.move_on_after(8):
                            await socket.wait_closed()
                        return
                    case "source resets":
                        socket.transport.abort()
                    case "source silent":
                        await anyio.sleep(1)
                    case _:
                        return

    async def _turn(self, socket: ClientConnection, turn: int, *, with_audio: bool) -> None:
        if with_audio:
            for _ in range(6):
                await socket.send(FRAME)
                await anyio.sleep(0.02)
        else:
            command = {"type": "turn.create", "text": f"turn {turn}", "client_id": f"t{turn}"}
            await socket.send(json.dumps(command))
        match self.pick("calm", "calm", "calm", "garbage", "cancels", "asks again", "floods"):
            case "garbage":
                await socket.send(self.dice.choice(GARBAGE))
            case "cancels":
                await socket.send('{"type":"response.cancel"}')
            case "asks again":
                await socket.send('{"type":"response.create"}')
            case "floods":
                for _ in range(100):
                    await socket.send('{"type":"turn.create","text":"flood"}')
            case _:
                pass
        await anyio.sleep(self.dice.uniform(0, 0.3))

    # --- subscribers ---

    async def listen(self) -> None:
        """Subscribe again and again, well and badly, until cancelled."""
        while True:
            await anyio.sleep(0.05)
            with suppress(*GONE):
                name = self.dice.choice(self.live) if self.live else "none"
                kind = self.pick("subscriber reads", "subscriber deaf", "subscriber garbage")
                path = f"/v1/events?session_id={name}&after_seq=0"
                async with self._dial(path) as socket:
                    await self._attend(socket, kind)

    async def _attend(self, socket: ClientConnection, kind: str) -> None:
        with anyio.move_on_after(self.dice.uniform(0.1, 3)):
            if kind == "subscriber deaf":
                await anyio.sleep_forever()
            if kind == "subscriber garbage":
                for _ in range(30):
                    await socket.send(self.dice.choice(GARBAGE))
            async for _ in socket:
                pass
        if self.dice.random() < 0.5:
            socket.transport.abort()

    @asynccontextmanager
    async def _dial(self, path: str) -> AsyncGenerator[ClientConnection]:
        async with connect(self.url + path, proxy=None, close_timeout=0.5, max_queue=4) as socket:
            yield socket


def chunk(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


async def fill_disk(server: Running, journal: Path, seconds: float, done: Counter[str]) -> None:
    """Keep every file of the server from growing for ``seconds``."""
    room = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    wal = journal.with_name(journal.name + "-wal")
    size = max(each.stat().st_size for each in (journal, wal) if each.exists())
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, room[1]))
    await anyio.sleep(seconds)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, room)
    done["disk full"] += 1


async def disturb(run: Chaos, sim: Simulation) -> None:
    """Reset speech-to-text connections, until cancelled."""
    while True:
        await anyio.sleep(run.dice.uniform(0.1, 1.0))
        open_now = [one for one in sim.stt.connections[-200:] if one.closed_at is None]
        if open_now:
            run.done["stt reset"] += 1
            sim.stt.sever(run.dice.choice(open_now).number, by="rst")


async def sample(url: str, every: float, memory: list[float]) -> None:
    """Measure the server's memory, until cancelled."""
    while True:
        with suppress(*GONE):
            memory.append((await look(url))["process_resident_memory_bytes"])
        await anyio.sleep(every)


async def disrupt(run: Chaos, server: Running, sim: Simulation, args: argparse.Namespace) -> None:
    """Let every peer misbehave for the time of the run; the disk is full twice."""
    async with anyio.create_task_group() as peers:
        for number in range(args.sessions):
            peers.start_soon(run.converse, number)
            peers.start_soon(run.listen)
        peers.start_soon(disturb, run, sim)
        peers.start_soon(sample, run.url, args.seconds / 40, run.memory)
        for _ in range(2):
            await anyio.sleep(args.seconds / 3)
            await fill_disk(server, args.journal, FULL, run.done)
        await anyio.sleep(args.seconds / 3)
        peers.cancel_scope.cancel()


async def chaos(run: Chaos, args: argparse.Namespace) -> str:
    """Return the log of the server."""
    logged, code = "", 0
    config = args.journal.with_name("pipeline.toml")
    config.write_text(SETTINGS)
    async with simulate(SPOKEN) as sim, anyio.create_task_group() as tasks:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        tasks.start_soon(listener.serve, run.answer)
        port = listener.extra(SocketAttribute.local_port)
        words = ("--stt", sim.stt_url, "--llm", f"http://127.0.0.1:{port}/v1", "--model", "m")
        files = ("--journal", args.journal, "--config", config)
        async with running("serve", "--port", 0, *words, *files) as server:
            line = await server.line(holding="listening on")
            run.url = line.partition("listening on ")[2].split(";")[0]
            await disrupt(run, server, sim, args)
            await anyio.sleep(SETTLE)
            server.send(signal.SIGTERM)
            logged = await server.stderr()
            code = await server.ended()
        tasks.cancel_scope.cancel()
    return logged if code == 143 else f"{logged}\nTraceback: the server ended with {code}"


def judge(run: Chaos, journal: Path, logged: str) -> tuple[list[str], dict[str, float]]:
    """Return the faults found, and the figures of the run."""
    found: list[str] = []
    events, names = 0, [session.id for session in stored_sessions(journal)]
    for name in names:
        history = [parse(text) for text in stored_events(journal, name)]
        events += len(history)
        found += [f"{name}: {each}" for each in violations(history, {"reply"})]
    quarter = max(1, len(run.memory) // 4)
    before = median(run.memory[quarter : 2 * quarter] or run.memory)
    grown = median(run.memory[-quarter:]) / before
    if grown > GROWTH:
        found.append(f"memory grew to {grown:.2f} times that of the second quarter")
    if "Traceback" in logged:
        found.append("an unforeseen error was logged:\n" + logged[-3000:])
    return found, {"sessions": len(names), "events": events, "memory": round(grown, 3)}


def main() -> int:
    words = argparse.ArgumentParser()
    words.add_argument("--seconds", type=float, default=60.0)
    words.add_argument("--sessions", type=int, default=50)
    words.add_argument("--seed", type=int, default=1)
    args = words.parse_args()
    run = Chaos(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        args.journal = Path(folder) / "journal.db"
        logged = anyio.run(chaos, run, args)
        found, figures = judge(run, args.journal, logged)
    for what, count in sorted(run.done.items()):
        print(f"{count:7}  {what}")
    for each in found[:20]:
        print(f"fault: {each}", file=sys.stderr)
    print(json.dumps({**figures, "violations": len(found), "seed": args.seed, "done": run.done}))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
