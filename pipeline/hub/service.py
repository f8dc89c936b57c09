"""What the hub needs of the house, and tells of it: the seams that ``app/app.py`` fills."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from pipeline.hub.fanout import Topic, Topics
from pipeline.protocol.commands import ClientCommand, ControlCommand, StartCommand


class SessionInfo(Struct, frozen=True, kw_only=True):
    """One line of ``/v1/sessions``."""

    id: str
    source: str
    started: str  #: wall clock, ISO 8601, UTC
    status: str  #: live or ended
    head: int  #: the newest visible ``seq``
    subscribers: int


class Download(Struct, frozen=True):
    """A file that somebody asked for, as far as it is there."""

    content_type: str
    name: str  #: for whoever saves it
    head: bytes  #: what is sent first, in place of the file's own beginning
    path: Path
    start: int  #: bytes of the file that are not sent
    size: int  #: bytes of it that are, after ``head``


class LiveSession(Protocol):
    """One session that takes audio and commands."""

    @property
    def id(self) -> str: ...

    @property
    def topic(self) -> Topic: ...

    async def audio(self, data: bytes) -> None:
        """Take audio of any length; returning late is how we slow the source down."""
        ...

    async def command(self, command: ClientCommand) -> None:
        """Carry ``command`` out. Raises a ``PipelineError`` that says what is wrong with it."""
        ...

    async def finish(self, reason: str = ...) -> None:
        """The source is over: finish the last turns, and return once the session has ended.

        ``reason`` is what ``session.ended`` says then.
        """
        ...


class Service(Protocol):
    """The house, as the hub sees it."""

    @property
    def topics(self) -> Topics: ...

    @property
    def trouble(self) -> str | None:
        """Why no session can begin at the moment; None when all is well."""
        ...

    def open(self, start: StartCommand, *, source: str) -> AbstractAsyncContextManager[LiveSession]:
        """Open a session. Raises a ``PipelineError``; ``refusals`` gives each kind a close code.

        Leaving ends the session in any case; an exception or a cancellation cuts it short.
        """
        ...

    async def steer(self, session_id: str, command: ControlCommand) -> None:
        """Carry out what a subscriber wants of a live session. Raises ``InputError``."""
        ...

    def sessions(self) -> Sequence[SessionInfo]: ...

    async def recording(self, session_id: str) -> Download | None:
        """Return the newest recording of a session, if any. Raises a ``SessionError``."""
        ...

    async def erase(self, session_id: str) -> None:
        """Remove all that is kept of an ended session. Raises a ``SessionError``."""
        ...


class ConnectionObserver(Protocol):
    """Counts how sockets end."""

    def closed(self, code: int) -> None:
        """A websocket was closed with ``code``."""
        ...

    def refused(self, status: int) -> None:
        """A request was answered with an HTTP ``status`` of 400 or more."""
        ...


class NullObserver:
    """Looks at nothing."""

    def closed(self, code: int) -> None: ...

    def refused(self, status: int) -> None: ...
