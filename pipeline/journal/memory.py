"""The journal that forgets: every event is visible at once, and gone with the process."""

from collections.abc import Sequence
from typing import Protocol

from pipeline.interfaces.outbox import Outbox, Wanted
from pipeline.journal.log import KEEP, SessionLog
from pipeline.journal.outbox_memory import OutboxInMemory
from pipeline.journal.request_log import RequestLog


class Journal(Protocol):
    """Where session logs come from."""

    @property
    def restored(self) -> Sequence[SessionLog]:
        """Sessions of an earlier life that can still be read; all have ended."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why events cannot be written down at the moment; None when all is well."""
        ...

    @property
    def waiting(self) -> int:
        """How many events and notes wait to be written down."""
        ...

    @property
    def requests(self) -> RequestLog | None:
        """Where calls of language models are noted; None where that does not outlive us."""
        ...

    @property
    def outbox(self) -> Outbox | None:
        """Where events wait for webhooks; None without any."""
        ...

    def open(self, session_id: str) -> SessionLog:
        """Return the log of a new session. An id used before goes on behind its old events."""
        ...

    def forget(self, log: SessionLog) -> None:
        """Let go of an ended session; what is on disk stays there for its time."""
        ...

    async def erase(self, session_id: str) -> bool:
        """Remove a session that was let go of from the disk; return whether it was there.

        Raises ``JournalError``.
        """
        ...


class MemoryJournal:
    """Logs without a store."""

    restored: Sequence[SessionLog] = ()
    trouble: str | None = None
    waiting: int = 0
    requests: RequestLog | None = None

    def __init__(self, *, keep: int = KEEP, wanted: Wanted | None = None) -> None:
        self._keep = keep
        self.outbox = OutboxInMemory(wanted) if wanted else None

    def open(self, session_id: str) -> SessionLog:
        log = SessionLog(session_id, keep=self._keep)
        if self.outbox is not None:
            log.listen(self.outbox.shown)
        return log

    def forget(self, log: SessionLog) -> None:
        pass

    async def erase(self, session_id: str) -> bool:
        return False
