"""A meeting of three hours on virtual time: no word lost, turns numbered on, memory flat."""

import gc
import sys
from functools import partial

import anyio
import pytest
from msgspec.structs import replace

from pipeline.audio.pcm import Format
from pipeline.config.settings import SttSettings
from pipeline.interfaces.stt_client import Hear
from pipeline.simulator.number_audio import spoken
from pipeline.stt.assemblyai.endpoint import endpoint_for
from pipeline.stt.client import SttClient
from tests.stt.server import MemoryServer
from tests.support.session_fixture import Stage

AUDIO = Format(sample_rate=8000)
TURN = 5  #: seconds: a silence, two words, and a long silence
BEFORE = 0.8  #: seconds until the first word; 0.5 s later both are said
TURNS = 3 * 3600 // TURN
LOOK = 180  #: turns between two looks at the memory: a quarter of an hour
KEPT = 30.0  #: seconds of audio at most, to be sent again


class Meeting:
    """A speaker with a turn every five seconds, and checks of the events and the memory."""

    def __init__(self, server: MemoryServer) -> None:
        self.words: list[int] = []
        self.turns: list[int] = []
        self.answers = 0
        self.interruptions = 0
        self.blocks: list[int] = []  #: of memory that the interpreter has given out
        self.kept: list[float] = []  #: seconds of audio
        self._server = server
        self._client: SttClient | None = None
        self.stage = Stage(audio=AUDIO, listen=self._listen, keep=500)
        self.stage.gateway.gap = 0.5

    def _listen(self, audio: Format, hear: Hear) -> SttClient:
        settings = SttSettings(parameters={"sample_rate": audio.sample_rate}, keep_disk=0)
        connection = endpoint_for(settings, None, "ws://127.0.0.1:9")
        connection = replace(connection, pace=1.25, run_up=0.5)  # as the vendor's
        self._client = SttClient(connection, partial(hear, channel=0), dial=self._server.dial)
        return self._client

    async def speak(self) -> None:
        async with self.stage.open() as session:
            for turn in range(TURNS):
                said = spoken((2 * turn, 2 * turn + 1), sample_rate=AUDIO.sample_rate)
                audio = (AUDIO.silence(BEFORE) + said).ljust(TURN * AUDIO.bytes_per_second, b"\0")
                for second in range(TURN):
                    await anyio.sleep_until(TURN * turn + second + 1)
                    at = second * AUDIO.bytes_per_second
                    await session.audio(audio[at : at + AUDIO.bytes_per_second])
                if turn % LOOK == LOOK - 1:
                    self._look()
            await session.finish()
        self._look()

    def _look(self) -> None:
        """Count and drop the new events, then measure what the session still holds."""
        assert self._client is not None
        turns = self.stage.said("turn.completed")
        self.turns += [event["turn"] for event in turns]
        self.words += [int(word) for event in turns for word in event["text"].split()]
        self.answers += sum(e["status"] == "completed" for e in self.stage.said("response.done"))
        self.interruptions += len(self.stage.said("stt.interrupted"))
        for seen in (self.stage.events, self.stage.reports, self.stage.gateway.requests):
            seen.clear()
        gc.collect()
        self.kept.append(self._client.kept)
        self.blocks.append(sys.getallocatedblocks() - len(self.words) - len(self.turns))


async def lost_three_times(server: MemoryServer) -> None:
    """Break three connections; the fourth lives until it must end."""
    for turn in (100, 200, 300):
        await anyio.sleep_until(turn * TURN + 1.5)  # one of its words has been sent
        server.newest.lose()


@pytest.mark.timeout(240)
async def test_three_hours_with_losses_and_a_roll_over_keep_memory_flat() -> None:
    server = MemoryServer(expires_s=10_800, heartbeat_ms=5000)
    meeting = Meeting(server)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lost_three_times, server)
        await meeting.speak()
    assert meeting.words == list(range(2 * TURNS))
    assert meeting.turns == list(range(1, TURNS + 1))
    assert meeting.answers == TURNS
    assert meeting.interruptions == 3
    *lost, last, following = server.sockets
    assert len(lost) == 3
    context = "UpdateConfiguration"  # the agent's answers
    assert [each for each in last.controls if each != context] == ["Terminate"]  # no interruption
    assert following.opened - last.opened == pytest.approx(0.8 * 10_800, abs=TURN)
    assert int(following.opened) % TURN != 1  # in silence, so the first word was complete
    assert max(meeting.kept) < KEPT
    # From the end of the first hour on, when every buffer is full, also that of turns that can be
    # revised, which the last loss emptied: the transcript grows, by a record, a text and a number
    # a turn, and nothing else does.
    full = 3
    grown = max(meeting.blocks[full:]) - meeting.blocks[full]
    assert grown < 3.5 * (TURNS - (full + 1) * LOOK), meeting.blocks
