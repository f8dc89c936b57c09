"""Pages of old events: what was removed is not served again."""

from collections.abc import Sequence
from threading import Event as ThreadEvent

import anyio
import anyio.to_thread

from pipeline.journal.archive import Archive
from pipeline.protocol.events import Frame


async def test_a_page_that_is_read_while_its_session_is_removed_is_not_kept() -> None:
    reading, removed = ThreadEvent(), ThreadEvent()
    rows = {1: [Frame(1, "speech.started", b"secret")]}

    def fetch(key: int, first: int, last: int) -> Sequence[Frame]:
        found = rows.get(key, [])
        reading.set()
        removed.wait(5)
        return found

    archive = Archive(fetch)
    results: list[Sequence[Frame]] = []

    async def read() -> None:
        results.append(await archive.read(1, 0))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.to_thread.run_sync(reading.wait)
        rows.clear()
        archive.evict(1)
        removed.set()
    assert results == [()]
    assert await archive.read(1, 0) == ()


async def test_a_page_is_read_once_and_again_after_its_removal() -> None:
    archive = Archive(lambda key, first, last: [Frame(1, "speech.started", b"{}")])
    for _ in range(3):
        assert len(await archive.read(1, 0)) == 1
    assert archive.reads == 1
    archive.evict(2)
    await archive.read(1, 0)
    assert archive.reads == 1, "the page of another session stays"
    archive.evict(1)
    await archive.read(1, 0)
    assert archive.reads == 2
