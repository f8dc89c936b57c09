"""Broken connections on either side of a whole service, as its clients see them."""

import json
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import anyio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from pipeline.simulator.number_audio import spoken
from tests.support import fault_proxy
from tests.support.service import service

NUMBERS: dict[str, Any] = {"stt": "connection", "hear_numbers": True}
FRAME = 1600  #: bytes: 50 ms


class Follower:
    """Collects a session's events, each once."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._news = anyio.Event()

    async def read(self, socket: ClientConnection) -> None:
        """Read until the connection is over."""
        try:
            async for message in socket:
                event = json.loads(message)
                if event["type"] != "heartbeat":
                    self.events.append(event)
                    self._news.set()
        except ConnectionClosed:
            return

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    async def until(self, kind: str, count: int) -> None:
        with anyio.fail_after(10):
            while len(self.of(kind)) < count:
                self._news = anyio.Event()
                await self._news.wait()


async def say(socket: ClientConnection, audio: bytes) -> None:
    for at in range(0, len(audio), FRAME):
        await socket.send(audio[at : at + FRAME])
        await anyio.sleep(0.005)


async def test_f20_a_source_that_was_reset_goes_on_with_its_conversation() -> None:
    """F20: same session, the prompt's history, no number missing, no turn twice."""
    audio = spoken(range(12))  # three turns
    first, rest = audio[: 32 * 2500 // FRAME * FRAME], audio[32 * 2500 // FRAME * FRAME :]
    follower = Follower()
    async with service([NUMBERS]) as (url, sim, _), fault_proxy(url) as proxy:
        start = {"type": "session.start", "session_id": "call"}
        async with connect(f"{proxy.url}/v1/ingest/raw", proxy=None) as source:
            await source.send(json.dumps(start))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follower.read, source)
                await say(source, first)  # into the second turn
                await sim.stt.audio_received(1, len(first) / 32)
                await follower.until("response.done", 1)
                await proxy.kill_all("rst")
        reached = max(event.get("seq", 0) for event in follower.events)
        again = start | {"after_seq": reached}
        async with connect(f"{proxy.url}/v1/ingest/raw", proxy=None) as source:
            await source.send(json.dumps(again))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follower.read, source)
                await say(source, rest)
                await follower.until("response.done", 3)
                await source.send('{"type":"session.end"}')
        assert len(sim.stt.connections) == 1  # speech-to-text noticed nothing
        asked = [request.body["messages"] for request in sim.llm.requests]
    events = [event for event in follower.events if event["type"] != "audio.ack"]
    assert {event["session_id"] for event in events} == {"call"}
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    turns = [(event["turn"], event["text"]) for event in follower.of("turn.completed")]
    assert turns == [(1, "0 1 2 3"), (2, "4 5 6 7"), (3, "8 9 10 11")]
    assert [message["content"] for message in asked[-1][1:]] == [
        "0 1 2 3",
        "You said: 0 1 2 3",
        "4 5 6 7",
        "You said: 4 5 6 7",
        "8 9 10 11",
    ]
    assert events[-1]["type"] == "session.ended"


async def test_bursts_and_pieces_of_any_size_cost_no_word() -> None:
    strict = NUMBERS | {"strict_audio": True}  # it ends a session that is fed too fast, or in bits
    audio, dice = spoken(range(8)), random.Random(1)
    follower = Follower()
    async with service([strict]) as (url, sim, _):
        async with connect(f"{url}/v1/ingest/raw", proxy=None) as source:
            await source.send('{"type":"session.start"}')
            began, at = anyio.current_time(), 0
            while at < len(audio):
                await anyio.sleep(dice.choice((0.01, 0.05, 1.2)))
                due = int((anyio.current_time() - began) * 32_000)
                while at < min(due, len(audio)):
                    piece = audio[at : at + dice.randrange(1, 9000)]
                    await source.send(piece)
                    at += len(piece)
            await source.send('{"type":"session.end"}')
            await follower.read(source)
        assert len(sim.stt.connections) == 1
        sizes = {size for _, size in sim.stt.connections[0].frames}
    assert [turn["text"] for turn in follower.of("turn.completed")] == ["0 1 2 3", "4 5 6 7"]
    assert min(sizes) >= FRAME  # 50 ms


async def test_f16_a_key_that_is_no_longer_good_ends_the_session_at_once() -> None:
    """F16: one error event, no retry, and the source is disconnected."""
    script: Sequence[dict[str, Any]] = (
        {"stt": "error", "at_ms": 500, "error_code": 1008, "error": "Invalid API key"},
    )
    follower = Follower()
    async with service(script) as (url, sim, _):
        async with connect(f"{url}/v1/ingest/raw", proxy=None) as source:
            await source.send('{"type":"session.start"}')
            with suppress(ConnectionClosed):
                await say(source, bytes(FRAME * 12))
            with anyio.fail_after(1):
                await follower.read(source)
        assert len(sim.stt.connections) == 1
    (error,) = follower.of("error")
    assert error["error"]["code"] == 1008
    assert "Invalid API key" in error["error"]["message"]
    assert follower.events[-1]["type"] == "session.ended"
    assert follower.events[-1]["reason"] == "error"
