"""Sessions that are fed from outside: who feeds each of them, and who may take that over."""

import math
from collections.abc import Generator
from contextlib import contextmanager

import anyio

from pipeline.errors import InputError
from pipeline.hub.service import LiveSession
from pipeline.protocol.close_codes import CloseCode, Disconnect
from pipeline.protocol.commands import StartCommand


class IngestSession:
    """One session and the source that feeds it: one at a time, it may be one after another."""

    def __init__(self, session: LiveSession, start: StartCommand) -> None:
        self.session = session
        self.audio = start.audio
        self.answered = 0  #: ``seq`` up to which its sources were answered in their own format
        self.over = False  #: no source feeds it any more, nor will
        self.reason = "source_ended"  #: why, for ``session.ended``
        self._reading: anyio.CancelScope | None = None  # of the source that feeds it
        self._news = anyio.Event()

    @property
    def is_fed(self) -> bool:
        return self._reading is not None

    def is_of(self, reading: anyio.CancelScope) -> bool:
        """Tell whether that source feeds it."""
        return self._reading is reading

    def enter(self, reading: anyio.CancelScope) -> None:
        """Begin to feed it; whoever did before is stopped."""
        before, self._reading = self._reading, reading
        if before is not None:
            before.cancel()
        if self.over:
            reading.cancel()
        self._tell()

    def leave(self, *, for_good: bool) -> None:
        """Feed it no longer; somebody may come back to it unless that is ``for_good``."""
        self._reading = None
        self.over = self.over or for_good
        self._tell()

    def end(self) -> None:
        """Let it be fed no longer."""
        self.over = True
        if self._reading is not None:
            self._reading.cancel()
        self._tell()

    async def until_over(self, patience: float) -> None:
        """Wait until no source feeds it any more, and none has come for ``patience`` seconds."""
        while not self.over:
            with anyio.move_on_after(math.inf if self.is_fed else patience) as waiting:
                await self._news.wait()
            if waiting.cancelled_caught:
                self.over = True

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()


class IngestSessions:
    """Every session that is fed from outside, so that all can be ended at once."""

    def __init__(self) -> None:
        self._open: dict[str, IngestSession] = {}
        self._guests = 0
        self._none = anyio.Event()
        self._none.set()
        self.refusing = False

    def check(self) -> None:
        """Raise ``Disconnect`` when no new source is taken."""
        if self.refusing:
            raise Disconnect("no new sessions: the server is about to stop", code=CloseCode.LATER)

    @contextmanager
    def track(self) -> Generator[None]:
        """Be waited for by ``drain``. Raises ``Disconnect`` when no new source is taken."""
        self.check()
        if not self._guests:
            self._none = anyio.Event()
        self._guests += 1
        try:
            yield
        finally:
            self._guests -= 1
            if not self._guests:
                self._none.set()

    @contextmanager
    def begin(self, session: LiveSession, start: StartCommand) -> Generator[IngestSession]:
        """Let a new session be fed."""
        stay = self._open[session.id] = IngestSession(session, start)
        stay.over = self.refusing
        try:
            yield stay
        finally:
            del self._open[session.id]

    def find(self, start: StartCommand) -> IngestSession | None:
        """Return the session that ``start`` goes on with, if it does not begin one.

        It does with one that its source has left without a goodbye, by its ``session_id``; from
        a source that still feeds it only ``resume`` takes it. Raises ``Disconnect`` or
        ``InputError`` for what is not to be had.
        """
        stay = self._open.get(start.session_id or "")
        if stay is None or stay.over:
            if start.resume:
                name = start.session_id or "without a session_id"
                raise Disconnect(f"no session {name} goes on here", code=CloseCode.NO_SESSION)
            return None
        if stay.is_fed and not start.resume:
            return None
        if start.audio != stay.audio:
            raise InputError(f"session {stay.session.id} has other audio: {_described(stay)}")
        return stay

    async def drain(self) -> None:
        """Let no session be fed any more, take no new one, and wait until the last has ended."""
        self.refusing = True
        for stay in self._open.values():
            stay.end()
        await self._none.wait()


def _described(stay: IngestSession) -> str:
    audio = stay.audio
    return "none" if audio is None else f"{audio.encoding}, {audio.sample_rate} Hz"
