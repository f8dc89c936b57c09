"""Durable journal: an event is on disk before any subscriber receives it."""

import logging
from asyncio import get_running_loop
from collections import Counter, deque
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
from pipeline.journal.backlog import OVERHEAD, Backlog
from pipeline.journal.epoch_source import epoch_source
from pipeline.journal.loading import Loaded
from pipeline.journal.log import KEEP, SessionLog
from pipeline.journal.outbox_sqlite import OutboxInFile
from pipeline.journal.outbox_sqlite import removal as given_up
from pipeline.journal.recovery import lost_responses, lost_session
from pipeline.journal.request_log import RequestLog
from pipeline.journal.request_log_sqlite import OLDEST_TENTH, CallsInFile, removals
from pipeline.journal.retention import expired, oldest
from pipeline.journal.rows import DamagedSession
from pipeline.journal.sqlite import (
    Change,
    Ended,
    JournalFile,
    KeptSession,
    Opened,
    Statement,
    Written,
)
from pipeline.protocol.events import Frame

BATCH = 1000  #: events committed together, at most
BATCH_BYTES = 1 << 18
IDLE_TIME = 1.0  #: seconds without events before the write-ahead log is checkpointed
CHECKPOINT_RETRY = 0.25  #: seconds, while another process keeps the bytes of a removed session
RETRY = 1.0  #: seconds between attempts while writes fail
CLEANUP_INTERVAL = 3600.0  #: seconds between removals of old sessions
MAX_CALLS = 20_000  #: changes that wait, past which the request log takes no more
#: events that are stored whatever waits: one per response and session, which are bounded
ENDINGS = frozenset({"response.done", "session.ended"})
HARD = 1 << 20  #: bytes past its bound that an ending session may still add

OnTrouble = Callable[[str | None], object]
OnRemoved = Callable[[str], object]  #: called with the id of a removed session

logger = logging.getLogger(__name__)


def wall_clock() -> float:
    return datetime.now(UTC).timestamp()


class JournalRetention(Struct, frozen=True, kw_only=True):
    """Limits on stored sessions, and durability of writes."""

    events: int = KEEP  #: of a session, in memory
    readable: float = 600.0  #: seconds an ended session stays readable, also after a restart
    seconds: float = 30 * 86400.0  #: an ended session stays in the file
    size: int = 4 << 30  #: bytes in the file, then the oldest ended sessions are removed
    calls: int = 100_000  #: in the request log
    sync_always: bool = False  #: durable across a power loss, at about 1 ms per event


class _Task(NamedTuple):
    change: Change
    log: SessionLog | None  # log of the event, to confirm it
    then: Callable[[], object] | None = None  # called once it is stored


class Erasure:
    """Requested removal of a session, and of damaged ones with the same id."""

    def __init__(self, keys: Sequence[int], session_id: str) -> None:
        self.keys = deque(keys)  # those that are left
        self.session_id = session_id
        self.failure: str | None = None
        self.done = anyio.Event()


class _StoredPosition(NamedTuple):
    """Position of a session in the file, from which its id continues if used again."""

    key: int
    epoch: int
    head: int
    epochs: Sequence[tuple[int, int]]  # of its events


class _Stored(NamedTuple):
    """Result of stored changes, for the event loop."""

    changes: int
    confirmed: dict[SessionLog, int]  # the newest stored number of each log
    sizes: Counter[int]  # bytes, by the key of their session
    then: Sequence[Callable[[], object]]


def _stored(batch: Sequence[_Task]) -> _Stored:
    confirmed: dict[SessionLog, int] = {}
    sizes: Counter[int] = Counter()
    for task in batch:
        if isinstance(task.change, Written):
            sizes[task.change.key] += len(task.change.data) + OVERHEAD
            if task.log is not None:
                confirmed[task.log] = task.change.seq
    then = [task.then for task in batch if task.then is not None]
    return _Stored(len(batch), confirmed, sizes, then)


def _has_ended(log: SessionLog) -> bool:
    return any(frame.type == "session.ended" for frame in log.read(log.visible - 1, 1))


