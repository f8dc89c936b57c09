"""Real broken connections: no word is lost, none doubled, and capture never waits."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Any

import anyio
import pytest
from msgspec.structs import replace
from websockets.asyncio.client import ClientConnection, connect

from pipeline.config.settings import SttSettings
from pipeline.errors import SttBusy, SttRefused
from pipeline.interfaces.stt import Heard, StreamLost, StreamResumed, Transcript
from pipeline.simulator.number_audio import spoken
from pipeline.stt import source_pace, websocket
from pipeline.stt.assemblyai.endpoint import endpoint_for
from pipeline.stt.client import SttClient
from tests.support import FaultProxy, Simulation, fault_proxy, simulate

SPEED = 10.0  #: times real time
NUMBERS = list(range(60))  # 28.5 s of audio


@pytest.fixture(autouse=True)
def live(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take audio at ``SPEED`` as live: it is real time here that runs faster."""
    monkeypatch.setattr(source_pace, "REAL_TIME", SPEED)


class Talk:
    """A client that is spoken to, faster than real time, through a proxy."""

    def __init__(self, proxy: FaultProxy, simulation: Simulation, **connection: Any) -> None:
        self.proxy = proxy
        self.simulation = simulation
        self.heard: list[Heard] = []
        self.slowest = 0.0  #: seconds that one ``send`` took
        self.lost = anyio.Event()  #: a connection was
        made = endpoint_for(SttSettings(connect_timeout=2.0), None, proxy.url)
        self.client = SttClient(replace(made, **connection), self._hear)

    def _hear(self, heard: Heard) -> None:
        self.heard.append(heard)
        if isinstance(heard, StreamLost):
            self.lost.set()

    @property
    def words(self) -> list[int]:
        ended = [h for h in self.heard if isinstance(h, Transcript) and h.ended]
        return [int(word) for heard in ended for word in heard.text.split()]

    @property
    def causes(self) -> list[str]:
        return [heard.cause for heard in self.heard if isinstance(heard, StreamLost)]

    async def say(self) -> None:
        audio = spoken(NUMBERS)
        start = anyio.current_time()
        for at in range(0, len(audio), 1600):
            await anyio.sleep_until(start + at / 32_000 / SPEED)
            before = anyio.current_time()
            await self.client.send(audio[at : at + 1600])
            self.slowest = max(self.slowest, anyio.current_time() - before)


@asynccontextmanager
async def talking(*more: dict[str, Any]) -> AsyncGenerator[Talk]:
    """Speak all numbers; what the test does meanwhile comes in between."""
    script = [{"stt": "connection", "hear_numbers": True}, *more]
    async with simulate(script) as simulation, fault_proxy(simulation.stt_url) as proxy:
        talk = Talk(proxy, simulation)
        async with anyio.create_task_group() as tasks:
            await tasks.start(talk.client.run)
            async with anyio.create_task_group() as speaking:
                speaking.start_soon(talk.say)
                yield talk
            await talk.client.finish()


@pytest.mark.parametrize("by", ["rst", "fin"])
async def test_connections_that_are_cut_cost_no_word(by: Any) -> None:
    """F11: real resets and closes in mid-turn."""
    async with talking() as talk:
        for _ in range(8):
            await anyio.sleep(0.31)
            await talk.proxy.kill_all(by)
    assert talk.words == NUMBERS
    assert len(talk.causes) >= 4  # a cut while connecting is the same interruption
    assert talk.slowest < 0.1


async def test_an_outage_costs_no_word() -> None:
    """F12: connections are refused for a while."""
    async with talking() as talk:
        await anyio.sleep(0.7)
        talk.proxy.refuse = True
        await talk.proxy.kill_all()
        await anyio.sleep(0.7)
        talk.proxy.refuse = False
    assert talk.words == NUMBERS
    assert talk.slowest < 0.1


async def small(*address: Any, **options: Any) -> ClientConnection:
    """Connect with a send buffer that fills at once."""
    made = await connect(*address, **options)
    made.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_SNDBUF, 4096)
    return made


async def test_a_server_that_stops_reading_is_left_and_costs_no_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F14: a zero window is found out 2 s after the buffers are full; capture never waits."""
    monkeypatch.setattr(websocket, "connect", small)
    async with talking() as talk:
        await anyio.sleep(0.31)
        talk.proxy.stop_reading()
        stopped = anyio.current_time()
        await talk.lost.wait()
        assert anyio.current_time() - stopped < 3.5
    (cause,) = talk.causes
    assert "took no audio for 2 s" in cause
    assert talk.words == NUMBERS
    assert talk.slowest < 0.1
    assert talk.proxy.accepted == 2


async def test_a_half_open_connection_is_found_by_its_heartbeats() -> None:
    beats = {"stt": "connection", "hear_numbers": True, "heartbeat_ms": 100}
    async with simulate([beats]) as simulation, fault_proxy(simulation.stt_url) as proxy:
        talk = Talk(proxy, simulation)
        async with anyio.create_task_group() as tasks:
            await tasks.start(talk.client.run)
            await anyio.sleep(0.3)
            proxy.blackhole()
            tasks.start_soon(talk.say)
            await anyio.sleep(12)
            assert len(talk.causes) == 1
            proxy.heal()
            await anyio.sleep(1)
            await talk.client.finish()
    assert talk.words == NUMBERS


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [(1008, "Invalid API key", SttRefused), (3006, "Invalid parameter", SttRefused)],
)
async def test_a_refusal_in_mid_session_is_the_end_at_once(
    code: int, text: str, kind: type[Exception]
) -> None:
    """F16: a key that is not, or no longer, good."""
    error = {"stt": "error", "at_ms": 500, "error_code": code, "error": text}
    began = anyio.current_time()
    reached: list[FaultProxy] = []
    with pytest.raises(BaseExceptionGroup) as failed:
        async with talking(error) as talk:
            reached.append(talk.proxy)
    assert failed.group_contains(kind, match=text)
    assert reached[0].accepted == 1  # it is not tried again
    assert anyio.current_time() - began < 1


async def test_a_server_that_is_full_is_asked_again_later() -> None:
    """F17: too many concurrent sessions."""
    script: list[dict[str, Any]] = [
        {"stt": "connection", "hear_numbers": True},
        {"stt": "drop", "at_ms": 3000},
        {"stt": "connection"},
        {"stt": "error", "error_code": 3009, "error": "Too many concurrent sessions"},
        {"stt": "connection", "hear_numbers": True},
    ]
    async with simulate(script) as simulation, fault_proxy(simulation.stt_url) as proxy:
        talk = Talk(proxy, simulation)
        async with anyio.create_task_group() as tasks:
            await tasks.start(talk.client.run)
            await talk.say()
            await talk.client.finish()
    assert talk.words == NUMBERS
    assert len(simulation.stt.connections) == 3


async def test_a_full_server_that_stays_full_is_said_so() -> None:
    """F17: and it stays so."""
    script = [{"stt": "connection", "http_status": 429}]
    async with simulate(script) as simulation, fault_proxy(simulation.stt_url) as proxy:
        talk = Talk(proxy, simulation, connect_timeout=0.5)
        with pytest.raises(SttBusy, match="wait a minute"):
            await talk.client.run()


async def test_what_was_replayed_is_published() -> None:
    async with talking() as talk:
        await anyio.sleep(1.0)
        await talk.proxy.kill_all()
    (resumed,) = [heard for heard in talk.heard if isinstance(heard, StreamResumed)]
    assert 0 < resumed.replayed < 15
    assert resumed.lost_to is None
