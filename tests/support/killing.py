"""Crash test: ``pipeline serve`` is killed under load at random moments and restarted.

Sources and subscribers of all kinds record every frame. After the restart each of them resumes
after the last ``seq`` it received, and ``oracle`` checks every frame against the journal's file.
"""

import json
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from msgspec import Struct
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed, InvalidMessage

from pipeline.journal.sqlite import stored_events
from pipeline.simulator.serve import Simulation
from tests.support.commandline import running
from tests.support.oracle import Client, Model, parse
from tests.support.waiting import until

FRAME = bytes(1600)  # 50 ms of silence
PATIENCE = 20.0  #: seconds until all subscribers have caught up after a restart

#: two prompts, one that supersedes and one in parallel, so that several responses are open
ENVIRONMENT = {
    "PIPELINE_PROMPTS__REPLY__POLICY": "supersede",
    "PIPELINE_PROMPTS__NOTES__POLICY": "parallel",
}
SCRIPT: Sequence[dict[str, Any]] = (
    *({"stt": "end", "at_ms": 250 * n, "text": f"Spoken turn {n}."} for n in range(1, 40)),
    {"llm": "reply", "text": "word " * 60, "token_ms": 4, "times": 0},
)


class Outcome(Struct, frozen=True):
    """The checked result of one kill."""

    after: float  #: seconds of load until the kill
    sessions: int
    events: int  #: in the journal, endings included
    frames: int  #: received, by all subscribers together
    unseen: int  #: events on disk that no subscriber had received
    lost: int  #: responses that were open at the kill, ended by recovery


class Subscription(Struct, frozen=True):
    """The way one subscriber listens."""

    star: bool = False  #: to all sessions on one socket
    globs: str = ""
    pause: float = 0.0  #: seconds between two frames; disconnects at once when the server is killed


#: each source also listens
KINDS = (
    Subscription(),
    Subscription(star=True),
    Subscription(star=True),
    Subscription(globs="response.*,session.*"),
    Subscription(pause=0.005),
)


class Follower:
    """One subscriber over two processes of the server."""

    def __init__(self, kind: Subscription, names: Sequence[str]) -> None:
        self.kind = kind
        self.names = names
        self.lives: list[dict[str, list[bytes]]] = []
        self.place = dict.fromkeys(names, 0)
        self.leaves = False  #: disconnect with what it has read, if it pauses
        self._ended: set[str] = set()

    async def follow(self, url: str) -> None:
        """Connect or reconnect, and listen until every session has ended or the server is gone."""
        lives = len(self.lives)
        with suppress(ConnectionClosed, InvalidMessage, OSError):
            async with connect_websocket(f"{url}/v1/events", proxy=None, max_size=1 << 24) as ws:
                for name in self.names:
                    await ws.send(json.dumps(self._subscribe(name)))
                await self.listen(ws)
        if len(self.lives) == lives:  # the server was killed before it connected
            self.lives.append({name: [] for name in self.names})

    def _subscribe(self, name: str) -> dict[str, Any]:
        globs = [glob for glob in self.kind.globs.split(",") if glob]
        return {
            "type": "session.subscribe",
            "session_id": name,
            "after_seq": self.place[name],
            "events": globs,
        }

    async def listen(self, socket: ClientConnection) -> None:
        """Record frames until every session has ended."""
        life: dict[str, list[bytes]] = {name: [] for name in self.names}
        self.lives.append(life)
        while len(self._ended) < len(self.names):
            text = await socket.recv(decode=False)
            event = parse(text)
            name = event["session_id"]
            life[name].append(text)
            if event["type"] != "error":
                self.place[name] = event["head" if event["type"] == "heartbeat" else "seq"]
            if event["type"] == "session.ended":
                self._ended.add(name)
            if self.kind.pause and len(self.lives) == 1:
                if self.leaves:
                    socket.transport.abort()
                    return
                await anyio.sleep(self.kind.pause)

    def check(self, name: str, model: Model, stored: Sequence[bytes]) -> None:
        """Check the frames of one session against the protocol and the file."""
        client = Client(model)
        globs = tuple(glob for glob in self.kind.globs.split(",") if glob)
        for life in self.lives:
            client.connected(client.place, globs)
            for text in life[name]:
                client.receive(text)
                event = parse(text)
                if "seq" in event and "from_seq" not in event:
                    assert text == stored[event["seq"] - 1], f"{text!r} was changed"
        assert client.place == len(stored), f"{client!r} stopped at {client.place}"

    def count(self) -> int:
        return sum(len(texts) for life in self.lives for texts in life.values())


