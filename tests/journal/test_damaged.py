"""Damaged, odd and newer rows: each costs its own session, which is set aside and kept."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.errors import JournalError
from pipeline.journal import durable, schema
from pipeline.journal.durable import JournalRetention
from pipeline.journal.log import SessionLog
from pipeline.journal.memory import Journal
from pipeline.journal.opening import open_journal
from pipeline.journal.request_log_sqlite import OF_SESSION
from pipeline.journal.sqlite import (
    damaged_sessions,
    erase_stored,
    stored_events,
    stored_sessions,
)
from pipeline.protocol.events import SessionEnded, SpeechStartedEvent, Totals
from tests.support.waiting import until

DAMAGES = {
    "a field of another type": 'UPDATE event SET data = CAST(\'{"type":"session.ended",\''
    ' || \'"seq":2,"totals":7}\' AS BLOB) WHERE seq = 2 AND key = 1',
    "no JSON": "UPDATE event SET data = x'00ff' WHERE seq = 2 AND key = 1",
    "a number in place of an event": "UPDATE event SET data = 1000000000 WHERE seq = 2 AND key = 1",
    "deep nesting": 'UPDATE event SET data = CAST(\'{"type":"x","seq":2,"a":\' ||'
    " replace(hex(zeroblob(50000)), '00', '[') || '}' AS BLOB) WHERE seq = 2 AND key = 1",
    "an event is missing": "DELETE FROM event WHERE seq = 2 AND key = 1",
    "an event under another number": "UPDATE event SET seq = 9 WHERE seq = 2 AND key = 1",
    "a time that is no number": "UPDATE session SET ended = 'never' WHERE key = 1",
    "a time far away": "UPDATE session SET opened = 1e300 WHERE key = 1",
    "an epoch that is text": "UPDATE session SET epoch = 'first' WHERE key = 1",
    "a negative epoch": "UPDATE session SET epoch = -1 WHERE key = 1",
    "an id that is no text": "UPDATE session SET id = x'ff00' WHERE key = 1",
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the writer is a thread: it keeps real time


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def talk(journal: Journal, session_id: str, events: int = 4) -> SessionLog:
    log = journal.open(session_id)
    for _ in range(events - 1):
        log.append(SpeechStartedEvent(), t=0, ts="")
    log.append(SessionEnded(reason="client", totals=Totals()), t=0, ts="")
    return log


async def visible(log: SessionLog) -> None:
    await until(lambda: log.visible == log.head)


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            assert db.execute(statement).rowcount != 0, statement
        db.commit()


async def lived(path: Path, names: Sequence[str] = ("hurt", "sound")) -> None:
    async with open_journal(str(path)) as journal:
        for name in names:
            talk(journal, name)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
async def test_a_damaged_session_is_set_aside_and_the_rest_is_served(
    path: Path, damage: str
) -> None:
    await lived(path)
    change(path, damage)
    for _ in range(2):  # the second start finds it set aside
        async with open_journal(str(path)) as journal:
            assert [log.session_id for log in journal.restored if "new" not in log.session_id] == [
                "sound"
            ]
            await visible(talk(journal, f"new-{_}"))
        assert all(each.reason for each in damaged_sessions(path))
    (damaged,) = damaged_sessions(path)
    if damaged.id == "hurt" and "1000000000" not in damage:
        assert 3 <= len(stored_events(path, "hurt")) <= 4
    assert {each.id for each in stored_sessions(path)} == {"sound", "new-0", "new-1"}


async def test_the_id_of_a_damaged_session_can_be_used_again(path: Path) -> None:
    await lived(path)
    change(path, DAMAGES["an event is missing"])
    async with open_journal(str(path)) as journal:
        log = talk(journal, "hurt", events=2)
        await visible(log)
        assert log.head == 2, "another history"
    assert len(stored_events(path, "hurt")) == 2
    async with open_journal(str(path)) as journal:
        assert {log.session_id for log in journal.restored} == {"hurt", "sound"}
    assert len(damaged_sessions(path)) == 1


async def test_deleting_an_id_deletes_its_damaged_sessions_too(path: Path) -> None:
    await lived(path, ["hurt", "sound", "gone"])
    change(path, DAMAGES["an event is missing"], "DELETE FROM event WHERE seq = 2 AND key = 3")
    async with open_journal(str(path)) as journal:
        assert await journal.erase("hurt")
        assert not await journal.erase("hurt")
    assert "hurt" not in {each.id for each in damaged_sessions(path)}
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM event WHERE key = 1").fetchone() == (0,)
    with pytest.raises(JournalError, match="no session 'hurt'"):
        erase_stored(path, "hurt", OF_SESSION)


async def test_a_damaged_session_is_removed_when_it_is_old(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "IDLE_TIME", 0.02)
    now = [1_000_000.0]
    keeping = JournalRetention(seconds=100.0, readable=10.0)
    async with open_journal(str(path), keeping, clock=lambda: now[0]) as journal:
        talk(journal, "hurt")
    change(path, DAMAGES["an event is missing"])
    async with open_journal(str(path), keeping, clock=lambda: now[0]):
        assert len(damaged_sessions(path)) == 1
    now[0] += 200
    async with open_journal(str(path), keeping, clock=lambda: now[0]):
        await until(lambda: not damaged_sessions(path))


# --- versions --------------------------------------------------------------------------------


async def test_a_file_of_a_newer_version_is_refused_and_not_changed(path: Path) -> None:
    await lived(path)
    change(path, f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(JournalError, match=r"newer version.*update the program"):
        async with open_journal(str(path)):
            pass
    with pytest.raises(JournalError, match="newer version"):
        stored_sessions(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (schema.VERSION + 1,)


@pytest.mark.parametrize("table", ["session", "event", "call", "response", "outbox"])
async def test_a_column_more_is_left_alone(path: Path, table: str) -> None:
    await lived(path)
    change(path, f"ALTER TABLE {table} ADD COLUMN shard INTEGER NOT NULL DEFAULT 0")
    async with open_journal(str(path), wanted=lambda kind: ["crm"]) as journal:
        await visible(talk(journal, "new"))
    assert {each.id for each in stored_sessions(path)} == {"hurt", "sound", "new"}


@pytest.mark.parametrize(
    ("table", "columns", "problem"),
    [
        ("event", "key INTEGER, seq INTEGER", "misses the column data"),
        ("event", "key, seq, data, shard NOT NULL", "has the unknown column shard"),
        ("session", "name TEXT", "misses the column"),
    ],
)
async def test_a_table_of_another_program_is_refused_in_words(
    path: Path, table: str, columns: str, problem: str
) -> None:
    await lived(path)
    change(path, f"DROP TABLE {table}", f"CREATE TABLE {table} ({columns})")
    with pytest.raises(JournalError, match=f"{table} {problem}.*use another file"):
        async with open_journal(str(path)):
            pass


async def test_a_file_of_the_first_version_is_migrated(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            "CREATE TABLE session (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
            " epoch INTEGER NOT NULL, opened REAL NOT NULL, ended REAL);"
            "CREATE TABLE event (key INTEGER NOT NULL, seq INTEGER NOT NULL, data BLOB NOT NULL,"
            " PRIMARY KEY (key, seq)) WITHOUT ROWID;"
            "INSERT INTO session VALUES (7, 'old', 2, 0.0, 5.0);"
        )
        for seq in (1, 2):
            text = json.dumps({"type": "speech.started", "seq": seq, "epoch": seq})
            db.execute("INSERT INTO event VALUES (7, ?, ?)", (seq, text.encode()))
        db.commit()
    assert [each.id for each in stored_sessions(path)] == ["old"]
    assert damaged_sessions(path) == []
    async with open_journal(str(path), JournalRetention(readable=1e12)) as journal:
        (log,) = journal.restored
        assert log.epochs == ((1, 1), (2, 2))
        await visible(talk(journal, "new"))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)


async def test_positions_of_a_reused_id_are_recognised_across_restarts(path: Path) -> None:
    async with open_journal(str(path)) as journal:
        first = talk(journal, "s1")
        await visible(first)
    async with open_journal(str(path), JournalRetention(readable=-1.0)) as journal:
        second = journal.open("s1")
        assert second.continues(3, first.epoch)
        assert second.continues(4, second.epoch), "nothing of it was received yet"
        assert not second.continues(5, first.epoch)
        assert not second.continues(3, first.epoch + 1)
