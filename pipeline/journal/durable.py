"""The journal that remembers: an event is on disk before anybody sees it."""

import logging
from asyncio import get_running_loop
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event as ThreadEvent
from typing import NamedTuple

import anyio
from msgspec import Struct

from pipeline.errors import JournalError
from pipeline.journal.archive import Archive
from pipeline.journal.loading import Loaded
from pipeline.journal.log import KEEP, SessionLog
from pipeline.journal.outbox_sqlite import OutboxInFile
from pipeline.journal.outbox_sqlite import removal as given_up
from pipeline.journal.recovery import endings, farewell
from pipeline.journal.request_log import RequestLog
from pipeline.journal.request_log_sqlite import OLDEST_TENTH, CallsInFile, removals
from pipeline.journal.retention import expired, oldest
from pipeline.journal.sqlite import (
    Change,
    Ended,
    KeptSession,
    Opened,
    Statement,
    Store,
    Written,
)
from pipeline.protocol.events import Frame

BATCH = 1000  #: events committed together, at most
BATCH_BYTES = 1 << 18
QUIET = 1.0  #: seconds without events, then the write-ahead log is worked off
RETRY = 1.0  #: seconds between tries while the disk takes nothing
TIDY = 3600.0  #: seconds between removals of old sessions
WAITING = 20_000  #: events that may wait for a disk that takes nothing

OnTrouble = Callable[[str | None], object]
OnRemoved = Callable[[str], object]  #: is told the id of a session

logger = logging.getLogger(__name__)


def wall_clock() -> float:
    return datetime.now(UTC).timestamp()


class JournalRetention(Struct, frozen=True, kw_only=True):
    """How much is kept, and how safely."""

    events: int = KEEP  #: of a session, in memory
    readable: float = 600.0  #: seconds an ended session can still be read, also after a restart
    seconds: float = 30 * 86400.0  #: an ended session stays in the file
    size: int = 4 << 30  #: bytes in the file, then the oldest ended sessions go
    calls: int = 100_000  #: in the request log
    sync_always: bool = False  #: survive a power loss too, at 1 ms an event


class _Task(NamedTuple):
    change: Change
    log: SessionLog | None  # whose event it is, to be confirmed
    then: Callable[[], object] | None = None  # is called once it is stored


class Erasure:
    """A session that somebody wants removed."""

    def __init__(self, key: int, session_id: str) -> None:
        self.key = key
        self.session_id = session_id
        self.failure: str | None = None
        self.done = anyio.Event()


class _Known(NamedTuple):
    """A session in the file, should its id be used again."""

    key: int
    epoch: int
    head: int


