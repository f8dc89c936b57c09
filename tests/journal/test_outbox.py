"""Deliveries that wait: in memory and in the file, where an event and its delivery are one."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from pipeline.errors import JournalError
from pipeline.interfaces.outbox import Outbox, Remaining
from pipeline.journal.durable import JournalRetention
from pipeline.journal.log import SessionLog
from pipeline.journal.memory import Journal
from pipeline.journal.opening import open_journal
from pipeline.journal.outbox_sqlite import retry_stored, stored_deliveries
from pipeline.journal.request_log_sqlite import OF_SESSION, SCHEMA
from pipeline.journal.sqlite import JournalFile, Opened, Statement, Written
from pipeline.protocol.events import SessionEnded, Totals, TurnCompleted

END = SessionEnded(reason="client", totals=Totals())
TURN = TurnCompleted(turn=1, text="Hello.", end_of_turn_delay=None)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the writer is a thread: it keeps real time


class Wall:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def wanted(kind: str) -> tuple[str, ...]:
    return {"turn.completed": ("crm",), "session.ended": ("crm", "audit")}.get(kind, ())


@asynccontextmanager
async def opened(
    where: object, clock: Wall | None = None, keeping: JournalRetention | None = None
) -> AsyncGenerator[tuple[Journal, Outbox]]:
    async with open_journal(str(where), keeping, wanted=wanted, clock=clock or Wall()) as journal:
        assert journal.outbox is not None
        yield journal, journal.outbox


async def ended(journal: Journal, session_id: str = "s1") -> SessionLog:
    log = journal.open(session_id)
    log.append(TURN, t=0, ts="now")
    log.append(END, t=0, ts="now")
    with anyio.fail_after(5):
        while log.visible < 2:  # noqa: ASYNC110 - the writer is a thread
            await anyio.sleep(0.002)
    return log


@pytest.fixture(params=["memory", "file"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory" if request.param == "memory" else str(tmp_path / "journal.db")


async def test_each_hook_finds_what_it_wants_oldest_first_until_it_was_delivered(
    where: str,
) -> None:
    async with opened(where) as (journal, outbox):
        woken = anyio.Event()
        outbox.listen(woken.set)
        log = await ended(journal)
        assert woken.is_set()
        first, second = (await outbox.fetch_due("crm", 1000.0, 9)).due
        (other,) = (await outbox.fetch_due("audit", 1000.0, 9)).due
        assert [each.event for each in (first, second)] == [f.data for f in log.read(0, 9)]
        assert len({first.id, second.id, other.id}) == 3
        await outbox.mark_delivered(first.id)
        assert (await outbox.fetch_due("crm", 1000.0, 9)).due == [second]
        assert await outbox.remaining() == {"crm": Remaining(1, 0), "audit": Remaining(1, 0)}


async def test_what_is_put_off_is_due_later_and_what_is_given_up_never(where: str) -> None:
    async with opened(where) as (journal, outbox):
        await ended(journal)
        first, second = (await outbox.fetch_due("crm", 1000.0, 9)).due
        await outbox.reschedule(first.id, 1005.0, "500")
        found = await outbox.fetch_due("crm", 1000.0, 9)
        assert (found.due, found.next) == ([second], 1005.0)
        (again,) = [d for d in (await outbox.fetch_due("crm", 1005.0, 9)).due if d.id == first.id]
        assert again.tries == 1
        await outbox.give_up(first.id, 1005.0, "500")
        await outbox.give_up_all("crm", 1005.0, "gone")
        found = await outbox.fetch_due("crm", 2000.0, 9)
        assert (found.due, found.next) == ([], None)
        assert (await outbox.remaining())["crm"] == Remaining(0, 2)
        await outbox.retry(3000.0)
        assert [each.tries for each in (await outbox.fetch_due("crm", 3000.0, 9)).due] == [0, 0]


async def test_it_is_there_after_a_restart_and_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with opened(path) as (journal, outbox):
        await ended(journal)
        (before, _) = (await outbox.fetch_due("crm", 1000.0, 9)).due
        await outbox.give_up(before.id, 1001.0, "HTTP 500")
    async with opened(path) as (_, outbox):
        assert len((await outbox.fetch_due("crm", 1000.0, 9)).due) == 1
    listed = stored_deliveries(path)
    assert [(each.hook, each.type, each.failed) for each in listed] == [
        ("crm", "turn.completed", True),
        ("audit", "session.ended", False),
        ("crm", "session.ended", False),
    ]
    assert (listed[0].id, listed[0].error, listed[0].tries) == (before.id, "HTTP 500", 1)
    retry_stored(path, 5.0)
    assert [(each.failed, each.tries) for each in stored_deliveries(path)] == [(False, 0)] * 3


async def test_a_session_that_a_crash_cut_off_is_delivered_when_it_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store = JournalFile(path, tables=SCHEMA)
    store.write([Opened(1, "s1", 1, 1.0), Written(1, 1, b'{"type":"speech.started","seq":1}')])
    store.close()
    async with opened(path) as (journal, outbox):
        (log,) = journal.restored
        with anyio.fail_after(5):
            while log.unconfirmed:  # noqa: ASYNC110 - the writer is a thread
                await anyio.sleep(0.002)
        (stored,) = (await outbox.fetch_due("audit", 1000.0, 9)).due
    assert b'"reason":"owner_lost"' in stored.event


def test_an_event_and_its_delivery_are_stored_as_one_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store = JournalFile(path, tables=SCHEMA)
    try:
        with pytest.raises(JournalError):
            store.write([Written(1, 1, b"{}", (Statement("INSERT INTO nowhere VALUES (1)", ()),))])
        assert list(store.events(1)) == []
    finally:
        store.close()


async def test_deliveries_go_with_their_session(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with opened(path) as (journal, outbox):
        for session_id in ("s1", "s2"):
            journal.release(await ended(journal, session_id))
        await journal.erase("s1")
        assert (await outbox.remaining())["crm"].pending == 2
    assert {each.session_id for each in stored_deliveries(path)} == {"s2"}


async def test_what_was_given_up_long_ago_is_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.journal.durable.IDLE_TIME", 0.01)
    monkeypatch.setattr("pipeline.journal.durable.CLEANUP_INTERVAL", 10.0)
    clock = Wall()
    keeping = JournalRetention(seconds=100.0)
    async with opened(tmp_path / "journal.db", clock, keeping) as (journal, outbox):
        log = journal.open("s1")
        log.append(TURN, t=0, ts="now")  # it goes on, so it stays
        with anyio.fail_after(5):
            while log.visible < 1:  # noqa: ASYNC110 - the writer is a thread
                await anyio.sleep(0.002)
            await outbox.give_up_all("crm", clock.now, "500")
            assert (await outbox.remaining())["crm"].failed == 1
            clock.now += 200.0
            while await outbox.remaining():  # noqa: ASYNC110 - the writer is a thread
                await anyio.sleep(0.002)


async def test_a_file_of_before_there_were_webhooks_gets_its_outbox(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    JournalFile(path).close()
    async with opened(path) as (journal, outbox):
        await ended(journal)
        assert (await outbox.remaining())["audit"].pending == 1
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT COUNT(*) FROM outbox").fetchone() == (3,)
    db.close()
    assert any("outbox" in statement for statement in OF_SESSION)
