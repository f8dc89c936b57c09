"""A task that holds up the event loop is named, with its session and its client."""

import logging
from collections.abc import Callable
from time import monotonic

import anyio
import pytest

from pipeline.hub.fanout import Topics
from pipeline.journal.log import SessionLog
from pipeline.protocol.events import Frame, SpeechStartedEvent
from pipeline.telemetry.loop_stall import Culprit, watch_stalls


class Transport:
    """A transport that knows its client's address."""

    def get_extra_info(self, name: str) -> tuple[str, int]:
        assert name == "peername"
        return "192.0.2.7", 4711


class Connection:
    """A connection whose messages take long to read."""

    def __init__(self) -> None:
        self.transport = Transport()

    def data_received(self, seconds: float) -> None:
        end = monotonic() + seconds
        while monotonic() < end:
            pass


async def stalls_of(work: Callable[[], object]) -> list[tuple[float, Culprit]]:
    found: list[tuple[float, Culprit]] = []

    def report(seconds: float, culprit: Culprit) -> None:
        found.append((seconds, culprit))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch_stalls, report)
        await anyio.sleep(0.2)  # real time: the sampler's thread has none other
        work()
        await anyio.sleep(0.2)
        tasks.cancel_scope.cancel()
    return found


async def test_a_clients_flood_is_named_by_its_address(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = await stalls_of(lambda: Connection().data_received(0.4))
    stall = max(found, key=lambda one: one[0])
    assert 0.2 < stall[0] < 2
    assert stall[1].peer == "192.0.2.7:4711"
    assert stall[1].task
    assert "the event loop stood still for" in caplog.text
    assert "peer 192.0.2.7:4711" in caplog.text


async def test_a_sessions_events_are_named_by_its_id_and_function() -> None:
    log = SessionLog("s_42")
    Topics().open(log)
    slow = Connection()

    def hold_up(frame: Frame) -> None:
        slow.data_received(0.4)

    log.listen(hold_up)
    found = await stalls_of(lambda: log.append(SpeechStartedEvent(), t=0, ts=""))
    stall = max(found, key=lambda one: one[0])
    assert stall[1].session == "s_42"
    assert stall[1].where.startswith("journal.log.")
    assert "session s_42" in str(stall[1])


async def test_a_loop_that_turns_is_not_reported() -> None:
    assert [stall for stall in await stalls_of(lambda: None) if stall[0] > 0.5] == []
