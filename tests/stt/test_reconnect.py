"""Reconnecting without loss, with every vendor: each word is a number that can be counted.

Conformance tests of the vendor interface, on virtual time. A new vendor gets a row in
``vendors.VENDORS``.
"""

import random

import anyio
import pytest

from pipeline.errors import SettingsError, SttBusy, SttLost
from pipeline.interfaces.stt import (
    StreamClosed,
    StreamLost,
    StreamOpened,
    StreamResumed,
    Transcript,
)
from pipeline.interfaces.stt_protocol import Capabilities
from pipeline.simulator.number_audio import spoken
from pipeline.stt.stream_audio import GRID
from tests.stt.server import MemoryServer
from tests.stt.vendors import VENDORS, Session, session


@pytest.fixture(params=list(VENDORS), autouse=True)
def _vendor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "vendor", VENDORS[request.param])


ONLY_ASSEMBLYAI = pytest.mark.parametrize("_vendor", ["assemblyai"], indirect=True)
ONLY_SECOND = pytest.mark.parametrize("_vendor", ["second"], indirect=True)


async def broken(server: MemoryServer, seed: int, how: str) -> None:
    """Break the newest connection every 4 to 15 s, for ever."""
    dice = random.Random(seed)
    up_again = 0.0
    server.down = lambda: anyio.current_time() < up_again
    while True:
        await anyio.sleep(dice.uniform(4, 15))
        if how == "outage":
            up_again = anyio.current_time() + 4
        if how == "close":
            server.newest.close(dice.choice((1000, 1001, 1011, 3005)))
        else:
            server.newest.lose()


@pytest.mark.parametrize(("seed", "heartbeat_ms"), [(1, None), (2, 5000), (3, 5000)])
@pytest.mark.parametrize("how", ["reset", "close", "outage"])
async def test_no_word_is_lost_and_none_doubled(
    how: str, seed: int, heartbeat_ms: float | None
) -> None:
    """F11, F12: resets, closes and outages of 4 s every 4 to 15 s."""
    numbers = list(range(400))
    server = MemoryServer(heartbeat_ms=heartbeat_ms)
    # With an outage every few seconds, 1.25 times real time cannot keep up: hence the file.
    async with session(server, keep_disk=600) as one, anyio.create_task_group() as tasks:
        tasks.start_soon(broken, server, seed, how)
        await one.say(spoken(numbers))
        tasks.cancel_scope.cancel()
    assert one.words == numbers
    assert len(server.sockets) > 10
    assert isinstance(one.heard[-1], StreamClosed)
    assert one.slowest == 0  # capture never waits
    assert all(not lost.lost_to for lost in one.of(StreamResumed))
    assert not [lost for lost in one.of(StreamLost) if "3007" in lost.cause]


async def test_an_interruption_is_reported_with_the_amount_of_the_resend() -> None:
    server = MemoryServer()
    async with session(server) as one:
        await one.say(spoken([1, 2, 3, 4, 5, 6])[: 32 * 2500])  # into the second turn
        server.newest.lose()
        await one.say(spoken([1, 2, 3, 4, 5, 6])[32 * 2500 :])
    kinds = [type(h).__name__ for h in one.heard if not isinstance(h, Transcript)]
    assert kinds == ["StreamOpened", "StreamLost", "StreamOpened", "StreamResumed", "StreamClosed"]
    opened = one.of(StreamOpened)[1]
    resumed = one.of(StreamResumed)[0]
    # The first turn's last word is said from 0.9 to 1.1 s; before it, it is quiet.
    assert opened.origin == pytest.approx(0.8)
    assert resumed.replayed == pytest.approx(2.5 - 0.8, abs=0.06)
    assert one.words == [1, 2, 3, 4, 5, 6]


async def test_audio_is_sent_again_from_the_same_steps_a_recogniser_listened_in() -> None:
    server = MemoryServer()
    async with session(server) as one, anyio.create_task_group() as tasks:
        tasks.start_soon(broken, server, 4, "reset")
        await one.say(spoken(range(120)))
        tasks.cancel_scope.cancel()
    steps = [opened.origin / GRID for opened in one.of(StreamOpened)]
    assert len(steps) > 3
    assert steps == pytest.approx([round(step) for step in steps])


