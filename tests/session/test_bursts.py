"""Audio that comes in bursts and pieces of any size, on virtual time: no word lost, paced on."""

import random
from functools import partial
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from pipeline.audio.pcm import Format
from pipeline.config.settings import SttSettings
from pipeline.ingest.raw import RawAdapter
from pipeline.interfaces.stt_client import Hear
from pipeline.protocol.commands import StartCommand
from pipeline.session.session import Session
from pipeline.simulator.number_audio import spoken
from pipeline.stt.assemblyai.endpoint import endpoint_for
from pipeline.stt.client import SttClient
from pipeline.stt.source_pace import SOURCE_BURST
from tests.stt.server import MemoryServer
from tests.support.session_fixture import Stage

NUMBERS = list(range(240))  # 114 s
SECOND = 32_000  #: bytes


def stage(server: MemoryServer, **parameters: Any) -> Stage:
    """A session on a speech-to-text that wants its audio paced as the vendor does."""
    made = endpoint_for(SttSettings(parameters=parameters), None, "ws://127.0.0.1:9")
    connection = replace(made, pace=1.25, keep_disk=0.0, run_up=0.5)

    def listen(audio: Format, hear: Hear) -> SttClient:
        return SttClient(connection, partial(hear, channel=0), dial=server.dial)

    return Stage(listen=listen)


def words(said: list[dict[str, Any]]) -> list[int]:
    return [int(word) for event in said for word in event["text"].split()]


async def play(session: Session, audio: bytes, dice: random.Random, longest: float) -> float:
    """Bring ``audio`` as a network with hiccups does; return the longest that it was held up.

    It comes in real time on the whole, in pieces of any size; for up to ``longest`` seconds
    nothing comes, and then all of it at once.
    """
    adapter = RawAdapter()
    (start,) = adapter.receive('{"type":"session.start"}')
    assert isinstance(start, StartCommand)
    began, at, held_up = anyio.current_time(), 0, 0.0
    while at < len(audio):
        await anyio.sleep(dice.uniform(0, longest) if dice.random() < 0.2 else 0.02)
        due = min(int((anyio.current_time() - began) * SECOND), len(audio))
        while at < due:
            piece = audio[at : min(due, at + dice.randrange(1, 9000))]
            at += len(piece)
            before = anyio.current_time()
            for order in adapter.receive(piece):
                assert isinstance(order, bytes)
                await session.audio(order)
            held_up = max(held_up, anyio.current_time() - before)
    return held_up


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_bursts_cost_no_word_and_never_come_too_fast(seed: int) -> None:
    server = MemoryServer()  # it ends a session whose audio comes too fast, with 3007
    scene = stage(server)
    async with scene.open() as session:
        held_up = await play(session, spoken(NUMBERS), random.Random(seed), SOURCE_BURST - 1)
        assert anyio.current_time() == pytest.approx(114, abs=SOURCE_BURST)
        await session.finish()
    assert words(scene.said("turn.completed")) == NUMBERS
    assert len(server.sockets) == 1
    assert scene.said("stt.interrupted") == []
    assert held_up == 0  # the source is not made to wait


async def test_a_source_that_stalls_for_long_is_heard_on_without_a_gap() -> None:
    # 8.3 s of speech, cut off in a word.  60 s of nothing.  The rest.
    server, audio = MemoryServer(), spoken(NUMBERS[:40])
    cut = 83 * SECOND // 10
    scene = stage(server)
    async with scene.open() as session:
        dice = random.Random(4)
        await play(session, audio[:cut], dice, 1.0)
        await anyio.sleep(60)
        assert words(scene.said("turn.completed")) == NUMBERS[:18]
        await play(session, audio[cut:], dice, 1.0)
        await session.finish()
    assert words(scene.said("turn.completed")) == NUMBERS[:40]
    assert "ForceEndpoint" in server.newest.controls


async def test_an_unpublished_turn_is_ended_too_when_its_source_stalls() -> None:
    server = MemoryServer(partials=False)
    scene = stage(server, include_partial_turns=False)
    async with scene.open() as session:
        await play(session, spoken([1, 2], words_per_turn=9), random.Random(5), 0.1)
        await anyio.sleep(10)
        assert words(scene.said("turn.completed")) == [1, 2]
        assert server.newest.controls.count("ForceEndpoint") == 1
