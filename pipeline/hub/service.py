"""Interfaces between the hub and the application; ``app/app.py`` satisfies ``Service``."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from pipeline.hub.fanout import Topic, Topics
from pipeline.protocol.commands import ClientCommand, ControlCommand, StartCommand


class SessionInfo(Struct, frozen=True, kw_only=True):
    """Entry of ``/v1/sessions``."""

    id: str
    source: str
    started: str  #: wall clock, ISO 8601, UTC
    status: str  #: live or ended
    head: int  #: the newest visible ``seq``
    subscribers: int


class Download(Struct, frozen=True):
    """File to send, as far as it is written."""

    content_type: str
    name: str  #: suggested file name
    head: bytes  #: sent first, in place of the start of the file
    path: Path
    start: int  #: offset in the file of the first byte to send
    size: int  #: bytes of the file to send after ``head``


class LiveSession(Protocol):
    """Session that accepts audio and commands."""

    @property
    def id(self) -> str: ...

    @property
    def topic(self) -> Topic: ...

    @property
    def position(self) -> float:
        """Seconds of audio received from its sources."""
        ...

    async def audio(self, data: bytes) -> None:
        """Accept audio of any length; a late return slows the source down (back-pressure)."""
        ...

    async def command(self, command: ClientCommand) -> None:
        """Execute ``command``. Raises a ``PipelineError`` that says what is wrong with it."""
        ...

    def source_lost(self) -> None:
        """Publish that the source's connection was lost without a close."""
        ...

    def source_returned(self, away: float) -> None:
        """Publish the return of a source, ``away`` seconds after that loss."""
        ...

    async def finish(self, reason: str = ...) -> None:
        """End the audio: finish the last turns and return once the session has ended.

        ``reason`` is the reason in ``session.ended``.
        """
        ...


class Service(Protocol):
    """Application behind the hub."""

    @property
    def topics(self) -> Topics: ...

    @property
    def trouble(self) -> str | None:
        """Reason why no session can start at the moment; None while one can."""
        ...

    def open(self, start: StartCommand, *, source: str) -> AbstractAsyncContextManager[LiveSession]:
        """Open a session. Raises a ``PipelineError``; ``refusals`` gives each kind a close code.

        Exit ends the session in any case; an exception or a cancellation ends it at once.
        """
        ...

    async def steer(self, session_id: str, command: ControlCommand) -> None:
        """Execute a subscriber's command on a live session. Raises ``InputError``."""
        ...

    def sessions(self) -> Sequence[SessionInfo]: ...

    async def recording(self, session_id: str) -> Download | None:
        """Return the newest recording of a session, if any. Raises a ``SessionError``."""
        ...

    async def erase(self, session_id: str) -> None:
        """Delete everything stored of an ended session. Raises a ``SessionError``."""
        ...


class ConnectionObserver(Protocol):
    """Observer of closed websockets and refused requests, for metrics."""

    def closed(self, code: int) -> None:
        """Count a websocket closed with ``code``."""
        ...

    def refused(self, status: int) -> None:
        """Count a request answered with an HTTP ``status`` of 400 or more."""
        ...


class NullObserver:
    """Observer that does nothing."""

    def closed(self, code: int) -> None: ...

    def refused(self, status: int) -> None: ...
