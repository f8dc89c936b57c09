"""In-memory journal: events are visible at once and lost with the process."""

from collections.abc import Sequence
from typing import Protocol

from pipeline.interfaces.outbox import Outbox, Wanted
from pipeline.journal.epoch_source import NewEpoch
from pipeline.journal.log import KEEP, SessionLog
from pipeline.journal.outbox_memory import OutboxInMemory
from pipeline.journal.request_log import RequestLog


class Journal(Protocol):
    """Factory of session logs."""

    @property
    def restored(self) -> Sequence[SessionLog]:
        """Logs of a previous process that are still readable; all have ended."""
        ...

    @property
    def trouble(self) -> str | None:
        """Reason why events cannot be stored at the moment; None while they can."""
        ...

    @property
    def waiting(self) -> int:
        """Number of events and other changes that wait to be stored."""
        ...

    @property
    def requests(self) -> RequestLog | None:
        """Durable log of language model calls; None if it is not durable."""
        ...

    @property
    def outbox(self) -> Outbox | None:
        """Queue of webhook deliveries; None without webhooks."""
        ...

    def open(self, session_id: str) -> SessionLog:
        """Return the log of a new session. A reused id continues after its old events."""
        ...

    def release(self, log: SessionLog) -> None:
        """Release an ended session's log; its events on disk are kept as configured."""
        ...

    async def erase(self, session_id: str) -> bool:
        """Remove a released session from the disk; return whether it existed.

        Raises ``JournalError``.
        """
        ...


class MemoryJournal:
    """Factory of logs without a store."""

    restored: Sequence[SessionLog] = ()
    trouble: str | None = None
    waiting: int = 0
    requests: RequestLog | None = None

    def __init__(
        self, new_epoch: NewEpoch, *, keep: int = KEEP, wanted: Wanted | None = None
    ) -> None:
        self._new_epoch = new_epoch
        self._keep = keep
        self.outbox = OutboxInMemory(wanted) if wanted else None

    def open(self, session_id: str) -> SessionLog:
        log = SessionLog(session_id, epoch=self._new_epoch(0), keep=self._keep)
        if self.outbox is not None:
            log.listen(self.outbox.add)
        return log

    def release(self, log: SessionLog) -> None:
        pass

    async def erase(self, session_id: str) -> bool:
        return False
