"""Opens the journal that the settings name, and closes it in order."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from pipeline.interfaces.outbox import Wanted
from pipeline.journal.archive import Archive
from pipeline.journal.durable import (
    DurableJournal,
    JournalRetention,
    OnRemoved,
    OnTrouble,
    wall_clock,
)
from pipeline.journal.loading import frame_of, load
from pipeline.journal.memory import Journal, MemoryJournal
from pipeline.journal.outbox_sqlite import OutboxInFile, Rows
from pipeline.journal.sqlite import Reader
from pipeline.protocol.events import Frame


@asynccontextmanager
async def open_journal(  # noqa: PLR0913 - what the others want to know of it
    where: str,
    keeping: JournalRetention | None = None,
    *,
    on_trouble: OnTrouble = lambda _: None,
    wanted: Wanted | None = None,
    on_removed: OnRemoved | None = None,
    clock: Callable[[], float] = wall_clock,
) -> AsyncGenerator[Journal]:
    """Open the journal at ``where``: ``memory``, or the path of a file; close it when left.

    ``on_trouble`` is told, on the event loop, when the disk takes no events, so that none is
    shown, and with None when that is over. ``wanted`` tells which webhooks want an event: there is
    an outbox then. ``on_removed`` is told, on the event loop, of sessions that are kept no longer.
    Raises ``JournalError`` when the file cannot be used.
    """
    keeping = keeping or JournalRetention()
    if where == "memory":
        yield MemoryJournal(keep=keeping.events, wanted=wanted)
        return
    path = Path(where)
    store, stored = await anyio.to_thread.run_sync(
        partial(
            load,
            path,
            sync_always=keeping.sync_always,
            since=clock() - keeping.readable,
            events=keeping.events,
        )
    )
    reader = Reader(path)

    def fetch(key: int, first: int, last: int) -> Sequence[Frame]:
        return [frame_of(path, text) for text in reader.events(key, first, last)]

    journal = DurableJournal(store, Archive(fetch), keeping, clock, on_trouble)
    journal.on_removed = on_removed
    rows = Rows(path)
    if wanted is not None:
        journal.outbox = OutboxInFile(wanted, rows, journal.change, clock)
    failure: Exception | None = None
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_write, journal)
            try:
                journal.recover(stored)
                yield journal
            except Exception as error:  # noqa: BLE001 - the caller's own: raised below, ungrouped
                failure = error
            finally:
                journal.stop()
    finally:
        rows.close()
        reader.close()
        store.close()
    if failure is not None:
        raise failure


async def _write(journal: DurableJournal) -> None:
    with anyio.CancelScope(shield=True):  # ended by ``stop``, which bounds it
        await anyio.to_thread.run_sync(journal.work, limiter=anyio.CapacityLimiter(1))
