"""Fail-over between engines: which is next, and that no word is lost or doubled on the way."""

import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.errors import SttBusy, SttError, SttLost, SttRefused
from pipeline.interfaces.stt import Heard, StreamLost, StreamOpened, StreamResumed, Transcript
from pipeline.interfaces.stt_protocol import SttEndpoint
from pipeline.simulator.number_audio import spoken
from pipeline.stt.client import SttClient
from pipeline.stt.failover import REST, REST_REFUSED, Failover
from pipeline.stt.reconnect import ReconnectPolicy
from pipeline.stt.transport import SttSocket
from tests.stt.server import MemoryServer, frames
from tests.stt.vendors import VENDORS

# --- the decision --------------------------------------------------------------------------

LOST, BUSY, REFUSED = SttLost("lost"), SttBusy("busy"), SttRefused("refused")


def failover(engines: int) -> Failover:
    return Failover(engines, ReconnectPolicy(first=30, patience=60, now=0.0))


def test_a_healthy_session_that_is_lost_is_tried_again_then_the_next_engine() -> None:
    decide = failover(3)
    decide.opened(0, 0.0)
    assert (decide.after(LOST, 20.0, 0.5), decide.current) == (0.0, 0)
    assert (decide.after(LOST, 20.1, 0.5), decide.current) == (0.0, 1)
    assert (decide.after(BUSY, 20.2, 0.5), decide.current) == (0.0, 2)
    assert decide.after(LOST, 20.3, 0.5) > 0  # all rest
    assert decide.current == 0


def test_an_engine_that_refuses_rests_for_long_and_all_that_do_end_the_stream() -> None:
    decide = failover(2)
    assert (decide.after(REFUSED, 0.0, 0.5), decide.current) == (0.0, 1)
    decide.opened(1, 1.0)
    assert decide.preferred(REST_REFUSED - 1) is None
    assert decide.preferred(REST_REFUSED + 1) == 0
    with pytest.raises(SttRefused):
        decide.after(REFUSED, 9.0, 0.5)


def test_the_rest_of_an_engine_that_keeps_failing_grows() -> None:
    decide = failover(2)
    decide.opened(1, 0.0)
    rests: list[float] = []
    now = 0.0
    for _ in range(6):
        decide.failed(0, LOST, now)
        began = now
        while decide.preferred(now) is None:
            now += 0.5
        rests.append(now - began)
    assert rests == [5.0, 10.0, 20.0, 40.0, *[REST[1]] * 2]


def test_one_engine_is_left_to_the_reconnect_policy() -> None:
    decide, policy = failover(1), ReconnectPolicy(first=30, patience=60, now=0.0)
    for error in (LOST, LOST, BUSY):
        assert decide.after(error, 1.0, 0.5) == policy.after(error, 1.0, 0.5)
    with pytest.raises(SttRefused):
        decide.after(REFUSED, 1.0, 0.5)


@given(
    st.integers(2, 4),
    st.lists(st.tuples(st.sampled_from([LOST, BUSY, REFUSED, None]), st.floats(0.1, 20))),
)
def test_attempts_never_end_while_an_engine_could_serve(
    engines: int, history: Sequence[tuple[SttError | None, float]]
) -> None:
    decide, now, alive = failover(engines), 0.0, 0.0
    for error, lasted in history:
        now += lasted
        if error is None:
            decide.opened(decide.current, now)
            alive = now
            continue
        try:
            delay = decide.after(error, now, 1.0)
        except (SttRefused, SttBusy):
            return  # all have refused, or all rest and the wait would be too long
        except SttLost:
            assert now - alive > 25, "given up too early"
            return
        assert 0 <= decide.current < engines
        now += delay
        preferred = decide.preferred(now)
        assert preferred is None or preferred < decide.current


# --- with servers --------------------------------------------------------------------------


class Stream:
    """A client with two engines, which is being spoken to in real time."""

    def __init__(self, endpoints: Sequence[SttEndpoint], servers: Sequence[MemoryServer]) -> None:
        named = [
            replace(e, engine=name, keep_disk=600.0)
            for e, name in zip(endpoints, "abc", strict=False)
        ]
        self.heard: list[Heard] = []
        self._servers = dict(zip("abc", servers, strict=False))
        self._translate = {
            e.engine: v.translate
            for e in named
            for v in VENDORS.values()
            if type(v.endpoint) is type(e)
        }
        self.client = SttClient(named[0], self.heard.append, others=named[1:], dial=self._dial)

    async def _dial(self, endpoint: SttEndpoint) -> SttSocket:
        socket = await self._servers[endpoint.engine].dial(endpoint)
        return self._translate[endpoint.engine](socket)

    @property
    def words(self) -> list[int]:
        ended = [h for h in self.heard if isinstance(h, Transcript) and h.ended]
        return [int(word) for heard in ended for word in heard.text.split()]

    @property
    def engines(self) -> list[str]:
        """The engines in the order in which their sessions began."""
        return [h.engine for h in self.heard if isinstance(h, StreamOpened)]

    async def say(self, audio: bytes) -> None:
        start = anyio.current_time()
        for i, frame in enumerate(frames(audio), start=1):
            await anyio.sleep_until(start + i / 20)
            await self.client.send(frame)


