"""Opening and closing of the journal that the settings name."""

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
from pipeline.journal.epoch_source import epoch_source
from pipeline.journal.loading import frame_of, load
from pipeline.journal.memory import Journal, MemoryJournal
from pipeline.journal.outbox_sqlite import OutboxInFile, RowReader
from pipeline.journal.sqlite import JournalReader
from pipeline.protocol.events import Frame
from pipeline.runtime.supervision import Supervisor


@asynccontextmanager
async def open_journal(  # noqa: PLR0913 - keywords, each with a default
    where: str,
    retention: JournalRetention | None = None,
    *,
    on_trouble: OnTrouble = lambda _: None,
    wanted: Wanted | None = None,
    on_removed: OnRemoved | None = None,
    supervisor: Supervisor | None = None,
    clock: Callable[[], float] = wall_clock,
) -> AsyncGenerator[Journal]:
    """Open the journal at ``where`` (``memory``, or the path of a file); close it on exit.

    ``on_trouble`` is called on the event loop with the reason when events cannot be stored, and
    so are not published, and with None when that is over. ``wanted`` returns the webhooks that
    subscribe to an event type; with it, the journal has an outbox. ``on_removed`` is called on
    the event loop with the id of each removed session. Raises ``JournalError`` when the file
    cannot be used.
    """
    retention = retention or JournalRetention()
    new_epoch = epoch_source(clock)
    if where == "memory":
        yield MemoryJournal(new_epoch, keep=retention.events, wanted=wanted)
        return
    path = Path(where)
    file, stored = await anyio.to_thread.run_sync(
        partial(
            load,
            path,
            sync_always=retention.sync_always,
            now=clock(),
            readable=retention.readable,
            events=retention.events,
        )
    )
    reader = JournalReader(path)

    def fetch(key: int, first: int, last: int) -> Sequence[Frame]:
        return [frame_of(path, text) for text in reader.events(key, first, last)]

    journal = DurableJournal(file, Archive(fetch), retention, clock, on_trouble)
    journal.on_removed = on_removed
    journal.new_epoch = new_epoch
    row_reader = RowReader(path)
    if wanted is not None:
        journal.outbox = OutboxInFile(wanted, row_reader, journal.change, clock)
    failure: Exception | None = None
    try:
        async with anyio.create_task_group() as tasks:
            supervised = (supervisor or Supervisor()).run_thread
            tasks.start_soon(supervised, "journal writer", journal.work, journal.stopping)
            try:
                journal.recover(stored)
                yield journal
            except Exception as error:  # noqa: BLE001 - the caller's own: raised below, ungrouped
                failure = error
            finally:
                journal.stop()
    finally:
        row_reader.close()
        reader.close()
        file.close()
    if failure is not None:
        raise failure
