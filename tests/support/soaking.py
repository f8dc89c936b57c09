"""Soak test: an hour of conversations in minutes over real sockets, and a check for leaks.

Everything of an hour happens: turns, responses, superseded responses, sessions that start and
end, sources and speech-to-text connections that break, subscribers that connect and disconnect.
Only the silence between turns is shortened.
"""

import json
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from statistics import median
from typing import Any

import anyio
import httpx
from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pipeline.simulator.serve import Simulation
from tests.support.oracle import Json, parse

HOUR = 3600.0  #: seconds of conversation
TURN = 10.0  #: seconds of conversation, from one turn to the next
TURNS = 30  #: in a session: five minutes
CHUNKS = 8  #: frames of audio in a turn, 50 ms each
FRAME = b"\xff" * 400  #: 50 ms of silence: µ-law at 8 kHz
AUDIO: Mapping[str, Any] = {"encoding": "pcm_mulaw", "sample_rate": 8000}
BREAKS = 0.05  #: of turns, after which the source's connection breaks
SLOW = 5  #: one turn in this many is answered so slowly that the next one supersedes it
SAMPLE = 0.25  #: seconds between two samples of the server


class Pace(Struct, frozen=True):
    """The duration of the run and its number of sessions."""

    seconds: float  #: for the hour
    sessions: int  #: at once
    warm_up: float = 0.0  #: seconds before it

    @property
    def speed(self) -> float:
        return HOUR / self.seconds

    @property
    def turn(self) -> float:
        """Seconds from one turn to the next."""
        return TURN / self.speed

    def script(self) -> Sequence[Mapping[str, Any]]:
        """Return the scenario of the scripted servers."""
        spoken: list[Mapping[str, Any]] = []
        for number in range(TURNS):
            at, slowly = number * CHUNKS * 50, " slowly" if number % SLOW == 0 else ""
            spoken.append({"stt": "partial", "at_ms": at + 100, "text": f"and turn {number}"})
            spoken.append({"stt": "end", "at_ms": at + 300, "text": f"And turn {number}{slowly}."})
        token = self.turn * 1000 / 20  # milliseconds; ten words take half a turn
        reply: Mapping[str, Any] = {"llm": "reply", "token_ms": token, "times": 0}
        slow = {**reply, "match": "slowly", "text": "word " * 60}
        return [*spoken, slow, {**reply, "text": "word " * 10}]


class Sample(Struct, frozen=True):
    """The server at one moment."""

    at: float  #: seconds since the hour began
    memory: float  #: bytes, resident
    tasks: float
    files: float  #: open descriptors


class Witness:
    """Checks the frames of one session at one client: every seq once, every response whole."""

    def __init__(self) -> None:
        self.place = 0  #: every event up to this seq was received
        self.lost = 0  #: events, and responses without an end or with another text
        self.ended = False
        self.events = 0
        self.superseded = 0
        self._open: dict[str, str] = {}

    def take(self, text: bytes) -> None:
        event = parse(text)
        if event["type"] == "heartbeat":
            self.lost += event["head"] != self.place
        elif event["type"] not in ("error", "audio.ack"):  # which have no seq
            self._follow(event)

    def _follow(self, event: Json) -> None:
        first: int = event["from_seq"] if "from_seq" in event else event["seq"]
        self.lost += abs(first - self.place - 1)
        self.events += event["seq"] - first + 1
        self.place = event["seq"]
        match event["type"]:
            case "response.created":
                self._open[event["response_id"]] = ""
            case "response.output_text.delta":
                self._open[event["response_id"]] += event["delta"]
            case "response.done":
                self.lost += self._open.pop(event["response_id"], None) != event["text"]
                self.superseded += event.get("reason") == "superseded"
            case "session.ended":
                self.ended = True
                self.lost += len(self._open)
            case _:
                pass


class Tally:
    """Counts over the whole run."""

    def __init__(self) -> None:
        self.sessions = 0
        self.events = 0  #: received by sources
        self.lost = 0
        self.superseded = 0
        self.breaks = 0  #: of sources
        self.severed = 0  #: speech-to-text connections
        self.visits = 0  #: of subscribers
        self.seen = 0  #: events received by subscribers