class Load:
    """Sessions and subscribers over one process of the server and the start of the next."""

    def __init__(self, names: Sequence[str], dice: random.Random) -> None:
        self.names = names
        self._dice = dice
        self._sources = {name: Follower(Subscription(), [name]) for name in names}
        self._followers = [
            Follower(kind, names if kind.star else [dice.choice(names)]) for kind in KINDS
        ]
        self._after = 0.0
        self._shown: dict[str, int] = {}

    @property
    def followers(self) -> Sequence[Follower]:
        return [*self._sources.values(), *self._followers]

    async def run(self, url: str, seconds: float, kill: Callable[[], Any]) -> None:
        """Start the sessions; once all are live, wait ``seconds`` and have the server killed."""
        self._after = seconds
        async with anyio.create_task_group() as tasks:
            for index, name in enumerate(self.names):
                await tasks.start(self._talk, url, name, index == 0)
            for follower in self._followers:
                tasks.start_soon(follower.follow, url)
            await until(lambda: all(f.place[name] for name, f in self._sources.items()))
            await anyio.sleep(seconds)
            await kill()
            for follower in self.followers:
                follower.leaves = True
        for name in self.names:
            self._shown[name] = max(f.place.get(name, 0) for f in self.followers)

    async def _talk(
        self, url: str, name: str, spoken: bool, *, task_status: anyio.abc.TaskStatus[None]
    ) -> None:
        """Send one session's input until the server is gone, and listen on the same socket."""
        ingest = connect_websocket(f"{url}/v1/ingest/raw", proxy=None, max_size=1 << 24)
        async with ingest as socket, anyio.create_task_group() as tasks:
            audio = ',"audio":{}' if spoken else ""
            await socket.send(f'{{"type":"session.start","session_id":"{name}"{audio}}}')
            tasks.start_soon(self._hear, self._sources[name], socket)
            with suppress(ConnectionClosed):
                task_status.started()
                turn = 0
                while True:
                    if spoken:
                        await socket.send(FRAME)
                    else:
                        turn += 1
                        await socket.send(
                            json.dumps({"type": "turn.create", "text": f"Turn {turn}."})
                        )
                    await anyio.sleep(0.05 if spoken else self._dice.uniform(0.02, 0.2))

    async def _hear(self, source: Follower, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            await source.listen(socket)

    async def check(self, url: str, journal: Path) -> Outcome:
        """Let all subscribers resume, and check every frame they received against the file."""
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                for follower in self.followers:
                    tasks.start_soon(follower.follow, url)
        events = unseen = lost = 0
        for name in self.names:
            stored = await to_thread.run_sync(stored_events, journal, name)
            model = Model()
            model.events = [parse(text) for text in stored]
            model.shown = len(stored)
            lost += check_history(model.events)
            for follower in self.followers:
                if name in follower.names:
                    follower.check(name, model, stored)
            events += len(stored)
            first = model.events[0]["epoch"]
            unseen += sum(each["epoch"] == first for each in model.events) - self._shown[name]
        return Outcome(
            after=self._after,
            sessions=len(self.names),
            events=events,
            frames=sum(follower.count() for follower in self.followers),
            unseen=unseen,
            lost=lost,
        )


def check_history(events: Sequence[Mapping[str, Any]]) -> int:
    """Check one session's stored events; return how many responses recovery ended."""
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    epochs = [event["epoch"] for event in events]
    assert epochs == sorted(epochs)
    assert len(set(epochs)) == 2, "no event of the second process"
    created = [event for event in events if event["type"] == "response.created"]
    done = [event for event in events if event["type"] == "response.done"]
    assert sorted(e["response_id"] for e in created) == sorted(e["response_id"] for e in done)
    late = [event for event in events if event["epoch"] == epochs[-1]]
    lost = [event for event in late if event["type"] == "response.done"]
    assert all((e["status"], e["reason"]) == ("failed", "owner_lost") for e in lost)
    assert (late[-1]["type"], late[-1]["reason"]) == ("session.ended", "owner_lost")
    assert len(late) == len(lost) + 1
    return len(lost)


async def kill_repeatedly(
    journal: Path,
    sim: Simulation,
    dice: random.Random,
    rounds: int,
    on_outcome: Callable[[int, Outcome], object],
    *,
    sessions: int = 4,
    longest: float = 1.5,
) -> None:
    """Kill ``rounds`` processes of the server, each within ``longest`` seconds of load.

    ``on_outcome`` receives each outcome. Raises ``AssertionError`` for the first violation.
    """
    words = ["serve", "--port", 0, "--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "m"]
    before: Load | None = None
    for number in range(rounds + 1):
        async with running(*words, "--journal", journal, env=ENVIRONMENT) as server:
            url = (await server.line(holding="listening on")).split(";")[0].split()[-1]
            if before is not None:
                on_outcome(number, await before.check(url, journal))
            if number == rounds:
                assert await server.stop(signal.SIGTERM) == 143
                return
            before = Load([f"life-{number}-{n}" for n in range(sessions)], dice)
            await before.run(url, dice.uniform(0, longest), lambda: server.stop(signal.SIGKILL))