ASSEMBLYAI, SECOND = (replace(v.endpoint, run_up=0.5, pace=1.25) for v in VENDORS.values())


@asynccontextmanager
async def stream(
    *servers: MemoryServer, endpoints: Sequence[SttEndpoint] = (ASSEMBLYAI, SECOND)
) -> AsyncGenerator[Stream]:
    one = Stream(endpoints, servers)
    async with anyio.create_task_group() as tasks:
        await tasks.start(one.client.run)
        yield one
        await one.client.finish()


async def test_a_region_that_dies_in_mid_turn_costs_no_word() -> None:
    first, second = MemoryServer(), MemoryServer()
    numbers = list(range(60))
    audio = spoken(numbers)
    async with stream(first, second) as one:
        await one.say(audio[: 32 * 8400])  # in the fifth turn
        first.down = lambda: True
        first.newest.lose()
        await one.say(audio[32 * 8400 :])
    assert one.words == numbers
    assert one.engines == ["a", "b"]
    (lost,) = [h for h in one.heard if isinstance(h, StreamLost)]
    (resumed,) = [h for h in one.heard if isinstance(h, StreamResumed)]
    assert (lost.engine, resumed.engine, resumed.lost_to) == ("a", "b", None)


async def test_a_stream_goes_back_to_its_preferred_engine_at_a_pause() -> None:
    first, second = MemoryServer(), MemoryServer()
    numbers = list(range(160))
    audio = spoken(numbers)
    async with stream(first, second) as one:
        up_again = 20.0 + anyio.current_time()
        await one.say(audio[: 32 * 8400])
        first.down = lambda: anyio.current_time() < up_again
        first.newest.lose()
        await one.say(audio[32 * 8400 :])
    assert one.words == numbers
    assert one.engines == ["a", "b", "a"]
    assert len([h for h in one.heard if isinstance(h, StreamLost)]) == 1  # going back is no loss
    assert second.newest.controls == ["Terminate"]


async def test_a_first_engine_that_is_down_or_refuses_leaves_the_start_to_the_next() -> None:
    for refusal in (SttRefused("Invalid API key"), SttLost("out of reach"), SttBusy("crowded")):
        first, second = MemoryServer(), MemoryServer()
        first.down, first.refusal = (lambda: True), refusal
        async with stream(first, second) as one:
            assert one.engines == ["b"]  # known as soon as the stream has begun
            await one.say(spoken([1, 2, 3]))
        assert one.words == [1, 2, 3]


async def test_a_stream_ends_when_every_engine_refuses() -> None:
    servers = [MemoryServer(), MemoryServer()]
    for server in servers:
        server.down, server.refusal = (lambda: True), SttRefused("Invalid API key")
    one = Stream((ASSEMBLYAI, SECOND), servers)
    with pytest.raises(SttRefused):
        await one.client.run()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "endpoints", [(ASSEMBLYAI, SECOND), (SECOND, ASSEMBLYAI), (ASSEMBLYAI,) * 3]
)
async def test_no_word_is_lost_or_doubled_over_fail_overs(
    endpoints: Sequence[SttEndpoint], seed: int
) -> None:
    """Each server dies every 5 to 25 s, for 0 to 12 s."""
    servers = [MemoryServer(heartbeat_ms=None) for _ in endpoints]
    numbers = list(range(400))

    async def die(server: MemoryServer, dice: random.Random) -> None:
        up_again = 0.0
        server.down = lambda: anyio.current_time() < up_again
        while True:
            await anyio.sleep(dice.uniform(5, 25))
            up_again = anyio.current_time() + dice.uniform(0, 12)
            if server.sockets:
                server.newest.lose()

    async with stream(*servers, endpoints=endpoints) as one, anyio.create_task_group() as tasks:
        for number, server in enumerate(servers):
            tasks.start_soon(die, server, random.Random(10 * seed + number))
        await one.say(spoken(numbers))
        tasks.cancel_scope.cancel()
    assert one.words == numbers
    assert len(set(one.engines)) > 1
