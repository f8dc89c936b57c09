"""The running service: opens, lists, limits and erases sessions."""

import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from secrets import token_hex

import anyio
from msgspec.structs import replace

from pipeline.app.stt_clients import without_speech
from pipeline.audio.formats import format_of
from pipeline.audio.sources import Source, play
from pipeline.config.settings import Prompt, Settings
from pipeline.errors import (
    IdTaken,
    InputError,
    JournalError,
    NoCapacity,
    PipelineError,
    RecordingError,
    SessionNotFound,
    SessionUnavailable,
)
from pipeline.hub.fanout import Topics
from pipeline.hub.service import Download, SessionInfo
from pipeline.interfaces.completions import Completions
from pipeline.journal.log import SessionLog
from pipeline.journal.memory import Journal
from pipeline.journal.request_log import CallsInMemory
from pipeline.protocol.commands import AudioFormat, ControlCommand, StartCommand
from pipeline.protocol.events import Frame, SessionCreated, decode_event, type_of
from pipeline.recordings.recorder import Recorder
from pipeline.runtime.context import SESSION, within
from pipeline.runtime.tasks import plain_errors
from pipeline.session.dependencies import SessionDependencies
from pipeline.session.recording import recorded
from pipeline.session.session import Session, open_session
from pipeline.session.usage_limits import Exhausted, UsageLimits
from pipeline.webhooks.delivery import DeliveryWorker

logger = logging.getLogger(__name__)

LOOK = 1.0  #: seconds between two looks at what sessions have spent


