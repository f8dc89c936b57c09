"""A disk that accepts nothing for a while: every response and every session gets its end."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import JournalError
from pipeline.journal import durable
from pipeline.journal.backlog import Backlog
from pipeline.journal.durable import DurableJournal
from pipeline.journal.log import SessionLog
from pipeline.journal.opening import open_journal
from pipeline.journal.sqlite import Change, JournalFile, Written, stored_events
from pipeline.protocol.events import (
    RequestInfo,
    ResponseCreated,
    ResponseDone,
    SessionEnded,
    SpeechStartedEvent,
    Times,
    TokenUsage,
    Totals,
    decode_event,
)
from tests.support.waiting import until

CREATED = ResponseCreated(response_id="r1", prompt="p", turns=(), model="m", speculative=False)
DONE = ResponseDone(
    response_id="r1",
    status="cancelled",
    text="",
    usage=TokenUsage(input_tokens=0, output_tokens=0, estimated=False),
    times=Times(),
    request=RequestInfo(id=None, model="m", region=None),
)
ENDED = SessionEnded(reason="error", totals=Totals())


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the writer is a thread: it keeps real time


class Disk:
    """Replaces the writing of the journal's file: it may be full, or refuse single events."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.failure: Exception | None = None
        self.refused = b"nothing"
        write = JournalFile.write

        def write_unless_full(file: JournalFile, changes: Iterable[Change]) -> None:
            if self.failure is not None:
                raise self.failure
            given = list(changes)
            if any(isinstance(each, Written) and self.refused in each.data for each in given):
                raise OverflowError("odd")
            write(file, given)

        patch.setattr(JournalFile, "write", write_unless_full)
        patch.setattr(durable, "RETRY", 0.01)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def say(log: SessionLog, *events: Any) -> None:
    for event in events:
        log.append(event, t=0, ts="")


def stalled_of(log: SessionLog) -> list[str]:
    stalled: list[str] = []
    log.on_stalled = stalled.append
    return stalled


def kinds(path: Path, session_id: str) -> list[type]:
    return [type(decode_event(text)) for text in stored_events(path, session_id)]


async def test_a_noisy_session_is_ended_and_a_quiet_one_goes_on(tmp_path: Path, disk: Disk) -> None:
    path = tmp_path / "journal.db"
    async with open_journal(str(path)) as journal:
        assert isinstance(journal, DurableJournal)
        journal._backlog = Backlog(2_000_000)  # pyright: ignore[reportPrivateUsage]
        quiet, noisy = journal.open("quiet"), journal.open("noisy")
        quiet_told, noisy_told = stalled_of(quiet), stalled_of(noisy)
        say(quiet, CREATED)
        say(noisy, CREATED)
        disk.failure = JournalError("disk full")
        say(quiet, SpeechStartedEvent())
        await until(lambda: journal.trouble is not None)
        while not noisy_told:
            say(noisy, SpeechStartedEvent())
        with pytest.raises(JournalError, match="cannot be stored"):
            say(noisy, *[SpeechStartedEvent()] * 10_000)
        say(noisy, DONE, ENDED)  # room is reserved for them
        say(quiet, SpeechStartedEvent(), DONE, ENDED)
        assert noisy_told == ["the events of session noisy cannot be stored: disk full"]
        assert quiet_told == []
        disk.failure = None
        await until(lambda: journal.waiting == 0)
        assert journal.trouble is None
    for name in ("quiet", "noisy"):
        assert kinds(path, name)[-2:] == [ResponseDone, SessionEnded]
        assert kinds(path, name).count(ResponseCreated) == 1


async def test_an_event_that_can_never_be_stored_costs_its_session_only(
    tmp_path: Path, disk: Disk
) -> None:
    path = tmp_path / "journal.db"
    disk.refused = b"poison"
    async with open_journal(str(path)) as journal:
        hurt, sound = journal.open("hurt"), journal.open("sound")
        stalled = stalled_of(hurt)
        poison = ResponseCreated(
            response_id="poison", prompt="p", turns=(), model="m", speculative=False
        )
        say(hurt, SpeechStartedEvent(), poison, SpeechStartedEvent())
        say(sound, CREATED, DONE, ENDED)
        await until(lambda: sound.visible == 3 and stalled)
        with pytest.raises(JournalError):
            say(hurt, SpeechStartedEvent())
        say(hurt, ENDED)
        await until(lambda: journal.waiting == 0)
        assert hurt.visible == 1
        late = journal.open("late")
        say(late, CREATED, DONE, ENDED)
        await until(lambda: late.visible == 3)
    disk.refused = b"nothing"
    async with open_journal(str(path)) as journal:
        await until(lambda: journal.waiting == 0)
    assert kinds(path, "hurt") == [SpeechStartedEvent, SessionEnded]
    assert (
        kinds(path, "sound")
        == kinds(path, "late")
        == [
            ResponseCreated,
            ResponseDone,
            SessionEnded,
        ]
    )


async def test_an_error_of_the_disk_in_maintenance_does_not_stop_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Path, **_: object) -> None:
        raise OSError(5, "Input/output error")

    async with open_journal(str(tmp_path / "journal.db")) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "stat", broken)
            log = journal.open("s1")
            for _ in range(3):
                say(log, SpeechStartedEvent())
                await until(lambda: log.visible == log.head)
