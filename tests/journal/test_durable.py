"""The durable journal: on disk before it is shown, and what a crash, a full disk or time leave."""

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import JournalError
from pipeline.journal.durable import DurableJournal, JournalRetention
from pipeline.journal.log import SessionLog
from pipeline.journal.memory import MemoryJournal
from pipeline.journal.opening import open_journal
from pipeline.journal.sqlite import JournalFile, Opened, Written, stored_events, stored_sessions
from pipeline.protocol.events import (
    Event,
    Frame,
    ResponseCreated,
    ResponseDelta,
    ResponseDone,
    SessionEnded,
    SpeechStartedEvent,
    Totals,
    UnknownEvent,
    decode_event,
)
from tests.support.waiting import until


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the writer is a thread: it keeps real time


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def say(log: SessionLog, *events: Event) -> list[Frame]:
    return [log.append(event, t=5, ts="2026-11-23T00:00:00Z") for event in events]


def delta(text: str, response: str = "r1") -> ResponseDelta:
    return ResponseDelta(response_id=response, delta=text)


def created(response: str = "r1") -> ResponseCreated:
    return ResponseCreated(
        response_id=response, prompt="reply", turns=(1,), model="m", speculative=False
    )


END = SessionEnded(reason="client", totals=Totals())


async def visible(log: SessionLog) -> None:
    await until(lambda: log.visible == log.head)


async def test_memory_is_a_journal_too() -> None:
    async with open_journal("memory") as journal:
        assert isinstance(journal, MemoryJournal)
        log = journal.open("s1")
        say(log, created())
        assert log.visible == 1


async def test_nothing_is_shown_before_it_is_on_disk(path: Path) -> None:
    async with open_journal(str(path)) as journal:
        log = journal.open("s1")
        shown: list[tuple[Frame, bool]] = []

        def show(frame: Frame) -> None:
            shown.append((frame, frame.data in stored_events(path, "s1")))

        log.listen(show)
        frames = say(log, created(), delta("a"), delta("b"))
        assert not shown
        await visible(log)
    assert shown == [(frame, True) for frame in frames]


async def test_after_a_clean_stop_everything_can_be_read_again(path: Path) -> None:
    async with open_journal(str(path)) as journal:
        opened = journal.open("s1")
        frames = say(opened, created(), delta("a"), END)
    async with open_journal(str(path)) as journal:
        (log,) = journal.restored
        assert (log.session_id, log.epoch, log.read(0, 10)) == ("s1", opened.epoch, frames)
        assert log.state().status == "ended"


def crash(path: Path, *events: Event) -> None:
    """Leave a file behind as a process does that was killed in the middle of a session."""
    store = JournalFile(path)
    log = SessionLog("s1")
    store.write([Opened(1, "s1", 1, 0.0)])
    store.write(Written(1, frame.seq, frame.data) for frame in say(log, *events))
    store.close()


async def test_after_a_crash_numbers_go_on_and_open_responses_get_their_end(path: Path) -> None:
    crash(path, created("r1"), delta("par", "r1"), delta("tial", "r1"), created("r2"))
    async with open_journal(str(path)) as journal:
        (log,) = journal.restored
        await visible(log)
        events = [decode_event(frame.data) for frame in log.read(0, 10)]
    assert not any(isinstance(event, UnknownEvent) for event in events)
    known = [e for e in events if not isinstance(e, UnknownEvent)]
    assert [e.seq for e in known] == list(range(1, 8))
    assert [e.epoch for e in known] == [1] * 4 + [log.epoch] * 3
    assert log.epoch > 1
    done = [e for e in events if isinstance(e, ResponseDone)]
    assert [(e.response_id, e.status, e.reason, e.text) for e in done] == [
        ("r1", "failed", "owner_lost", "partial"),
        ("r2", "failed", "owner_lost", ""),
    ]
    assert isinstance(events[-1], SessionEnded)


