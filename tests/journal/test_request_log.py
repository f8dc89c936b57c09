"""The request log: what is kept of a call, for how long, and who finds it again."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from pipeline.interfaces.llm import Message, Usage
from pipeline.interfaces.request_log import CallRecord, CallTimes, ResponseEnded, Selection
from pipeline.journal.durable import JournalRetention
from pipeline.journal.opening import open_journal
from pipeline.journal.request_log import CallsInMemory, RequestLog
from pipeline.journal.request_log_sqlite import stored_calls

Select = Callable[[Selection], Sequence[CallRecord]]
Kept = tuple[RequestLog, Select]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the writer is a thread: it keeps real time


def call(sent: float, response: str = "r1", outcome: str = "completed", **more: str) -> CallRecord:
    fields: dict[str, str] = {"model": "m", "host": "h", "session_id": "s1", **more}
    return CallRecord(
        sent=sent,
        response_id=response,
        outcome=outcome,
        times=CallTimes(total=5.0),
        usage=Usage(3, 4, estimated=True),
        messages=(Message("user", "hi"),),
        **fields,  # type: ignore[arg-type]
    )


DISCARDED = ResponseEnded(response_id="r2", prompt="reply", outcome="discarded", reason="speech")


def in_memory() -> tuple[RequestLog, Select]:
    log = CallsInMemory()
    return log, log.select


@asynccontextmanager
async def in_file(path: Path, **keeping: float) -> AsyncGenerator[RequestLog]:
    kept = JournalRetention(**keeping)  # type: ignore[arg-type]
    async with open_journal(str(path), kept, clock=lambda: 1000.0) as journal:
        assert journal.requests is not None
        yield journal.requests


@pytest.fixture(params=["memory", "file"])
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    """Both logs, with the same story: four calls, of which one failed and one was a guess."""
    log, select = in_memory()
    if request.param == "memory":
        tell(log)
        return log, select
    path = tmp_path / "journal.db"
    async with in_file(path) as log:
        tell(log)
    return log, lambda which: stored_calls(path, which)


def tell(log: RequestLog) -> None:
    log.add(call(10.0, outcome="failed", error="503"))
    log.add(call(11.0, answered_by="n", request_id="q1"))
    log.settle(DISCARDED)  # before its call has unwound
    log.add(call(12.0, "r2", outcome="cancelled"))
    log.add(call(13.0, "r3", outcome="incomplete", session_id="s2", model="n"))


def sent(calls: Sequence[CallRecord]) -> list[float]:
    return [each.sent for each in calls]


async def test_every_call_is_found_again_oldest_first(kept: Kept) -> None:
    _, select = kept
    assert sent(select(Selection())) == [10.0, 11.0, 12.0, 13.0]
    assert select(Selection())[1] == call(11.0, answered_by="n", request_id="q1")


@pytest.mark.parametrize(
    ("which", "found"),
    [
        (Selection(failed=True), [10.0, 13.0]),
        (Selection(since=11.5), [12.0, 13.0]),
        (Selection(session="s2"), [13.0]),
        (Selection(model="n"), [11.0, 13.0]),
        (Selection(id="r2"), [12.0]),
        (Selection(id="q1"), [11.0]),
        (Selection(id="q"), []),
        (Selection(limit=2), [12.0, 13.0]),
        (Selection(failed=True, limit=1), [13.0]),
    ],
)
async def test_a_selection_finds_what_it_says(
    kept: Kept, which: Selection, found: list[float]
) -> None:
    _, select = kept
    assert sent(select(which)) == found


async def test_a_call_tells_what_became_of_its_response(kept: Kept) -> None:
    _, select = kept
    assert [each.response for each in select(Selection())] == [None, None, DISCARDED, None]


def test_memory_keeps_the_newest() -> None:
    log = CallsInMemory(keep=2)
    for at in range(5):
        log.add(call(float(at), f"r{at}"))
        log.settle(ResponseEnded(response_id=f"r{at}", prompt="p", outcome="completed"))
    assert sent(log.select(Selection())) == [3.0, 4.0]
    assert all(each.response for each in log.select(Selection()))


async def test_a_file_keeps_the_newest_and_no_older_than_its_days(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with in_file(path) as log:
        for at in range(10):
            log.add(call(900.0 + at * 10, f"r{at}"))
    # Opened again at 1000 s: it keeps 70 s, so what was sent before 930 s goes; and of the rest 3.
    for keeping, left in (({"seconds": 70.0}, 7), ({"calls": 3}, 3)):
        async with in_file(path, **keeping):
            with anyio.fail_after(10):
                while len(stored_calls(path, Selection())) > left:  # noqa: ASYNC110 - in a thread
                    await anyio.sleep(0.02)
        assert sent(stored_calls(path, Selection()))[-1] == 990.0
        assert len(stored_calls(path, Selection())) == left


async def test_a_running_service_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with in_file(path) as log:
        log.add(call(1.0))
        with anyio.fail_after(10):
            while not stored_calls(path, Selection()):  # noqa: ASYNC110 - in a thread
                await anyio.sleep(0.002)
