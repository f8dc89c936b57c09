"""Subscribers that are behind what memory holds: served from the journal's file, then live."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import pytest
from websockets.asyncio.client import connect as connect_websocket

from pipeline.config.settings import ServeSettings
from pipeline.hub.fanout import Topic
from pipeline.hub.server import Hub, serve
from pipeline.journal.durable import DurableJournal, JournalRetention
from pipeline.journal.log import SessionLog
from pipeline.journal.opening import open_journal
from pipeline.journal.sqlite import stored_events
from pipeline.protocol.events import (
    ResponseCreated,
    ResponseDelta,
    SessionEnded,
    SpeechStartedEvent,
    Totals,
)
from tests.support import fault_proxy
from tests.support.commandline import pipeline
from tests.support.fake_service import FakeService
from tests.support.oracle import hold, parse
from tests.support.waiting import until

KEEP = 100  #: events in memory
CREATED = ResponseCreated(response_id="r", prompt="reply", turns=(1,), model="m", speculative=False)


class Stage:
    """One session in a journal that keeps little in memory, and the hub."""

    def __init__(self, journal: DurableJournal, log: SessionLog, topic: Topic, hub: Hub) -> None:
        self.journal = journal
        self.log = log
        self.topic = topic
        self.hub = hub

    async def publish(self, count: int) -> None:
        """Have so many events written down."""
        if not self.log.head:
            self.log.append(CREATED, t=0, ts="")
            count -= 1
        for n in range(count):
            event = SpeechStartedEvent() if n % 7 else ResponseDelta(response_id="r", delta=str(n))
            self.log.append(event, t=0, ts="")
        await until(lambda: self.log.visible == self.log.head)


async def follow(url: str, after_seq: int, texts: list[bytes], head: int) -> None:
    """Keep what comes behind ``after_seq``, up to ``head``."""
    path = f"/v1/events?session_id=s1&after_seq={after_seq}"
    async with connect_websocket(url + path, proxy=None, max_size=1 << 24) as subscriber:
        while not texts or parse(texts[-1]).get("seq", 0) < head:
            texts.append(await subscriber.recv(decode=False))


@asynccontextmanager
async def stage(path: Path) -> AsyncGenerator[Stage]:
    fake = FakeService()
    async with open_journal(str(path), JournalRetention(events=KEEP)) as journal:
        assert isinstance(journal, DurableJournal)
        log = journal.open("s1")
        topic = fake.topics.open(log)
        async with serve(fake, ServeSettings(port=0), adapters={}) as hub:
            with anyio.fail_after(20):
                yield Stage(journal, log, topic, hub)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.mark.parametrize("after_seq", [0, 5, 255, 256, 2000, 2895])
async def test_what_memory_holds_no_more_comes_from_the_file_and_then_live(
    path: Path, after_seq: int
) -> None:
    texts: list[bytes] = []
    async with stage(path) as s:
        await s.publish(3000)
        assert s.log.oldest > 2896
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow, s.hub.url, after_seq, texts, 6000)
            for _ in range(30):  # memory has moved on before the replay has come to its end
                await s.publish(100)
    assert not any(b'"session.resync"' in text for text in texts)
    hold(texts, stored_events(path, "s1"), after_seq=after_seq)


async def test_after_a_restart_it_comes_from_the_file_too(path: Path) -> None:
    texts: list[bytes] = []
    async with stage(path) as s:
        await s.publish(1000)
    fake = FakeService()
    async with open_journal(str(path), JournalRetention(events=KEEP)) as journal:
        (log,) = journal.restored
        assert log.oldest > 900
        fake.topics.open(log)
        async with serve(fake, ServeSettings(port=0), adapters={}) as hub:
            await follow(hub.url, 5, texts, 1002)  # the session was ended as lost
    hold(texts, stored_events(path, "s1"), after_seq=5)


async def test_what_the_file_holds_no_more_is_summed_up(path: Path) -> None:
    texts: list[bytes] = []
    async with stage(path) as s:
        await s.publish(1000)
        s.log.append(SessionEnded(reason="client", totals=Totals()), t=0, ts="")
        await s.publish(0)
        await anyio.to_thread.run_sync(forget_some, path)
        await follow(s.hub.url, 10, texts, 1001)
    assert [parse(text)["type"] for text in texts] == ["session.resync"]
    assert (parse(texts[0])["from_seq"], parse(texts[0])["reason"]) == (11, "expired")


def forget_some(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DELETE FROM event WHERE seq <= 300")


async def test_f6_a_hundred_come_back_at_once_and_the_file_is_read_once(path: Path) -> None:
    came: list[list[bytes]] = [[] for _ in range(100)]
    async with stage(path) as s, fault_proxy(("127.0.0.1", s.hub.port)) as proxy:
        url = f"ws://127.0.0.1:{proxy.port}"
        await s.publish(40)

        async with anyio.create_task_group() as tasks:
            for texts in came:
                tasks.start_soon(follow, url, 0, texts, 40)
        await proxy.kill_all(by="rst")
        await s.publish(210)  # far more than memory holds, in one page of the file
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for texts in came:
                tasks.start_soon(follow, url, 40, texts, 250)
        assert anyio.current_time() - began < 3
        assert s.journal.archive.reads == 1
    for texts in came:
        hold(texts, stored_events(path, "s1"))


async def test_an_export_holds_what_memory_does_not(path: Path) -> None:
    async with stage(path) as s:
        await s.publish(3000)
        ran = await pipeline("export", "s1", "--journal", path)
    assert [parse(line.encode())["seq"] for line in ran.out.splitlines()] == [*range(1, 3001)]