async def test_a_second_crash_during_recovery_ends_nothing_twice(path: Path) -> None:
    crash(path, created("r1"))
    for _ in range(3):
        async with open_journal(str(path)):
            pass
    kinds = [type(decode_event(text)) for text in stored_events(path, "s1")]
    assert kinds == [ResponseCreated, ResponseDone, SessionEnded]


async def test_an_id_used_again_goes_on_behind_its_old_events(path: Path) -> None:
    async with open_journal(str(path)) as journal:
        log = journal.open("s1")
        say(log, delta("a"), END)
        await visible(log)
        journal.release(log)
        again = journal.open("s1")
        assert again.epoch > log.epoch
        assert say(again, delta("b"))[0].seq == 3
    async with open_journal(str(path), JournalRetention(readable=-1.0)) as journal:
        (lost,) = journal.restored
        assert lost.head == 4
        assert lost.epoch > again.epoch
        assert lost.epochs == ((1, log.epoch), (3, again.epoch), (4, lost.epoch))


async def test_a_disk_that_takes_nothing_shows_nothing_until_it_does(path: Path) -> None:
    heard: list[str | None] = []
    async with open_journal(str(path), on_trouble=heard.append) as journal:
        log = journal.open("s1")
        say(log, delta("a"))
        await visible(log)
        with sqlite3.connect(path, isolation_level=None) as thief:  # as good as a full disk
            thief.execute("BEGIN IMMEDIATE")
            say(log, delta("b"))
            await until(lambda: journal.trouble is not None)
            assert (log.visible, log.head) == (1, 2)
            thief.execute("ROLLBACK")
        thief.close()
        await visible(log)
        assert journal.trouble is None
    assert [trouble is None for trouble in heard] == [False, True]
    assert len(stored_events(path, "s1")) == 2


async def test_a_log_that_cannot_be_written_delays_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: JournalFile) -> None:
        raise JournalError("disk full")

    monkeypatch.setattr(JournalFile, "checkpoint", full)
    async with open_journal(str(path)) as journal:
        log = journal.open("s1")
        say(log, delta("a"))
        await until(lambda: "disk full" in caplog.text)  # a second later: nothing was said
        assert journal.trouble is None
        say(log, delta("b"))
        await visible(log)
    assert caplog.text.count("disk full") == 1


async def test_what_was_said_is_for_the_services_own_user(path: Path) -> None:
    async with open_journal(str(path)) as journal:
        log = journal.open("s1")
        say(log, SpeechStartedEvent())
        await visible(log)
        rights = {file.name: file.stat().st_mode & 0o777 for file in path.parent.glob("*.db*")}
    assert {name: rights[name] for name in ("journal.db", "journal.db-wal", "journal.db-shm")} == {
        "journal.db": 0o600,
        "journal.db-wal": 0o600,
        "journal.db-shm": 0o600,
    }


async def test_a_file_has_one_owner(path: Path) -> None:
    async with open_journal(str(path)):
        with pytest.raises(JournalError, match="in use by another service"):
            async with open_journal(str(path)):
                pass


@pytest.fixture
def garbage(path: Path) -> Path:
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    return path


async def test_what_is_no_journal_is_refused(garbage: Path) -> None:
    with pytest.raises(JournalError, match=r"journal\.db"):
        async with open_journal(str(garbage)):
            pass


async def test_a_failure_inside_comes_out_as_it_is(path: Path) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with open_journal(str(path)):
            raise KeyError("mine")


async def test_old_sessions_are_removed_and_open_ones_are_not(path: Path) -> None:
    now = [1000.0]
    keeping = JournalRetention(seconds=100.0)
    async with open_journal(str(path), keeping, clock=lambda: now[0]) as journal:
        old, live = journal.open("old"), journal.open("live")
        say(old, delta("a"), END)
        say(live, delta("b"))
        await visible(live)
        journal.release(old)
        now[0] += 4000.0
        await until(lambda: [s.id for s in stored_sessions(path)] == ["live"])
        assert isinstance(journal, DurableJournal)


