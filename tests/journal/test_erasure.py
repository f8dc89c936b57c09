"""A session that is removed: nothing of it is left in the file, and the others lack nothing."""

import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from pipeline.errors import JournalError
from pipeline.interfaces.llm import Message
from pipeline.interfaces.request_log import CallRecord, CallTimes, ResponseEnded, Selection
from pipeline.journal import durable, sqlite
from pipeline.journal.durable import JournalRetention
from pipeline.journal.epoch_source import epoch_source
from pipeline.journal.log import SessionLog
from pipeline.journal.memory import Journal, MemoryJournal
from pipeline.journal.opening import open_journal
from pipeline.journal.request_log_sqlite import OF_SESSION, stored_calls
from pipeline.journal.sqlite import erase_stored, stored_events, stored_sessions
from pipeline.protocol.events import SessionEnded, Totals, TurnCompleted

END = SessionEnded(reason="client", totals=Totals())


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the writer is a thread: it keeps real time


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


async def talked(journal: Journal, session_id: str, *, turns: int = 3) -> SessionLog:
    """Store a session with a call, ended and no longer in memory."""
    log = journal.open(session_id)
    for number in range(1, turns + 1):
        text = f"canary of {session_id}, {number}"
        log.append(
            TurnCompleted(turn=number, text=text, end_of_turn_delay=None), t=0, ts="2026-11-23"
        )
    log.append(END, t=0, ts="2026-11-23")
    assert journal.requests is not None
    journal.requests.add(
        CallRecord(
            sent=1e12,
            session_id=session_id,
            response_id=f"r of {session_id}",
            model="m",
            host="h",
            outcome="completed",
            times=CallTimes(total=1.0),
            messages=(Message("user", f"canary of {session_id}"),),
        )
    )
    journal.requests.settle(
        ResponseEnded(response_id=f"r of {session_id}", prompt="reply", outcome="completed")
    )
    with anyio.fail_after(5):
        while log.unconfirmed:  # noqa: ASYNC110 - the writer is a thread
            await anyio.sleep(0.002)
    journal.release(log)
    return log


def written(path: Path) -> bytes:
    """Return every byte on disk, the write-ahead log's too."""
    return b"".join(file.read_bytes() for file in path.parent.iterdir() if file.is_file())


async def test_not_a_byte_of_it_is_left_and_the_others_are_whole(path: Path) -> None:
    async with open_journal(str(path)) as journal:
        await talked(journal, "gone")
        await talked(journal, "kept")
        assert b"canary of gone" in written(path)
        assert await journal.erase("gone")
        assert b"of gone" not in written(path)
        assert [session.id for session in stored_sessions(path)] == ["kept"]
        assert len(stored_events(path, "kept")) == 4
        assert [call.session_id for call in stored_calls(path, Selection())] == ["kept"]
        assert not await journal.erase("gone")
        assert not await journal.erase("never")


async def test_its_id_begins_anew(path: Path) -> None:
    async with open_journal(str(path)) as journal:
        gone = await talked(journal, "call")
        assert await journal.erase("call")
        again = await talked(journal, "call", turns=1)
        assert again.head == 2
        assert not again.continues(1, gone.epoch)
    assert len(stored_events(path, "call")) == 2


async def test_a_long_one_delays_no_session_and_its_id_is_taken_meanwhile(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "DELETE_ROWS", 5)
    async with open_journal(str(path)) as journal:
        await talked(journal, "long", turns=2000)
        gone: list[bool] = []

        async def erase() -> None:
            gone.append(await journal.erase("long"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(erase)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(JournalError, match="is being deleted"):
                journal.open("long")
            await talked(journal, "other")
            assert gone == []
        assert gone == [True]
        assert [session.id for session in stored_sessions(path)] == ["other"]


async def test_a_caller_need_not_wait_for_it(path: Path) -> None:
    async with open_journal(str(path)) as journal:
        await talked(journal, "call")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await journal.erase("call")
        with anyio.fail_after(5):
            while stored_sessions(path):  # noqa: ASYNC110 - the writer is a thread
                await anyio.sleep(0.01)


async def test_a_journal_that_no_service_uses_is_cleaned_by_hand(path: Path) -> None:
    async with open_journal(str(path)) as journal:
        await talked(journal, "gone")
        await talked(journal, "kept")
        with pytest.raises(JournalError, match="in use by another service"):
            erase_stored(path, "gone", OF_SESSION)
    erase_stored(path, "gone", OF_SESSION)
    assert b"of gone" not in written(path)
    assert [session.id for session in stored_sessions(path)] == ["kept"]
    with pytest.raises(JournalError, match="there is no session 'gone'"):
        erase_stored(path, "gone", OF_SESSION)


async def test_in_memory_there_is_nothing_to_remove() -> None:
    assert not await MemoryJournal(epoch_source(lambda: 0.0)).erase("call")


async def test_bytes_that_another_process_still_reads_are_removed_once_it_has_gone(
    path: Path,
) -> None:
    async with open_journal(str(path)) as journal:
        await talked(journal, "gone")
        await talked(journal, "kept")
        done: list[bool] = []

        async def erase() -> None:
            done.append(await journal.erase("gone"))

        async with anyio.create_task_group() as tasks:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
                reader.execute("BEGIN")
                assert reader.execute("SELECT count(*) FROM session").fetchone() == (2,)
                tasks.start_soon(erase)
                await anyio.sleep(0.6)
                assert b"of gone" in written(path), "the reader needs them"
                assert done == []
                await talked(journal, "next")  # nothing waits for it
        assert done == [True]
        assert b"of gone" not in written(path)


async def test_what_retention_removes_leaves_no_byte(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "IDLE_TIME", 0.02)
    now = [1000.0]
    keeping = JournalRetention(seconds=100.0)
    async with open_journal(str(path), keeping, clock=lambda: now[0]) as journal:
        await talked(journal, "gone")
        await anyio.sleep(0.2)
        now[0] += 4000.0
        with anyio.fail_after(5):
            while b"canary of gone" in written(path):  # noqa: ASYNC110 - the writer is a thread
                await anyio.sleep(0.02)


async def test_an_id_that_is_used_again_keeps_its_newest_position(path: Path) -> None:
    async with open_journal(str(path)) as journal:
        first = await talked(journal, "call")
        second = await talked(journal, "call")
        third = journal.open("call")
        assert (first.head, second.head, third.head) == (4, 8, 8)
        assert first.epoch < second.epoch < third.epoch
        assert third.epochs == ((1, first.epoch), (5, second.epoch), (9, third.epoch))