class App:
    """Opens sessions and lets them be followed; what the hub calls the service."""

    def __init__(  # noqa: PLR0913 - the rooms that it introduces to one another
        self,
        settings: Settings,
        dependencies: SessionDependencies,
        journal: Journal,
        topics: Topics,
        calls: CallsInMemory,
        on_frame: Callable[[Frame], object] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.topics = topics
        self.prompts = settings.prompts
        self.dependencies = dependencies
        self.calls = calls  #: the newest calls of language models
        self.worker: DeliveryWorker | None = None  #: delivers to webhooks, where there are any
        #: for HTTP callers; none if the language model answers in-stream only
        self.completions: Completions | None = None
        self._settings = settings
        self._journal = journal
        self._on_frame = on_frame
        self._recorder = recorder
        self._allowance = UsageLimits(settings.limits)
        self._live: dict[str, tuple[Session, SessionInfo]] = {}
        self._at_limit: set[str] = set()  # sessions that end because of a limit
        self._ended: deque[tuple[float, SessionLog, SessionInfo]] = deque()
        for log in journal.restored:
            self._restore(log)

    def __repr__(self) -> str:
        return f"<App: {len(self._live)} sessions live, {len(self._ended)} kept>"

    @asynccontextmanager
    async def open(
        self, start: StartCommand, *, source: str, real_time: bool = True
    ) -> AsyncGenerator[Session]:
        """Open a session for the length of the block. Raises a ``PipelineError``.

        ``real_time``: false where the audio is not as fast as it was spoken.
        """
        self._check_capacity()
        self._forget()
        session_id = start.session_id or f"s_{token_hex(8)}"
        if self.topics.get(session_id) is not None:
            raise IdTaken(f"there is a session {session_id} already")
        audio = format_of(start.audio or AudioFormat(), self._settings.stt.speakers)
        prompts = self._choose(start.prompts)
        log = self._journal.open(session_id)
        topic = self.topics.open(log)
        if self._on_frame is not None:
            log.listen(self._on_frame)
        dependencies = self.dependencies if start.audio else _without_audio(self.dependencies)
        session = Session(topic, log.append, prompts, dependencies, audio, real_time=real_time)
        log.on_stalled = session.stall
        started = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        info = SessionInfo(
            id=session_id, source=source, started=started, status="live", head=0, subscribers=0
        )
        self._live[session_id] = session, info
        try:
            with within(SESSION, session_id), recorded(session, audio, self._recorder):
                async with open_session(session, source):
                    yield session
        except JournalError as error:
            raise SessionUnavailable(str(error)) from error
        finally:
            log.on_stalled = None  # it refers to the session
            del self._live[session_id]
            self._allowance.note(session_id, session.spent, _today())
            self._allowance.forget(session_id)
            if session.begun:
                self._ended.append((anyio.current_time(), log, info))
            else:
                self._release(log)

    def _check_capacity(self) -> None:
        """Raise a ``SessionError`` when no session can be opened now."""
        if self.trouble is not None:
            raise SessionUnavailable(f"no new sessions: {self.trouble}")
        if len(self._live) >= self._settings.serve.max_sessions:
            raise NoCapacity(
                f"{len(self._live)} sessions are open, the most that serve.max_sessions allows"
            )
        for exhausted in self._allowance.reached_today(_today()):
            raise NoCapacity(f"no new sessions: {exhausted}")

    async def steer(self, session_id: str, command: ControlCommand) -> None:
        """Carry out a subscriber's command on a live session. Raises ``InputError``."""
        if session_id not in self._live:
            raise InputError(f"{type_of(command)}: no session {session_id[:64]!r} is live")
        session, _ = self._live[session_id]
        await session.command(command)

    async def erase(self, session_id: str) -> None:
        """Remove all that is kept of an ended session. Raises a ``SessionError``."""
        if session_id in self._live:
            raise IdTaken(f"session {session_id} goes on: end it first")
        self._forget()
        kept = next((each for each in self._ended if each[1].session_id == session_id), None)
        if kept is not None:
            self._ended.remove(kept)
            self._release(kept[1])
        self.calls.remove(session_id)
        try:
            # The journal first: until it is done, the id cannot be used again.
            stored = await self._journal.erase(session_id)
            heard = self._recorder is not None and await self._recorder.erase(session_id)
        except (JournalError, RecordingError) as error:
            raise SessionUnavailable(str(error)) from error
        if kept is None and not (stored or heard):
            raise SessionNotFound(f"there is no session {session_id!r}")

    async def recording(self, session_id: str) -> Download | None:
        """Return the newest recording of a session so far. Raises ``SessionUnavailable``."""
        if self._recorder is None:
            return None
        try:
            found = await self._recorder.find(session_id)
        except RecordingError as error:
            raise SessionUnavailable(str(error)) from error
        if found is None:
            return None
        return Download(
            "audio/wav", found.path.name, found.head, found.path, found.start, found.size
        )

    async def watch_limits(self) -> None:
        """End sessions at a usage limit, or stop their requests, until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                await anyio.sleep(LOOK)
                self._at_limit &= self._live.keys()
                for session, _ in tuple(self._live.values()):
                    try:
                        end = self._limit_that_ends(session)
                        if end is not None and session.id not in self._at_limit:
                            self._at_limit.add(session.id)
                            tasks.start_soon(_stop_at_limit, session, end)
                    except Exception:
                        logger.exception("session %s: its usage cannot be checked", session.id)

    def _limit_that_ends(self, session: Session) -> Exhausted | None:
        """Return the limit at which a session ends now; one on requests may only stop those."""
        today = _today()
        self._allowance.note(session.id, session.spent, today)
        reached = list(self._allowance.reached(session.id, today))
        of_requests: Exhausted | None = None
        if self._settings.limits.when_spent == "transcribe" and session.transcribes_past_limits:
            of_requests = next((limit for limit in reached if limit.is_of_requests), None)
            reached = [limit for limit in reached if not limit.is_of_requests]
        session.limit_requests(of_requests)
        return reached[0] if reached else None

    @property
    def trouble(self) -> str | None:
        """The reason why no session can begin now, or None."""
        return self._journal.trouble

    @property
    def waiting(self) -> int:
        """Number of events that wait for the journal and are not published yet."""
        return self._journal.waiting

    @property
    def in_flight(self) -> int:
        """Number of language model calls under way."""
        return sum(session.in_flight for session, _ in self._live.values())

    def sessions(self) -> Sequence[SessionInfo]:
        self._forget()
        kept = [(info, "ended") for *_, info in self._ended]
        live = [(info, "live") for _, info in self._live.values()]
        return [self._describe(info, status) for info, status in (*kept, *live)]

    def _describe(self, info: SessionInfo, status: str) -> SessionInfo:
        topic = self.topics.get(info.id)
        return SessionInfo(
            id=info.id,
            source=info.source,
            started=info.started,
            status=status,
            head=topic.log.visible if topic else 0,
            subscribers=topic.subscribers if topic else 0,
        )

    def _choose(self, names: tuple[str, ...] | None) -> Mapping[str, Prompt]:
        if names is None:
            return self.prompts
        for name in names:
            if name not in self.prompts:
                raise InputError(
                    f"session.start: no prompt {name!r}; there is {', '.join(self.prompts)}"
                )
        return {name: self.prompts[name] for name in names}

    def _forget(self) -> None:
        """Forget sessions that ended more than ``journal.keep_ended`` ago."""
        oldest = anyio.current_time() - self._settings.journal.keep_ended
        while self._ended and self._ended[0][0] < oldest:
            self._release(self._ended.popleft()[1])

    def _release(self, log: SessionLog) -> None:
        self.topics.remove(log.session_id)
        self._journal.release(log)

    def _restore(self, log: SessionLog) -> None:
        """Restore a session of a previous process for reading; it has ended, or does so now."""
        topic = self.topics.open(log)
        if log.snapshot.ended:
            topic.ended.set()
        first = next(iter(log.read(0, 1)), None)
        event = decode_event(first.data) if first else None
        created = event if isinstance(event, SessionCreated) else None
        info = SessionInfo(
            id=log.session_id,
            source=created.source if created else "",
            started=created.ts if created else "",
            status="ended",
            head=log.visible,
            subscribers=0,
        )
        self._ended.append((anyio.current_time(), log, info))


async def _stop_at_limit(session: Session, exhausted: Exhausted) -> None:
    try:
        await session.stop_at_limit(exhausted)
    except PipelineError as error:
        logger.warning("session %s: %s", session.id, error)
    except Exception:  # any: it is this session's, and no other's
        logger.exception("session %s could not be ended at its limit", session.id)


def _today() -> date:
    return datetime.now(UTC).date()


def _without_audio(dependencies: SessionDependencies) -> SessionDependencies:
    """Return the dependencies of a session whose turns come as text."""
    stt, listen = without_speech()
    return replace(dependencies, stt=stt, listen=listen)


async def feed(
    session: Session,
    source: Source,
    *,
    speed: float = 1.0,
    playing: anyio.CancelScope | None = None,
) -> None:
    """Play ``source`` into ``session`` and finish it; ends early when the session does.

    Cancelling ``playing`` is the end of the source.
    """
    async with plain_errors(), anyio.create_task_group() as tasks:

        async def watch() -> None:
            await session.topic.ended.wait()
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        with playing or anyio.CancelScope():
            await play(source, session.audio, speed=speed)
        await session.finish()
        tasks.cancel_scope.cancel()
    if session.failure is not None:
        raise session.failure