class Load:
    """Sessions and subscribers that run for a given time."""

    def __init__(self, url: str, sim: Simulation, pace: Pace, seed: int) -> None:
        self.tally = Tally()
        self._url = url
        self._sim = sim
        self._pace = pace
        self._dice = random.Random(seed)
        self._live: dict[str, Witness] = {}
        self._names = iter(range(1, 1 << 30))
        self._over = False

    async def run(self, seconds: float) -> None:
        """Keep the sessions running for ``seconds``, then let the last of them end."""
        self._over = False
        async with anyio.create_task_group() as tasks:
            for number in range(self._pace.sessions):
                tasks.start_soon(self._run_sessions, number)
                for _ in range(2):
                    tasks.start_soon(self._visit_repeatedly)
            tasks.start_soon(self._sever)
            await anyio.sleep(seconds)
            self._over = True

    # --- sources ---

    async def _run_sessions(self, number: int) -> None:
        """Run one session after another, offset from the other sources."""
        await anyio.sleep(self._pace.turn * TURNS * number / self._pace.sessions)
        while not self._over:
            name = f"call-{next(self._names)}"
            self._live[name] = witness = Witness()
            await self._converse(name, witness)
            del self._live[name]
            self.tally.sessions += 1
            self.tally.events += witness.events
            self.tally.lost += witness.lost + (not witness.ended)
            self.tally.superseded += witness.superseded

    async def _converse(self, name: str, witness: Witness) -> None:
        turn = 0
        while turn < TURNS and not witness.ended:
            async with self._source(name, witness) as socket:
                until = self._next_break(turn)
                for _ in range(turn, min(until, TURNS)):
                    await self._say_turn(socket)
                turn = until
                if until < TURNS:
                    self.tally.breaks += 1
                    socket.transport.abort()
                    continue
                await socket.send('{"type":"session.end"}')
                with suppress(ConnectionClosed):
                    await socket.wait_closed()

    def _next_break(self, turn: int) -> int:
        while turn < TURNS:
            turn += 1
            if self._dice.random() < BREAKS:
                break
        return turn

    @asynccontextmanager
    async def _source(self, name: str, witness: Witness) -> AsyncGenerator[ClientConnection]:
        start: Json = {"type": "session.start", "session_id": name, "audio": AUDIO}
        if witness.place:
            start |= {"resume": True, "after_seq": witness.place}
        async with (
            connect(f"{self._url}/v1/ingest/raw", proxy=None, close_timeout=1) as socket,
            anyio.create_task_group() as tasks,
        ):
            await socket.send(json.dumps(start))
            tasks.start_soon(read, socket, witness)
            yield socket

    async def _say_turn(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            for _ in range(CHUNKS):
                await socket.send(FRAME)
                await anyio.sleep(self._pace.turn / CHUNKS)

    async def _sever(self) -> None:
        """Break a speech-to-text connection now and then: one a minute of conversation."""
        while not self._over:
            await anyio.sleep(60 / self._pace.speed)
            open_now = [one for one in self._sim.stt.connections[-500:] if one.closed_at is None]
            if open_now:
                self.tally.severed += 1
                self._sim.stt.sever(self._dice.choice(open_now).number, by="rst")

    # --- subscribers ---

    async def _visit_repeatedly(self) -> None:
        """Follow one session for a while, leave, come back to it, and then to another."""
        while not self._over:
            await anyio.sleep(self._dice.uniform(0.0, 2 * self._pace.turn))
            if self._live:
                name, witness = self._dice.choice(list(self._live)), Witness()
                for _ in range(self._dice.randint(1, 3)):
                    with suppress(ConnectionClosed, InvalidStatus):
                        await self._visit(name, witness)
                self.tally.seen += witness.events
                self.tally.lost += witness.lost

    async def _visit(self, name: str, witness: Witness) -> None:
        self.tally.visits += 1
        path = f"/v1/events?session_id={name}&after_seq={witness.place}"
        async with connect(self._url + path, proxy=None, close_timeout=1) as socket:
            with anyio.move_on_after(self._dice.uniform(0.1, 8.0) * self._pace.turn):
                while not witness.ended:
                    witness.take(await socket.recv(decode=False))
            if self._dice.random() < 0.5:
                socket.transport.abort()


async def read(socket: ClientConnection, witness: Witness) -> None:
    with suppress(ConnectionClosed):
        while True:
            witness.take(await socket.recv(decode=False))


async def look(url: str) -> dict[str, float]:
    """Return what ``/metrics`` says, without what has labels."""
    async with httpx.AsyncClient(trust_env=False) as client:
        page = await client.get(url.replace("ws:", "http:") + "/metrics", timeout=30)
    families = text_string_to_metric_families(page.text)
    return {
        sample.name: sample.value
        for family in families
        for sample in family.samples
        if not sample.labels
    }


async def sample(url: str, at: float) -> Sample:
    shown = await look(url)
    return Sample(
        at=at,
        memory=shown["process_resident_memory_bytes"],
        tasks=shown["pipeline_tasks"],
        files=shown["process_open_fds"],
    )


async def watch(url: str, into: list[Sample]) -> None:
    """Sample the server until cancelled."""
    began = anyio.current_time()
    while True:
        into.append(await sample(url, anyio.current_time() - began))
        await anyio.sleep(SAMPLE)


async def settled(url: str, before: Sample, sim: Simulation) -> tuple[int, int]:
    """Wait until the server has released everything; return the tasks and sockets left over.

    Idle connections to the LLM, kept for the next request, do not count.
    """
    left = (0, 0)
    for _ in range(50):
        now = await sample(url, 0.0)
        ready = sim.llm.connections_open
        left = int(now.tasks - before.tasks), int(now.files - before.files - ready)
        if max(left) <= 0:
            break
        await anyio.sleep(0.2)
    return left


def quarters(samples: Sequence[Sample], seconds: float) -> list[list[Sample]]:
    """Return the samples of each quarter of the hour."""
    return [
        [each for each in samples if quarter / 4 <= each.at / seconds < (quarter + 1) / 4]
        for quarter in range(4)
    ]


def faults(
    memory: Sequence[float], tally: Tally, left: tuple[int, int], *, margin: float
) -> list[str]:
    """Return what is wrong; ``memory`` is that of each quarter, ``margin`` a share of the first."""
    found: list[str] = []
    if memory[-1] > memory[0] * (1 + margin):
        grown = (memory[-1] / memory[0] - 1) * 100
        found.append(f"memory grew by {grown:.1f} % from the first quarter to the last")
    if tally.lost:
        found.append(f"{tally.lost} events or answers were lost, doubled or changed")
    for count, what in zip(left, ("tasks", "sockets"), strict=True):
        if count > 0:
            found.append(f"{count} {what} are left over")
    return found


def typical(samples: Sequence[Sample], name: str) -> float:
    return median(float(getattr(each, name)) for each in samples)
