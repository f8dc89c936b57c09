"""The request log of runs: a file for several processes, of bounded size, never in the way."""

import sqlite3
from pathlib import Path

import anyio
import pytest

from pipeline.interfaces.request_log import CallRecord, CallTimes, ResponseEnded, Selection
from pipeline.journal.request_log_file import open_request_log
from pipeline.journal.request_log_sqlite import stored_calls

NOW = 1e9


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # a thread writes: it keeps real time


def call(number: int, *, sent: float = NOW, body: str | None = None) -> CallRecord:
    return CallRecord(
        sent=sent - 1000 + number,
        response_id=f"r{number}",
        model="m",
        host="h",
        outcome="failed",
        times=CallTimes(total=1.0),
        body=body,
    )


def ids(path: Path) -> list[str]:
    return [each.response_id for each in stored_calls(path, Selection())]


async def test_logs_that_are_open_at_once_write_the_same_file(tmp_path: Path) -> None:
    path, warnings = tmp_path / "made" / "requests.db", list[str]()
    ended = ResponseEnded(response_id="r1", prompt="p", outcome="failed")
    async with (
        open_request_log(path, warnings.append, clock=lambda: NOW) as one,
        open_request_log(path, warnings.append, clock=lambda: NOW) as two,
    ):
        one.add(call(1))
        two.add(call(2))
        one.settle(ended)
    assert warnings == []
    assert ids(path) == ["r1", "r2"]
    assert stored_calls(path, Selection(id="r1"))[0].response == ended


async def test_the_file_is_bounded_by_number_age_and_size(tmp_path: Path) -> None:
    path, warnings = tmp_path / "requests.db", list[str]()
    async with open_request_log(path, warnings.append, keep=5, clock=lambda: NOW) as log:
        log.add(call(0, sent=NOW - 31 * 86400))
        for number in range(1, 9):
            log.add(call(number))
    assert ids(path) == ["r4", "r5", "r6", "r7", "r8"]
    for number in range(100, 200):
        async with open_request_log(
            path, warnings.append, keep_bytes=1 << 20, clock=lambda: NOW
        ) as log:
            log.add(call(number, body="x" * 64_000))
    assert ids(path)[-1] == "r199"
    assert path.stat().st_size < 2 << 20
    assert warnings == []


async def test_a_file_that_is_no_log_is_one_warning(tmp_path: Path) -> None:
    path, warnings = tmp_path / "requests.db", list[str]()
    path.write_text("not a database, and long enough for its header to be read" * 20)
    async with open_request_log(path, warnings.append, clock=lambda: NOW) as log:
        log.add(call(1))
    assert len(warnings) == 1
    assert str(path) in warnings[0]
    assert path.read_text().startswith("not a database")


async def test_a_log_without_requests_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "requests.db"
    async with open_request_log(path, print, clock=lambda: NOW):
        pass
    assert not path.exists()


async def test_what_an_interrupted_run_asked_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "requests.db"
    with anyio.CancelScope() as scope:
        async with open_request_log(path, print, clock=lambda: NOW) as log:
            log.add(call(1))
            scope.cancel()
            await anyio.sleep_forever()
    assert ids(path) == ["r1"]


async def test_another_writer_that_holds_the_file_is_waited_for_but_not_long(
    tmp_path: Path,
) -> None:
    path, warnings = tmp_path / "requests.db", list[str]()
    with sqlite3.connect(path, isolation_level=None) as db:
        db.execute("BEGIN EXCLUSIVE")
        async with open_request_log(path, warnings.append, clock=lambda: NOW) as log:
            log.add(call(1))
        db.execute("ROLLBACK")
    db.close()
    assert len(warnings) == 1