async def test_where_nothing_limits_the_pace_a_recogniser_gets_a_run_up() -> None:
    server = MemoryServer()
    numbers = list(range(40))
    async with session(server, pace=0.0, run_up=2.0) as one:
        await one.say(spoken(numbers[:20]))  # 5 turns of 1.9 s; the last word ends at 8.7 s
        server.newest.lose()
        await one.say(spoken(numbers[20:]))
    assert one.of(StreamOpened)[1].origin < 8.7 - 1.5
    assert one.words == numbers


async def test_word_times_go_on_across_connections() -> None:
    server = MemoryServer()
    async with session(server) as one:
        await one.say(spoken([1, 2, 3, 4]))
        server.newest.lose()
        await one.say(spoken([5, 6, 7, 8]))
    ends = [h.words[-1].end for h in one.of(Transcript) if h.ended]
    assert ends == pytest.approx([1.1, 1.9 + 1.1])


async def test_audio_that_exceeds_the_buffer_is_lost_and_reported_exactly() -> None:
    """F13: an outage longer than the buffer."""
    # 4 turns of 1.9 s are over, then 90 s without a server, of which 60 s are kept.
    server = MemoryServer()
    numbers = list(range(250))
    async with session(server, patience=600.0) as one:
        await one.say(spoken(numbers[:16]))
        server.down = lambda: True
        server.newest.lose()
        await one.say(spoken(numbers[16:208]))  # 91.2 s
        server.down = lambda: False
        await one.say(spoken(numbers[208:]))
    (resumed,) = one.of(StreamResumed)
    assert resumed.lost_from == pytest.approx(3 * 1.9 + 1.1)  # the last word that was heard
    first, last = numbers[16], one.words[16] - 1  # the words that are missing
    starts = {n: (n // 4) * 1.9 + (n % 4) * 0.3 for n in numbers}
    assert starts[first] >= resumed.lost_from
    assert starts[last] < resumed.lost_to <= starts[last + 1] + 0.08
    assert one.words == numbers[:16] + numbers[last + 1 :]
    assert 59 < resumed.replayed < 65


async def test_an_outage_longer_than_patience_is_the_end() -> None:
    server = MemoryServer(lifetime_ms=1000)
    server.down = lambda: anyio.current_time() >= 1
    with pytest.raises(SttLost, match="tried"):
        await Session(server).client.run()
    assert anyio.current_time() == pytest.approx(1 + 60, abs=5)


async def test_attempts_start_at_once_and_slow_down_to_5_s() -> None:
    server = MemoryServer()
    async with session(server) as one:
        await one.say(spoken(range(4)))
        server.down = lambda: True
        server.newest.lose()
        await one.say(spoken(range(100)))
        server.down = lambda: False
        await one.say(spoken(range(40)))
    gaps = [b - a for a, b in zip(server.dialled[1:], server.dialled[2:], strict=False)]
    assert server.dialled[1] - 1.9 < 0.1
    assert gaps[0] <= 0.25
    assert all(gap <= 5 for gap in gaps)
    assert gaps[-1] >= 2.5
    assert len(gaps) < 20


async def test_a_full_server_gets_few_attempts_at_random_times() -> None:
    """F17: for 50 s there is no session left for us."""
    server = MemoryServer()
    server.refusal = SttBusy("too many concurrent sessions")
    numbers = list(range(200))
    async with session(server, patience=120.0, keep_disk=600.0) as one:
        await one.say(spoken(numbers[:20]))
        server.down = lambda: True
        server.newest.lose()
        await one.say(spoken(numbers[20:125]))
        server.down = lambda: False
        await one.say(spoken(numbers[125:]))
    gaps = [b - a for a, b in zip(server.dialled[1:], server.dialled[2:], strict=False)]
    assert 3 < len(gaps) < 25
    assert len({round(gap, 3) for gap in gaps}) == len(gaps)
    assert one.words == numbers


async def test_missing_heartbeats_show_a_dead_connection() -> None:
    """F15: no messages, although TCP is fine."""
    server = MemoryServer(heartbeat_ms=5000)
    numbers = list(range(120))
    async with session(server) as one, anyio.create_task_group() as tasks:
        tasks.start_soon(one.say, spoken(numbers))
        await anyio.sleep(21)
        server.newest.mute = True
        await anyio.sleep(12)
        assert len(one.of(StreamLost)) == 1  # detected in time
    (lost,) = one.of(StreamLost)
    assert "s of speech without an answer" in lost.cause  # before the heartbeat is due
    assert one.words == numbers


async def test_without_heartbeats_unanswered_speech_shows_a_dead_connection() -> None:
    server = MemoryServer()
    numbers = list(range(120))
    async with session(server) as one, anyio.create_task_group() as tasks:
        tasks.start_soon(one.say, spoken(numbers))
        await anyio.sleep(20)
        server.newest.mute = True
        await anyio.sleep(12)
        assert len(one.of(StreamLost)) == 1  # detected in time
    (lost,) = one.of(StreamLost)
    assert "of speech without an answer" in lost.cause
    assert one.words == numbers


async def test_silence_is_no_stall() -> None:
    server = MemoryServer()
    async with session(server) as one:
        await one.say(spoken(range(4)) + bytes(32_000 * 120) + spoken(range(4, 8)))
    assert len(server.sockets) == 1
    assert one.words == list(range(8))


async def test_a_session_moves_on_in_a_pause_before_its_time_is_over() -> None:
    """F18: the server ends a session after 60 s."""
    server = MemoryServer(expires_s=60, lifetime_ms=60_000)
    numbers = list(range(800))  # 380 s
    async with session(server) as one:
        await one.say(spoken(numbers))
    assert one.words == numbers
    assert len(server.sockets) >= 7
    assert not one.of(StreamLost)  # no interruption
    assert len(one.of(StreamClosed)) == 1
    assert all(socket.controls == ["Terminate"] for socket in server.sockets)


async def test_without_a_pause_the_session_moves_on_all_the_same() -> None:
    server = MemoryServer(expires_s=60, lifetime_ms=60_000)
    numbers = list(range(500))
    async with session(server) as one:
        await one.say(spoken(numbers, words_per_turn=500))  # one turn of 150 s
    assert one.words == numbers
    assert len(server.sockets) >= 3
    assert not one.of(StreamLost)


async def test_a_fast_source_is_held_back_and_never_too_fast() -> None:
    """F19: a file that is read as fast as it can be."""
    server = MemoryServer()
    numbers = list(range(200))
    async with session(server) as one:
        start = anyio.current_time()
        await one.say(spoken(numbers), real_time=False)
        assert anyio.current_time() - start == pytest.approx((95 - 5) / 1.25, rel=0.03)
    assert one.words == numbers
    assert len(server.sockets) == 1


async def test_a_source_that_stops_does_not_leave_its_turn_open() -> None:
    server = MemoryServer()
    async with session(server) as one:
        await one.say(spoken([1, 2], words_per_turn=9))  # no silence at the end
        await anyio.sleep(10)
        assert one.words == [1, 2]
        assert server.newest.controls == ["ForceEndpoint"]


async def test_a_loss_while_finishing_costs_no_word() -> None:
    server = MemoryServer(on_terminate="never")
    one = Session(server)
    async with anyio.create_task_group() as tasks:
        await tasks.start(one.client.run)
        await one.say(spoken([1, 2, 3], words_per_turn=9))
        tasks.start_soon(one.client.finish)
        await anyio.sleep(1)
        server.play()
        server.newest.lose()
    assert one.words == [1, 2, 3]
    assert isinstance(one.heard[-1], StreamClosed)


@ONLY_ASSEMBLYAI
async def test_changes_hold_for_the_connections_that_follow() -> None:
    server = MemoryServer()
    async with session(server) as one:
        await one.client.update({"keyterms_prompt": ["Zephyr"]})
        with pytest.raises(SettingsError, match="cannot change"):
            await one.client.update({"sample_rate": 8000})
        server.newest.lose()
        await anyio.sleep(1)
    assert server.sockets[0].controls == ["UpdateConfiguration"]
    assert "keyterms_prompt" not in server.asked[0]
    assert server.asked[1]["keyterms_prompt"] == '["Zephyr"]'


@ONLY_SECOND
async def test_a_change_is_refused_where_the_vendor_has_none() -> None:
    server = MemoryServer()
    async with session(server) as one:
        with pytest.raises(SettingsError, match="cannot change parameters"):
            await one.client.update({"anything": 1})
    assert server.sockets[0].controls == ["Terminate"]


@ONLY_SECOND
async def test_no_turn_is_ended_by_force_where_the_vendor_cannot() -> None:
    server = MemoryServer()
    async with session(server, capabilities=Capabilities(force_endpoint=False)) as one:
        await one.say(spoken([1, 2], words_per_turn=9))
        await one.client.force_endpoint()
        await anyio.sleep(10)
    assert server.newest.controls == ["Terminate"]
    assert one.words == [1, 2]