class DurableJournal:
    """Session logs stored in one SQLite file by a writer thread; ``open_journal`` opens one."""

    def __init__(
        self,
        store: JournalFile,
        archive: Archive,
        retention: JournalRetention,
        clock: Callable[[], float],
        on_trouble: OnTrouble,
    ) -> None:
        self._on_trouble = on_trouble
        self.restored: Sequence[SessionLog] = ()
        self.trouble: str | None = None
        self.requests: RequestLog | None = CallsInFile(self._put_statement, clock)
        self.outbox: OutboxInFile | None = None
        self.on_removed: OnRemoved | None = None
        self.new_epoch = epoch_source(clock)
        self.archive = archive
        self._file = store
        self._loop = get_running_loop()
        self._retention = retention
        self._clock = clock
        self._tasks: SimpleQueue[_Task | Erasure | None] = SimpleQueue()
        self._erasures: deque[Erasure] = deque()  # used by the writer thread only
        self._removed: list[Erasure] = []  # their bytes are left in the write-ahead log
        self._erasing: set[str] = set()  # ids of sessions that are being removed
        self._needs_checkpoint = True  # the write-ahead log is not empty
        self._cleaned_up = -CLEANUP_INTERVAL
        self.stopping = ThreadEvent()
        self._failed_steps: set[Callable[[], None]] = set()  # maintenance that failed last time
        self.waiting = 0
        self._positions: dict[str, _StoredPosition] = {}  # sessions in the file, by session id
        self._keys: dict[SessionLog, int] = {}  # keys of the logs in use
        self._next_key = 1
        self._backlog = Backlog()
        self._rejected: dict[int, str] = {}  # reasons, by the key of a session that is given up
        self._unstorable: set[int] = set()  # the same keys, used by the writer thread only
        self._damaged: list[DamagedSession] = []  # in the file, but not readable

    # --- on the event loop ---

    def open(self, session_id: str) -> SessionLog:
        if session_id in self._erasing:
            raise JournalError(f"session {session_id!r} is being deleted: try again later")
        known = self._positions.get(session_id)
        if known is None:
            known = _StoredPosition(self._next_key, 0, 0, ())
            self._next_key += 1
        log = SessionLog(
            session_id,
            epoch=self.new_epoch(known.epoch),
            head=known.head,
            earlier=known.epochs,
            keep=self._retention.events,
        )
        self._store_appended(log, known.key)
        return log

    def _store_appended(self, log: SessionLog, key: int) -> None:
        """Store the events appended to ``log``."""
        started = False

        def store(log: SessionLog, frame: Frame) -> None:
            nonlocal started
            if not started:  # a session without events is not stored
                started = True
                self._put(
                    _Task(Opened(key, log.session_id, log.epoch, self._clock(), log.epochs), None)
                )
            self._queue_event(log, key, frame)

        log.store_with(store)
        self._track(log, key)

    def _track(self, log: SessionLog, key: int) -> None:
        self._keys[log] = key
        log.recall = partial(self.archive.read, key)

    def release(self, log: SessionLog) -> None:
        key = self._keys.pop(log)
        if log.head:  # else it has no events in the file
            self._positions[log.session_id] = _StoredPosition(key, log.epoch, log.head, log.epochs)

    async def erase(self, session_id: str) -> bool:
        """Remove an ended session from the file; return whether it existed.

        Cancelling the caller does not stop the removal. Raises ``JournalError``.
        """
        known = self._positions.get(session_id)
        keys = [each.key for each in self._damaged if each.id == session_id]
        if known is not None:
            keys.append(known.key)
        if not keys:
            return False
        if session_id in self._erasing:
            raise JournalError(f"session {session_id!r} is being deleted already")
        self._erasing.add(session_id)
        erasure = Erasure(keys, session_id)
        self._tasks.put(erasure)
        await erasure.done.wait()
        if erasure.failure is not None:
            raise JournalError(erasure.failure)
        return True

    def _on_erased(self, erasure: "Erasure") -> None:
        self._erasing.discard(erasure.session_id)
        if erasure.failure is None:
            self._forget(erasure.session_id)
        erasure.done.set()

    def _forget(self, session_id: str) -> None:
        known = self._positions.pop(session_id, None)
        if known is not None:
            self.archive.evict(known.key)
        self._damaged = [each for each in self._damaged if each.id != session_id]

    def _on_removal(self, session: KeptSession) -> None:
        known = self._positions.get(session.id)
        self._damaged = [each for each in self._damaged if each.key != session.key]
        if known is not None and known.key != session.key:
            return  # a damaged session; its id was used again
        if any(log.session_id == session.id for log in self._keys):
            return
        self._forget(session.id)
        if self.on_removed is not None:
            self.on_removed(session.id)

    def _queue_event(self, log: SessionLog, key: int, frame: Frame) -> None:
        room = self._backlog.room(key)
        if key in self._rejected or (room < 0 and log.on_stalled is not None):
            self._stall(log, self._rejected.get(key))
        if frame.type not in ENDINGS and (key in self._rejected or room < -HARD):
            raise JournalError(f"session {log.session_id}: its events cannot be stored")
        outbox = self.outbox
        entries = outbox.entries(key, log.session_id, frame) if outbox is not None else ()
        wake = outbox.wake if outbox is not None and entries else None
        self._backlog.add(key, len(frame.data) + OVERHEAD)
        self._put(_Task(Written(key, frame.seq, frame.data, entries), log, wake))
        if frame.type == "session.ended":
            self._put(_Task(Ended(key, self._clock()), None))

    def _stall(self, log: SessionLog, reason: str | None) -> None:
        """Report, once, that the session of ``log`` must end."""
        on_stalled, log.on_stalled = log.on_stalled, None
        if on_stalled is not None:
            why = reason or self.trouble or "the disk is too slow"
            on_stalled(f"the events of session {log.session_id} cannot be stored: {why}")

    def _put_statement(self, change: Statement) -> None:
        """Queue ``change``; while writes fail, changes past ``MAX_CALLS`` are dropped."""
        if self.waiting < MAX_CALLS:
            self._put(_Task(change, None))

    async def change(self, change: Statement) -> None:
        """Write ``change`` and return once it is stored."""
        written = anyio.Event()
        self._put(_Task(change, None, written.set))
        await written.wait()

    def _put(self, task: _Task) -> None:
        self.waiting += 1
        self._tasks.put(task)

    def _on_written(self, stored: "_Stored") -> None:
        self.waiting -= stored.changes
        self._backlog.remove(stored.sizes)
        if self.trouble is not None:
            logger.warning("the journal stores events again")
            self.trouble = None
            self._on_trouble(None)
        for log, seq in stored.confirmed.items():
            log.confirm(seq)
        for step in stored.then:
            step()

    def _on_rejected(self, task: _Task, reason: str) -> None:
        """Give up a change that can never be stored, and end its session."""
        self.waiting -= 1
        self._backlog.remove(_stored([task]).sizes)
        if task.log is not None and isinstance(task.change, Written):
            self._rejected[task.change.key] = reason
            self._stall(task.log, reason)

    def _on_failed(self, trouble: str) -> None:
        if self.trouble is None:
            logger.error("the journal cannot store events, so none is published: %s", trouble)
            self._on_trouble(trouble)
        self.trouble = trouble

    def recover(self, loaded: Loaded) -> None:
        """Restore the sessions of a previous process, and end those it left open."""
        self._next_key = loaded.next_key
        self._damaged = list(loaded.damaged)
        for session, log in loaded.sessions:
            self._positions[session.id] = _StoredPosition(
                session.key, session.epoch, session.head, session.epochs
            )
            if log is None:
                continue
            if session.ended is None and not _has_ended(log):
                self._end_lost(log, session.key)
                continue
            self._track(log, session.key)
            if session.ended is None:  # the process died between its last event and this mark
                self._put(_Task(Ended(session.key, self._clock()), None))
        self.restored = [log for _, log in loaded.sessions if log is not None]

    def _end_lost(self, log: SessionLog, key: int) -> None:
        log.take_over(self.new_epoch(log.epoch))
        self._store_appended(log, key)
        ts = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        for event in (*lost_responses(log.snapshot), lost_session()):
            log.append(event, t=log.t, ts=ts.replace("+00:00", "Z"))

    # --- on the writer thread ---

    def work(self) -> None:
        """Write queued changes in batches until stopped."""
        while True:
            try:
                first = self._tasks.get(timeout=self._patience)
            except Empty:
                self._work_idle()
                continue
            batch, more = self._batch(first)
            if batch and not self._unstorable:
                self._commit(batch)
            else:
                for task in batch:
                    self._commit_alone(task)
            self._needs_checkpoint = self._needs_checkpoint or bool(batch)
            self._erase_some()
            self._maintain(self._checkpoint_if_long)
            if not more:
                self._maintain(self._checkpoint)
                return

    def _checkpoint_if_long(self) -> None:
        if self._file.wal_is_long():
            self._checkpoint()

    def _work_idle(self) -> None:
        """Run maintenance while no changes are queued."""
        if self._erasures:
            self._erase_some()
            return
        if self._needs_checkpoint or self._removed:
            self._maintain(self._checkpoint)
        if self._clock() - self._cleaned_up > CLEANUP_INTERVAL:
            self._cleaned_up = self._clock()
            self._maintain(self._remove_old)
            self._needs_checkpoint = True  # the log contains what was removed

    def _erase_some(self) -> None:
        """Continue the first erasure for one step, so that writes do not wait long behind it."""
        if not self._erasures:
            return
        erasure = self._erasures[0]
        try:
            while erasure.keys:
                if self._file.remove_some(erasure.keys[0], erasure.session_id):
                    return
                erasure.keys.popleft()
        except Exception as error:  # noqa: BLE001 - any: its caller waits for an answer
            erasure.failure = str(error) or type(error).__name__
        self._removed.append(self._erasures.popleft())
        self._maintain(self._checkpoint)

    def _checkpoint(self) -> None:
        """Empty the write-ahead log; the removals before are complete once that is done.

        The log contains the removed events, too, and is kept while another process reads it.
        """
        self._needs_checkpoint = True
        if self._file.checkpoint():
            self._needs_checkpoint = False
        complete = [each for each in self._removed if each.failure or not self._needs_checkpoint]
        self._removed = [each for each in self._removed if each not in complete]
        for erasure in complete:
            self._loop.call_soon_threadsafe(self._on_erased, erasure)

    @property
    def _patience(self) -> float:
        """Seconds to wait for changes before maintenance."""
        if self._erasures:
            return 0.0
        return CHECKPOINT_RETRY if self._removed else IDLE_TIME

    def _batch(self, first: "_Task | Erasure | None") -> tuple[list[_Task], bool]:
        batch: list[_Task] = []
        size = 0
        task = first
        while task is not None:
            if isinstance(task, Erasure):  # after the changes queued before it
                self._erasures.append(task)
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
        """Store ``batch``, then confirm it; retry until it is stored or ``stop`` is called."""
        try:
            stored = self._write(batch)
        except Exception:
            logger.exception("events cannot be stored together, so one by one")
            for task in batch:
                self._commit_alone(task)
            return
        if stored:
            self._loop.call_soon_threadsafe(self._on_written, _stored(batch))

    def _commit_alone(self, task: _Task) -> None:
        """Store one change; one that can never be stored costs its own session only."""
        try:
            if isinstance(task.change, Written | Ended) and task.change.key in self._unstorable:
                raise LookupError("an event before it was not stored")
            stored = self._write([task])
        except Exception as error:  # noqa: BLE001 - any: the others are stored
            if isinstance(task.change, Written):
                self._unstorable.add(task.change.key)
            reason = f"{type(error).__name__}: {error}"
            logger.error("a change of the journal is given up: %s", reason)  # noqa: TRY400
            self._loop.call_soon_threadsafe(self._on_rejected, task, reason)
        else:
            if stored:
                self._loop.call_soon_threadsafe(self._on_written, _stored([task]))

    def _write(self, batch: Sequence[_Task]) -> bool:
        """Store ``batch``, however long it takes; return False if ``stop`` was called first."""
        while True:
            try:
                self._file.write(task.change for task in batch)
            except JournalError as error:
                self._loop.call_soon_threadsafe(self._on_failed, str(error))
            else:
                return True
            if self.stopping.wait(RETRY):
                logger.error("%d events were not stored", len(batch))
                return False

    def _maintain(self, step: Callable[[], None]) -> bool:
        """Run one maintenance step; a repeated failure is logged only once."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - any: the journal still stores events
            if step not in self._failed_steps:
                self._failed_steps.add(step)
                logger.warning("maintenance of the journal failed; it still stores events: %s",
                               error)  # fmt: skip
            return False
        self._failed_steps.discard(step)
        return True

    def _remove_old(self) -> None:
        retention = self._retention
        in_use = set(self._keys.copy().values())
        kept = self._file.kept()
        for session in expired(kept, now=self._clock(), keep=retention.seconds, in_use=in_use):
            self._remove(session)
        before = self._clock() - retention.seconds
        for removal in (*removals(before=before, keep=retention.calls), given_up(before=before)):
            while self._tasks.empty() and self._file.remove(removal):
                pass
        while self._file.size() > retention.size and self._tasks.empty():
            removed = self._file.remove(OLDEST_TENTH)
            oldest_session = oldest(self._file.kept(), in_use=in_use)
            if oldest_session is not None:
                self._remove(oldest_session)
            elif not removed:
                return

    def _remove(self, session: KeptSession) -> None:
        while self._tasks.empty():
            if not self._file.remove_some(session.key, session.id):
                self._loop.call_soon_threadsafe(self._on_removal, session)
                return

    def stop(self) -> None:
        self.stopping.set()
        self._tasks.put(None)
