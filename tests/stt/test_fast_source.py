"""Sources ahead of real time: paced by the server, never lost without a word."""

import math

import anyio
import pytest

from pipeline.interfaces.stt import StreamClosed, StreamLost, StreamUnanswered
from pipeline.interfaces.stt_protocol import SttEndpoint
from pipeline.simulator.number_audio import spoken
from pipeline.stt.source_pace import LEAD, SOURCE_BURST
from pipeline.stt.watchdog import BEHIND
from tests.stt.server import MemoryServer, MemorySocket
from tests.stt.vendors import VENDORS, Session, session


@pytest.fixture(params=list(VENDORS), autouse=True)
def _vendor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "vendor", VENDORS[request.param])


NUMBERS = list(range(400))  # 190 s


class SlowServer(MemoryServer):
    """Reads audio at a multiple of real time only, and may break connections."""

    reads = math.inf

    async def dial(self, connection: SttEndpoint) -> MemorySocket:
        socket = await super().dial(connection)
        socket.reads = self.reads
        return socket


@pytest.mark.parametrize("reads", [0.8, 1.5, 12.0, math.inf])
@pytest.mark.parametrize("heartbeat_ms", [None, 5000])
async def test_a_server_gets_audio_as_fast_as_it_reads(
    reads: float, heartbeat_ms: float | None
) -> None:
    server = SlowServer(heartbeat_ms=heartbeat_ms, strict_audio=False)
    server.reads = reads
    start = anyio.current_time()
    async with session(server, pace=0.0) as one:
        await one.say(spoken(NUMBERS), real_time=False)
    assert one.words == NUMBERS
    assert len(server.sockets) == 1
    assert server.newest.most_unread < SOURCE_BURST + LEAD + 0.1
    assert anyio.current_time() - start < 200 / reads + 15


def test_the_lead_is_less_than_the_watchdog_tolerates() -> None:
    assert LEAD < BEHIND


@pytest.mark.parametrize("reads", [1.5, 12.0])
async def test_a_fast_source_loses_nothing_when_connections_break(reads: float) -> None:
    server = SlowServer(strict_audio=False)
    server.reads = reads
    audio = spoken(NUMBERS)
    part = len(audio) // 11 // 1600 * 1600
    async with session(server, pace=0.0, keep_disk=600.0) as one:
        for at in range(0, len(audio), part):
            await one.say(audio[at : at + part], real_time=False)
            server.newest.lose()
    assert one.words == NUMBERS
    assert len(one.of(StreamLost)) >= 10


@pytest.mark.parametrize(("seconds", "waits"), [(2.0, 5.0), (40.0, 40.0)])
async def test_a_server_has_as_long_for_its_end_as_the_audio_lasts(
    seconds: float, waits: float
) -> None:
    server = MemoryServer(strict_audio=False)
    async with session(server, pace=0.0, close_timeout=5.0) as one:
        audio = spoken(range(round(seconds / 0.475)))
        await one.say(audio, real_time=False)
        server.newest.forgets = True
        start = anyio.current_time()
        server.newest.mute = True
        await one.client.finish()
    assert anyio.current_time() - start >= waits
    (lost,) = one.of(StreamUnanswered)
    assert lost.lost_to == pytest.approx(len(audio) / 32_000)
    assert isinstance(one.heard[-1], StreamClosed)


async def test_a_server_that_refuses_the_pace_gets_audio_more_slowly() -> None:
    server = SlowServer(strict_audio=True)
    async with session(server, pace=0.0, keep_disk=600.0) as one:
        await one.say(spoken(NUMBERS), real_time=False)
    assert one.words == NUMBERS
    assert len(server.sockets) > 1