async def test_the_oldest_sessions_make_room(path: Path) -> None:
    now = [1000.0]
    removed: list[str] = []
    keeping = JournalRetention(size=250_000)  # bytes; a session here takes some 150,000
    async with open_journal(
        str(path), keeping, clock=lambda: now[0], on_removed=removed.append
    ) as journal:
        for name in ("one", "two", "three"):
            log = journal.open(name)
            say(log, *(delta("x" * 300) for _ in range(300)), END)
            await visible(log)
            journal.release(log)
            now[0] += 1.0
        now[0] += 4000.0
        await until(lambda: [s.id for s in stored_sessions(path)] == ["three"])
        await until(lambda: removed == ["one", "two"])  # other stores drop it, too


async def test_what_is_known_of_sessions_goes_with_them(path: Path) -> None:
    now = [1000.0]
    keeping = JournalRetention(seconds=100.0)
    async with open_journal(str(path), keeping, clock=lambda: now[0]) as journal:
        assert isinstance(journal, DurableJournal)
        for month in range(2):
            for n in range(50):
                log = journal.open(f"{month}-{n}")
                say(log, delta("a"), END)
                await visible(log)
                journal.release(log)
                journal.release(journal.open(f"{month}-{n}-that-came-to-nothing"))
            assert len(journal._positions) == 50  # pyright: ignore[reportPrivateUsage]
            now[0] += 30 * 86400.0
            await until(lambda: not journal._positions)  # pyright: ignore[reportPrivateUsage]
        assert not journal._keys  # pyright: ignore[reportPrivateUsage]
    assert stored_sessions(path) == []


def copied(path: Path, damage: Callable[[bytearray], None]) -> tuple[Path, list[bytes]]:
    """Return a journal whose write-ahead log was damaged, and what it held."""
    store = JournalFile(path)
    log = SessionLog("s1")
    store.write([Opened(1, "s1", 1, 0.0)])
    for frame in say(log, *(SpeechStartedEvent() for _ in range(12))):
        store.write([Written(1, frame.seq, frame.data)])
    copy = path.with_name("copy.db")
    copy.write_bytes(path.read_bytes())
    wal = bytearray(path.with_name(path.name + "-wal").read_bytes())
    damage(wal)
    copy.with_name("copy.db-wal").write_bytes(wal)
    store.close()
    return copy, [frame.data for frame in log.read(0, 100)]


async def kept_of(copy: Path) -> list[bytes]:
    """Start on the damaged file; return what is left of the session's first life."""
    async with open_journal(str(copy)) as journal:
        for log in journal.restored:
            await visible(log)
            assert log.epoch > 1
            assert log.snapshot.ended
    events = [text for s in stored_sessions(copy) for text in stored_events(copy, s.id)]
    return [text for text in events if b"owner_lost" not in text]


@pytest.mark.parametrize("cut", range(0, 60_000, 4_999))
async def test_f10_a_torn_write_ahead_log_leaves_a_clean_prefix(path: Path, cut: int) -> None:
    def tear(wal: bytearray) -> None:
        del wal[cut:]

    copy, written = copied(path, tear)
    kept = await kept_of(copy)
    assert kept == written[: len(kept)]
    assert len(kept) >= cut // 8_400 - 3  # a commit of ours takes two pages of log


@pytest.mark.parametrize("seed", range(12))
async def test_f10_a_flipped_bit_in_it_leaves_a_clean_prefix(path: Path, seed: int) -> None:
    place = 0

    def flip(wal: bytearray) -> None:
        nonlocal place
        dice = random.Random(seed)
        place = dice.randrange(len(wal))
        wal[place] ^= 1 << dice.randrange(8)

    copy, written = copied(path, flip)
    kept = await kept_of(copy)
    assert kept == written[: len(kept)]
    assert len(kept) >= place // 8_400 - 3
