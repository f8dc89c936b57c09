"""Output to a terminal or pipe: the event loop never waits for the reader.

On the real clock, because views run in a worker thread.
"""

import threading
from collections.abc import Sequence

import anyio
import pytest

from pipeline.cli.views import output
from pipeline.cli.views.output import Item, OutputStuck, printing
from pipeline.protocol.events import Frame

FRAMES = [Frame(seq, "x", b"{}") for seq in range(1, 6)]


class Paper:
    """A printer that can block."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.batches = 0
        self.closed = False
        self.may_go = threading.Event()
        self.may_go.set()

    def write(self, items: Sequence[Item]) -> None:
        self.may_go.wait(10)
        self.batches += 1
        self.written += [item.seq for item in items if isinstance(item, Frame)]

    def close(self) -> None:
        self.closed = True


async def test_everything_is_written_in_order_before_the_block_ends() -> None:
    paper = Paper()
    async with printing(paper) as put:
        for frame in FRAMES:
            put(frame)
    assert paper.written == [1, 2, 3, 4, 5]
    assert paper.closed


async def test_items_that_wait_for_a_slow_reader_are_written_in_one_batch() -> None:
    paper = Paper()
    paper.may_go.clear()
    async with printing(paper) as put:
        put(FRAMES[0])
        await anyio.wait_all_tasks_blocked()
        for frame in FRAMES[1:]:
            put(frame)
        paper.may_go.set()
    assert (paper.written, paper.batches) == ([1, 2, 3, 4, 5], 2)


async def test_a_cancelled_run_still_writes_its_last_items() -> None:
    paper = Paper()
    with anyio.CancelScope() as scope:
        async with printing(paper) as put:
            scope.cancel()
            try:
                await anyio.sleep_forever()
            finally:
                put(FRAMES[0])
    assert scope.cancelled_caught
    assert (paper.written, paper.closed) == ([1], True)


async def test_a_reader_that_never_reads_is_abandoned_after_a_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(output, "CLOSE_TIMEOUT", 0.05)
    paper = Paper()
    paper.may_go.clear()
    with anyio.fail_after(5):
        async with printing(paper) as put:
            put(FRAMES[0])
    paper.may_go.set()
    assert not paper.closed


async def test_a_reader_too_far_behind_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "BACKLOG", 2)
    monkeypatch.setattr(output, "CLOSE_TIMEOUT", 0.05)
    paper = Paper()
    paper.may_go.clear()
    with pytest.RaisesGroup(pytest.RaisesExc(OutputStuck, match="2 events behind")):
        async with printing(paper) as put:
            for frame in FRAMES:
                put(frame)
    paper.may_go.set()


async def test_after_the_reader_is_gone_nothing_more_is_written() -> None:
    class Torn(Paper):
        def write(self, items: Sequence[Item]) -> None:
            raise BrokenPipeError

    with pytest.RaisesGroup(BrokenPipeError):
        async with printing(Torn()) as put:
            put(FRAMES[0])
            try:
                await anyio.sleep(5)
            finally:
                put(FRAMES[1])
