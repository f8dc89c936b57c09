"""A fake of the service below the hub: scripted sessions with real logs and topics."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from pipeline.errors import IdTaken, InputError, PipelineError, SessionNotFound
from pipeline.hub.fanout import Topic, Topics
from pipeline.hub.service import Download, SessionInfo
from pipeline.journal.log import SessionLog
from pipeline.protocol.commands import (
    ClientCommand,
    ControlCommand,
    StartCommand,
    TurnCreateCommand,
)
from pipeline.protocol.events import (
    Engine,
    Event,
    SessionCreated,
    SessionEnded,
    SourceInterrupted,
    SourceResumed,
    Totals,
    TurnCompleted,
)

ENGINE = Engine(name="local", url="ws://stt")


class FakeSession:
    """A session that counts audio and turns ``turn.create`` into ``turn.completed``."""

    def __init__(self, topics: Topics, session_id: str, *, keep: int = 1000) -> None:
        self.log = SessionLog(session_id, keep=keep)
        self._topic = topics.open(self.log)
        self.heard = 0  #: bytes of audio
        self.turns = 0
        self.cut = False

    @property
    def id(self) -> str:
        return self.log.session_id

    @property
    def topic(self) -> Topic:
        return self._topic

    def publish(self, *events: Event) -> None:
        for event in events:
            self.log.append(event, t=0, ts="2026-11-23T00:00:00Z")

    def end(self, reason: str) -> None:
        if not self._topic.ended.is_set():
            self.publish(SessionEnded(reason=reason, totals=Totals(turns=self.turns)))

    @property
    def position(self) -> float:
        return self.heard / 32_000

    async def audio(self, data: bytes) -> None:
        self.heard += len(data)

    async def command(self, command: ClientCommand) -> None:
        if not isinstance(command, TurnCreateCommand):
            raise InputError(f"cannot do {type(command).__name__} here")
        self.turns += 1
        self.publish(TurnCompleted(turn=self.turns, text=command.text, end_of_turn_delay=None))

    def source_lost(self) -> None:
        self.publish(SourceInterrupted())

    def source_returned(self, away: float) -> None:
        self.publish(SourceResumed(away=away))

    async def finish(self, reason: str = "source_ended") -> None:
        self.end(reason)


class FakeService:
    """A service of fake sessions; ``open`` raises ``refuse`` when it is set."""

    def __init__(self) -> None:
        self.topics = Topics()
        self.opened: list[FakeSession] = []
        self.refuse: PipelineError | None = None
        self.trouble: str | None = None

    def session(self, session_id: str, *, keep: int = 1000) -> FakeSession:
        session = FakeSession(self.topics, session_id, keep=keep)
        self.opened.append(session)
        return session

    def open(self, start: StartCommand, *, source: str) -> AbstractAsyncContextManager[FakeSession]:
        return self._open(start, source)

    @asynccontextmanager
    async def _open(self, start: StartCommand, source: str) -> AsyncGenerator[FakeSession]:
        if self.refuse is not None:
            raise self.refuse
        if self.topics.get(start.session_id or "") is not None:
            raise IdTaken(f"there is a session {start.session_id} already")
        session = self.session(start.session_id or f"s{len(self.opened) + 1}")
        session.publish(SessionCreated(source=source, stt=ENGINE, llm=ENGINE, prompts=("reply",)))
        try:
            yield session
        except BaseException:
            session.cut = True
            raise
        finally:
            session.end("shutdown")

    async def steer(self, session_id: str, command: ControlCommand) -> None:
        session = next((each for each in self.opened if each.id == session_id), None)
        if session is None:
            raise InputError(f"no session {session_id!r} is live")
        await session.command(command)

    async def recording(self, session_id: str) -> Download | None:
        return None

    async def erase(self, session_id: str) -> None:
        raise SessionNotFound(f"there is no session {session_id!r}")

    def sessions(self) -> Sequence[SessionInfo]:
        return [
            SessionInfo(
                id=session.id,
                source="raw",
                started="2026-11-23T00:00:00Z",
                status="ended" if session.topic.ended.is_set() else "live",
                head=session.log.visible,
                subscribers=session.topic.subscribers,
            )
            for session in self.opened
        ]
