"""Ingest sessions: which connection sends their audio, and how another one reattaches."""

import math
from collections.abc import Generator
from contextlib import contextmanager

import anyio

from pipeline.errors import InputError
from pipeline.hub.service import LiveSession
from pipeline.protocol.close_codes import CloseCode, Disconnect
from pipeline.protocol.commands import StartCommand

#: seconds without a message from a source that another one takes over from, past which the first
#: one's connection was lost without a sign
UNNOTICED = 1.0


class IngestSession:
    """Session and its present source; sources may follow one another, one at a time."""

    def __init__(self, session: LiveSession, start: StartCommand) -> None:
        self.session = session
        self.audio = start.audio
        self.answered = 0  #: ``seq`` up to which sources were answered in their own format
        self.over = False  #: no source will feed it any more
        self.reason = "source_ended"  #: reason for ``session.ended``
        self._reading: anyio.CancelScope | None = None  # of the present source
        self.heard_at = anyio.current_time()  #: when a source last sent anything
        self._is_away = False  # the last source was lost, and no other is there
        self._closed = anyio.Event()  # the session is over, also if its end cannot be shown
        self._changed = anyio.Event()

    @property
    def is_fed(self) -> bool:
        return self._reading is not None

    def is_of(self, reading: anyio.CancelScope) -> bool:
        """Return whether the source of ``reading`` is the present one."""
        return self._reading is reading

    def enter(self, reading: anyio.CancelScope) -> None:
        """Attach a source; the previous one is cancelled."""
        before, self._reading = self._reading, reading
        away = anyio.current_time() - self.heard_at
        if self._is_away or (before is not None and away > UNNOTICED):
            self.session.source_returned(away)
        self._is_away = False
        if before is not None:
            before.cancel()
        if self.over:
            reading.cancel()
        self._notify()

    def leave(self, *, for_good: bool) -> None:
        """Detach the present source; another may reattach unless ``for_good``."""
        self._reading = None
        self.over = self.over or for_good
        if not self.over:
            self.session.source_lost()
            self._is_away = True
        self._notify()

    def end(self, reason: str) -> None:
        """Cancel the present source and accept no other; the first ``reason`` counts."""
        if not self.over:
            self.over, self.reason = True, reason
        if self._reading is not None:
            self._reading.cancel()
        self._notify()

    async def until_over(self, patience: float) -> None:
        """Wait for the end, or until it had no source for ``patience`` seconds."""
        while not self.over:
            with anyio.move_on_after(math.inf if self.is_fed else patience) as waiting:
                await self._changed.wait()
            if waiting.cancelled_caught:
                self.over = True

    def close(self) -> None:
        """Cancel the present source: the session is not served any more."""
        self.end(self.reason)
        self._closed.set()

    async def until_ended(self) -> None:
        """Wait until ``session.ended`` is visible.

        Raises ``Disconnect`` if the session is closed before: its end cannot be stored now.
        """
        ended = self.session.topic.ended
        async with anyio.create_task_group() as tasks:
            for event in (ended, self._closed):
                tasks.start_soon(_cancel_after, event, tasks.cancel_scope)
        if not ended.is_set():
            text = "the session's last events cannot be stored now: they come later"
            raise Disconnect(text, code=CloseCode.LATER)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class IngestSessions:
    """All sessions with a source, so that they can be ended together."""

    def __init__(self) -> None:
        self._open: dict[str, IngestSession] = {}
        self._tracked = 0
        self._is_empty = anyio.Event()
        self._is_empty.set()
        self.refusing = False

    def check(self) -> None:
        """Raise ``Disconnect`` when new sources are refused."""
        if self.refusing:
            raise Disconnect("no new sessions: the server is about to stop", code=CloseCode.LATER)

    @contextmanager
    def track(self) -> Generator[None]:
        """Register a source with ``drain``. Raises ``Disconnect`` when new ones are refused."""
        self.check()
        if not self._tracked:
            self._is_empty = anyio.Event()
        self._tracked += 1
        try:
            yield
        finally:
            self._tracked -= 1
            if not self._tracked:
                self._is_empty.set()

    @contextmanager
    def begin(self, session: LiveSession, start: StartCommand) -> Generator[IngestSession]:
        """Register a new session."""
        ingest_session = self._open[session.id] = IngestSession(session, start)
        if self.refusing:
            ingest_session.end("shutdown")
        try:
            yield ingest_session
        finally:
            ingest_session.close()
            del self._open[session.id]

    def find(self, start: StartCommand, *, takes_over: bool = False) -> IngestSession | None:
        """Return the session that ``start`` continues; None if it starts a new one.

        A session whose source was lost without a close is continued by its ``session_id``; while
        a source is attached, or none is accepted any more, only ``resume`` does so, in the second
        case to receive the session's last events; ``takes_over`` is for formats that cannot say
        ``resume``. Raises ``Disconnect`` when there is no such session, ``InputError`` when the
        audio formats differ.
        """
        ingest_session = self._open.get(start.session_id or "")
        if ingest_session is None or (ingest_session.over and not start.resume):
            if start.resume:
                name = start.session_id or "without a session_id"
                raise Disconnect(f"there is no live session {name}", code=CloseCode.NO_SESSION)
            return None
        if ingest_session.is_fed and not (start.resume or takes_over):
            return None
        if start.audio != ingest_session.audio:
            raise InputError(
                f"session {ingest_session.session.id} has other audio: {_described(ingest_session)}"
            )
        return ingest_session

    async def drain(self) -> None:
        """End all sources, refuse new ones, and wait until the last session has ended."""
        self.refusing = True
        for ingest_session in self._open.values():
            ingest_session.end("shutdown")
        await self._is_empty.wait()


async def _cancel_after(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _described(ingest_session: IngestSession) -> str:
    audio = ingest_session.audio
    return "none" if audio is None else f"{audio.encoding}, {audio.sample_rate} Hz"