class DurableJournal:
    """Session logs over one SQLite file and its writer thread; ``open_journal`` makes one."""

    def __init__(
        self,
        store: Store,
        archive: Archive,
        keeping: JournalRetention,
        clock: Callable[[], float],
        on_trouble: OnTrouble,
    ) -> None:
        self._on_trouble = on_trouble
        self.restored: Sequence[SessionLog] = ()
        self.trouble: str | None = None
        self.requests: RequestLog | None = CallsInFile(self._note, clock)
        self.outbox: OutboxInFile | None = None
        self.on_removed: OnRemoved | None = None
        self.archive = archive
        self._store = store
        self._loop = get_running_loop()
        self._keeping = keeping
        self._clock = clock
        self._tasks: SimpleQueue[_Task | Erasure | None] = SimpleQueue()
        self._doomed: deque[Erasure] = deque()  # of the writer thread
        self._leaving: set[str] = set()  # ids of sessions that are being removed
        self._dirty = True  # the write-ahead log holds something
        self._tidied = -TIDY
        self._stopping = ThreadEvent()
        self._untended: set[Callable[[], None]] = set()  # what failed the last time
        self.waiting = 0
        self._known: dict[str, _Known] = {}  # what is in the file, by session id
        self._keys: dict[SessionLog, int] = {}  # of the logs in use
        self._next_key = 1

    # --- on the event loop ---

    def open(self, session_id: str) -> SessionLog:
        if session_id in self._leaving:
            raise JournalError(f"session {session_id!r} is being deleted: try again later")
        known = self._known.get(session_id)
        if known is None:
            key, epoch, head = self._next_key, 1, 0
            self._next_key += 1
        else:
            key, epoch, head = known.key, known.epoch + 1, known.head
        return self._open(key, session_id, epoch, head)

    def _open(self, key: int, session_id: str, epoch: int, head: int) -> SessionLog:
        log = SessionLog(session_id, epoch=epoch, head=head, keep=self._keeping.events)
        self._take_up(log, key)
        return log

    def _take_up(self, log: SessionLog, key: int) -> None:
        """Have what is appended to ``log`` written down."""
        begun = False

        def store(log: SessionLog, frame: Frame) -> None:
            nonlocal begun
            if not begun:  # a session that comes to nothing leaves nothing behind
                begun = True
                self._put(_Task(Opened(key, log.session_id, log.epoch, self._clock()), None))
            self._take(log, key, frame)

        log.store_with(store)
        self._use(log, key)

    def _use(self, log: SessionLog, key: int) -> None:
        self._keys[log] = key
        log.recall = partial(self.archive.read, key)

    def forget(self, log: SessionLog) -> None:
        key = self._keys.pop(log)
        if log.head:  # else it left nothing in the file
            self._known[log.session_id] = _Known(key, log.epoch, log.head)

    async def erase(self, session_id: str) -> bool:
        """Remove an ended session from the file; return whether it was there.

        It goes on if nobody waits for it any more. Raises ``JournalError``.
        """
        known = self._known.get(session_id)
        if known is None:
            return False
        if session_id in self._leaving:
            raise JournalError(f"session {session_id!r} is being deleted already")
        self._leaving.add(session_id)
        erasure = Erasure(known.key, session_id)
        self._tasks.put(erasure)
        await erasure.done.wait()
        if erasure.failure is not None:
            raise JournalError(erasure.failure)
        return True

    def _erased(self, erasure: "Erasure") -> None:
        self._leaving.discard(erasure.session_id)
        if erasure.failure is None:
            self._known.pop(erasure.session_id, None)
            self.archive.forget(erasure.key)
        erasure.done.set()

    def _removed(self, session_id: str) -> None:
        self._known.pop(session_id, None)
        if self.on_removed is not None:
            self.on_removed(session_id)

    def _take(self, log: SessionLog, key: int, frame: Frame) -> None:
        if self.waiting >= WAITING:
            raise JournalError(f"{self.waiting} events wait for the journal: {self.trouble}")
        outbox = self.outbox
        beside = outbox.entries(key, log.session_id, frame) if outbox is not None else ()
        wake = outbox.wake if outbox is not None and beside else None
        self._put(_Task(Written(key, frame.seq, frame.data, beside), log, wake))
        if frame.type == "session.ended":
            self._put(_Task(Ended(key, self._clock()), None))

    def _note(self, change: Statement) -> None:
        """Have ``change`` written; while the disk takes nothing, some come to nothing."""
        if self.waiting < WAITING:
            self._put(_Task(change, None))

    async def change(self, change: Statement) -> None:
        """Have ``change`` written, and wait until it is."""
        written = anyio.Event()
        self._put(_Task(change, None, written.set))
        await written.wait()

    def _put(self, task: _Task) -> None:
        self.waiting += 1
        self._tasks.put(task)

    def _written(
        self, count: int, confirmed: dict[SessionLog, int], then: Sequence[Callable[[], object]]
    ) -> None:
        self.waiting -= count
        if self.trouble is not None:
            logger.warning("the journal is well again")
            self.trouble = None
            self._on_trouble(None)
        for log, seq in confirmed.items():
            log.confirm(seq)
        for step in then:
            step()

    def _failed(self, trouble: str) -> None:
        if self.trouble is None:
            logger.error("the journal takes no events, so none is shown: %s", trouble)
            self._on_trouble(trouble)
        self.trouble = trouble

    def recover(self, stored: Sequence[Loaded]) -> None:
        """Take up the sessions of an earlier life, and end those it left open."""
        for session, log in stored:
            self._next_key = max(self._next_key, session.key + 1)
            self._known[session.id] = _Known(session.key, session.epoch, session.head)
            if log is not None and session.ended is None:
                self._end(log, session.key)
            elif log is not None:
                self._use(log, session.key)
        self.restored = [log for _, log in stored if log is not None]

    def _end(self, log: SessionLog, key: int) -> None:
        log.epoch += 1
        self._take_up(log, key)
        ts = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        for event in (*endings(log.picture), farewell()):
            log.append(event, t=log.t, ts=ts.replace("+00:00", "Z"))

    # --- on the writer thread ---

    def work(self) -> None:
        """Write what is put, in batches of whatever waits, until stopped."""
        while True:
            try:
                first = self._tasks.get(timeout=0 if self._doomed else QUIET)
            except Empty:
                self._rest()
                continue
            batch, more = self._batch(first)
            if batch:
                self._commit(batch)
                self._dirty = True
            self._erase_some()
            if self._store.wal_is_long():
                self._tend(self._store.checkpoint)
            if not more:
                self._tend(self._store.checkpoint)
                return

    def _rest(self) -> None:
        """Do what can be done while nothing is put."""
        if self._doomed:
            self._erase_some()
            return
        if self._dirty:
            self._dirty = not self._tend(self._store.checkpoint)
        if self._clock() - self._tidied > TIDY:
            self._tidied = self._clock()
            self._tend(self._tidy)

    def _erase_some(self) -> None:
        """Go on with the first erasure for a while, so that nobody waits long behind it."""
        if not self._doomed:
            return
        erasure = self._doomed[0]
        try:
            if self._store.remove_some(erasure.key, erasure.session_id):
                return
            self._store.checkpoint()  # the write-ahead log held it, too
        except JournalError as error:
            erasure.failure = str(error)
        self._doomed.popleft()
        self._loop.call_soon_threadsafe(self._erased, erasure)

    def _batch(self, first: "_Task | Erasure | None") -> tuple[list[_Task], bool]:
        batch: list[_Task] = []
        size = 0
        task = first
        while task is not None:
            if isinstance(task, Erasure):  # behind what was put before it
                self._doomed.append(task)
                return batch, True
            batch.append(task)
            size += len(task.change.data) if isinstance(task.change, Written) else 0
            if len(batch) >= BATCH or size >= BATCH_BYTES:
                return batch, True
            try:
                task = self._tasks.get_nowait()
            except Empty:
                return batch, True
        return batch, False

    def _commit(self, batch: list[_Task]) -> None:
        """Store ``batch`` and have it shown; try until the disk takes it or we are to stop."""
        while batch and not self._try(lambda: self._store.write(task.change for task in batch)):
            if self._stopping.wait(RETRY):
                logger.error("%d events were not written down", len(batch))
                return
        confirmed = {
            task.log: task.change.seq
            for task in batch
            if task.log is not None and isinstance(task.change, Written)
        }
        then = [task.then for task in batch if task.then is not None]
        self._loop.call_soon_threadsafe(self._written, len(batch), confirmed, then)

    def _try(self, step: Callable[[], None]) -> bool:
        try:
            step()
        except JournalError as error:
            self._loop.call_soon_threadsafe(self._failed, str(error))
            return False
        return True

    def _tend(self, step: Callable[[], None]) -> bool:
        """Do what no event waits for; a disk that does not let us is told in the log, once."""
        try:
            step()
        except JournalError as error:
            if step not in self._untended:
                self._untended.add(step)
                logger.warning("the journal cannot be tidied, but goes on: %s", error)
            return False
        self._untended.discard(step)
        return True

    def _tidy(self) -> None:
        keeping = self._keeping
        in_use = set(self._keys.copy().values())
        kept = self._store.kept()
        for session in expired(kept, now=self._clock(), keep=keeping.seconds, in_use=in_use):
            self._remove(session)
        before = self._clock() - keeping.seconds
        for removal in (*removals(before=before, keep=keeping.calls), given_up(before=before)):
            while self._tasks.empty() and self._store.remove(removal):
                pass
        while self._store.size() > keeping.size and self._tasks.empty():
            removed = self._store.remove(OLDEST_TENTH)
            victim = oldest(self._store.kept(), in_use=in_use)
            if victim is not None:
                self._remove(victim)
            elif not removed:
                return

    def _remove(self, session: KeptSession) -> None:
        while self._tasks.empty():
            if not self._store.remove_some(session.key, session.id):
                self._loop.call_soon_threadsafe(self._removed, session.id)
                return

    def stop(self) -> None:
        self._stopping.set()
        self._tasks.put(None)
