"""The service: engines, sessions, hub and log joined; start, drain, stop."""

import gc
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime
from functools import partial
from secrets import token_hex

import anyio
from msgspec import convert
from msgspec.structs import replace

from pipeline.allowance import Allowance, Exhausted
from pipeline.audio.formats import format_of
from pipeline.audio.sources import Source, play
from pipeline.calls import ResponseEnded, Trace
from pipeline.context import SESSION, within
from pipeline.errors import InputError, JournalError, PipelineError, RecordingError
from pipeline.events import (
    AudioFormat,
    ControlCommand,
    ErrorDetail,
    ErrorEvent,
    Frame,
    SessionCreated,
    StartCommand,
    decode_event,
    encode,
    type_of,
)
from pipeline.gateway.records import Log as CallLog
from pipeline.gateway.records import Sink
from pipeline.hub.fanout import Topics
from pipeline.hub.protocol import CloseCode, Goodbye
from pipeline.hub.service import Download, SessionInfo
from pipeline.journal.durable import Keeping, wall_clock
from pipeline.journal.log import SessionLog
from pipeline.journal.memory import Journal
from pipeline.journal.opening import open_journal
from pipeline.journal.requests import CallsInMemory, RequestLog
from pipeline.local.child import Engines, start_engines
from pipeline.local.child import Message as EngineMessage
from pipeline.plan import Plan
from pipeline.recorded import recorded, recorder_of
from pipeline.recordings.recorder import Recorder
from pipeline.requests.budget import Budget
from pipeline.requests.prompt import Scene, messages
from pipeline.requests.response import CallReport
from pipeline.session import Equipment, Observe, OnEvent, Session, open_session
from pipeline.settings import JournalSettings, Prompt, Settings
from pipeline.tasks import plain_errors
from pipeline.toolbox import Kit
from pipeline.upstream import LanguageModel, forms, speech_to_text, without_speech
from pipeline.webhooks.client import Client
from pipeline.webhooks.hooks import Hook, Subscriptions
from pipeline.webhooks.postman import OnTry, Postman, delivering, unnoticed

logger = logging.getLogger(__name__)

LOOK = 1.0  #: seconds between two looks at what sessions have spent
Tell = Callable[[str], None]  #: is given a line of progress


class App:
    """Opens sessions and lets them be followed; what the hub calls the service."""

    def __init__(  # noqa: PLR0913 - the rooms that it introduces to one another
        self,
        settings: Settings,
        equipment: Equipment,
        journal: Journal,
        topics: Topics,
        calls: CallsInMemory,
        on_frame: Callable[[Frame], object] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.topics = topics
        self.prompts = settings.prompts
        self.equipment = equipment
        self.calls = calls  #: the newest calls of language models
        self.postman: Postman | None = None  #: delivers to webhooks, where there are any
        self._settings = settings
        self._journal = journal
        self._on_frame = on_frame
        self._recorder = recorder
        self._allowance = Allowance(settings.limits)
        self._live: dict[str, tuple[Session, SessionInfo]] = {}
        self._ended: deque[tuple[float, SessionLog, SessionInfo]] = deque()
        for log in journal.restored:
            self._restore(log)

    def __repr__(self) -> str:
        return f"<App: {len(self._live)} sessions live, {len(self._ended)} kept>"

    @asynccontextmanager
    async def open(self, start: StartCommand, *, source: str) -> AsyncGenerator[Session]:
        """Begin a session. Raises a ``PipelineError``, or a ``Goodbye`` past a limit."""
        if self.trouble is not None:
            raise Goodbye(f"no new sessions: {self.trouble}", code=CloseCode.LATER)
        if len(self._live) >= self._settings.serve.max_sessions:
            raise Goodbye(
                f"{len(self._live)} sessions are open, the most that serve.max_sessions allows",
                code=CloseCode.LIMIT,
            )
        try:
            self._allowance.check_day(_today())
        except Exhausted as exhausted:
            raise Goodbye(f"no new sessions: {exhausted}", code=CloseCode.LIMIT) from exhausted
        self._forget()
        session_id = start.session_id or f"s_{token_hex(8)}"
        if self.topics.get(session_id) is not None:
            raise Goodbye(f"there is a session {session_id} already", code=CloseCode.TAKEN)
        audio = format_of(start.audio or AudioFormat(), self._settings.stt.speakers)
        prompts = self._choose(start.prompts)
        log = self._journal.open(session_id)
        topic = self.topics.open(log)
        if self._on_frame is not None:
            log.listen(self._on_frame)
        equipment = self.equipment if start.audio else _without_audio(self.equipment)
        session = Session(topic, log.append, prompts, equipment, audio)
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
            raise Goodbye(str(error), code=CloseCode.LATER) from error
        finally:
            del self._live[session_id]
            self._allowance.note(session_id, session.spent, _today())
            self._allowance.forget(session_id)
            if session.begun:
                self._ended.append((anyio.current_time(), log, info))
            else:
                self._let_go(log)

    async def steer(self, session_id: str, command: ControlCommand) -> None:
        """Carry out what a subscriber wants of a live session. Raises ``InputError``."""
        if session_id not in self._live:
            raise InputError(f"{type_of(command)}: no session {session_id[:64]!r} is live")
        session, _ = self._live[session_id]
        await session.command(command)

    async def erase(self, session_id: str) -> None:
        """Remove all that is kept of an ended session. Raises ``Goodbye`` where it cannot be."""
        if session_id in self._live:
            raise Goodbye(f"session {session_id} goes on: end it first", code=CloseCode.TAKEN)
        self._forget()
        kept = next((each for each in self._ended if each[1].session_id == session_id), None)
        if kept is not None:
            self._ended.remove(kept)
            self._let_go(kept[1])
        self.calls.forget(session_id)
        try:
            # The journal at once: until it is done, nobody may use the id again.
            stored = await self._journal.erase(session_id)
            heard = self._recorder is not None and await self._recorder.erase(session_id)
        except (JournalError, RecordingError) as error:
            raise Goodbye(str(error), code=CloseCode.LATER) from error
        if kept is None and not (stored or heard):
            raise Goodbye(f"there is no session {session_id!r}", code=CloseCode.NO_SESSION)

    async def recording(self, session_id: str) -> Download | None:
        """Return the newest recording of a session, as far as it has come."""
        if self._recorder is None:
            return None
        try:
            found = await self._recorder.find(session_id)
        except RecordingError as error:
            raise Goodbye(str(error), code=CloseCode.LATER) from error
        if found is None:
            return None
        return Download(
            "audio/wav", found.path.name, found.head, found.path, found.start, found.size
        )

    async def watch_limits(self) -> None:
        """End the sessions that have spent what they may, until cancelled."""
        async with anyio.create_task_group() as tasks:
            ending: set[str] = set()
            while True:
                await anyio.sleep(LOOK)
                ending &= self._live.keys()
                for session, _ in self._live.values():
                    try:
                        self._check_limits(session)
                    except Exhausted as exhausted:
                        if session.id not in ending:
                            ending.add(session.id)
                            tasks.start_soon(_run_out, session, exhausted)

    def _check_limits(self, session: Session) -> None:
        today = _today()
        self._allowance.note(session.id, session.spent, today)
        self._allowance.check(session.id)
        self._allowance.check_day(today)

    @property
    def trouble(self) -> str | None:
        """Why no session can begin at the moment."""
        return self._journal.trouble

    @property
    def waiting(self) -> int:
        """How many events wait for the journal, and are not shown until then."""
        return self._journal.waiting

    @property
    def in_flight(self) -> int:
        """How many calls of the language model are under way."""
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
        """Let go of sessions that ended long enough ago."""
        oldest = anyio.current_time() - self._settings.journal.keep_ended
        while self._ended and self._ended[0][0] < oldest:
            self._let_go(self._ended.popleft()[1])

    def _let_go(self, log: SessionLog) -> None:
        self.topics.forget(log.session_id)
        self._journal.forget(log)

    def _restore(self, log: SessionLog) -> None:
        """Let a session of an earlier life be read; it has ended, or does so now."""
        topic = self.topics.open(log)
        if log.picture.ended:
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


async def _run_out(session: Session, exhausted: Exhausted) -> None:
    try:
        await session.run_out(exhausted)
    except PipelineError as error:  # of this session, and no other's
        logger.warning("session %s: %s", session.id, error)


def _today() -> date:
    return datetime.now(UTC).date()


def keeping(settings: JournalSettings) -> Keeping:
    """Return how much the journal is to keep."""
    return Keeping(
        events=settings.keep_events,
        readable=settings.keep_ended,
        seconds=settings.keep_days * 86400,
        size=settings.keep_bytes,
        calls=settings.keep_requests,
        sync_always=settings.sync_always,
    )


def _settle(logs: Sequence[RequestLog], session_id: str, call: CallReport) -> None:
    """Note what became of a response beside its calls."""
    ended = ResponseEnded(
        response_id=call.response_id,
        prompt=call.prompt,
        outcome=call.outcome,
        reason=call.reason,
    )
    for log in logs:
        log.settle(ended)


def tell_trouble(topics: Topics, trouble: str | None) -> None:
    """Say to who follows a live session that its events wait, or that they come again."""
    said = f"events wait to be written down: {trouble}" if trouble else "events come again"
    detail = ErrorDetail(type="journal_error", message=said)
    for topic in topics:
        if not topic.ended.is_set():
            topic.announce(encode(ErrorEvent(session_id=topic.id, error=detail)))


def _without_audio(equipment: Equipment) -> Equipment:
    """Return the equipment of a session whose turns come as text."""
    stt, listen = without_speech()
    return replace(equipment, stt=stt, listen=listen)


async def feed(
    session: Session,
    source: Source,
    *,
    speed: float = 1.0,
    playing: anyio.CancelScope | None = None,
) -> None:
    """Play ``source`` into ``session`` and hear it out; ends early when the session does.

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


@asynccontextmanager
async def open_app(  # noqa: PLR0913 - each is another onlooker
    settings: Settings,
    planned: Plan,
    *,
    tell: Tell,
    observe: tuple[Observe, ...] = (),
    on_event: tuple[OnEvent, ...] = (),
    on_frame: Callable[[Frame], object] | None = None,
    on_call: tuple[Sink, ...] = (),
    webhooks: Sequence[Hook] = (),
    on_try: OnTry = unnoticed,
    trace: Trace | None = None,
) -> AsyncGenerator[App]:
    """Start what the plan needs, and stop it on leaving.

    Raises an ``EngineError``, or a ``JournalError``.
    """
    async with AsyncExitStack() as stack:
        topics = Topics()
        subscriptions = Subscriptions(webhooks)
        # First, so that they close last: what the others say when they stop is written down.
        recorder = await stack.enter_async_context(recorder_of(settings.journal, wall_clock))
        journal = await stack.enter_async_context(
            open_journal(
                settings.journal.store,
                keeping(settings.journal),
                on_trouble=partial(tell_trouble, topics),
                wanted=subscriptions.wanted if webhooks else None,
                on_removed=None if recorder is None else recorder.forget,
            )
        )
        postman: Postman | None = None
        if journal.outbox is not None:
            client = await stack.enter_async_context(Client(webhooks, wall_clock))
            postman = Postman(webhooks, subscriptions, journal.outbox, client, wall_clock, on_try)
            await stack.enter_async_context(delivering(postman))
        engines: Engines | None = None
        if "local" in (planned.stt.name, planned.llm.name):
            beginning = _opening(planned) if planned.llm.name == "local" else ()
            engines = await stack.enter_async_context(
                start_engines(settings.local, tell, prefill=beginning)
            )
        calls = CallsInMemory()
        logs: list[RequestLog] = [calls] if journal.requests is None else [calls, journal.requests]
        sinks = (*(each.add for each in logs), *on_call)
        log = CallLog(sinks, text=settings.journal.request_text, trace=trace)
        llm = LanguageModel(settings, planned, engines, log, tell)
        stack.push_async_callback(llm.aclose)
        kits: Mapping[str, Kit] = {}
        if planned.tools is not None:
            kits = await stack.enter_async_context(planned.tools.open())
        stt, listen = speech_to_text(settings, planned, engines)
        limited = planned.llm.name == "assemblyai"
        equipment = Equipment(
            stt=stt,
            llm=llm.engine,
            listen=listen,
            gateway=llm.gateway,
            budget=Budget(settings.llm.requests_per_minute if limited else 0),
            new_id=_response_id,
            in_stream=llm.in_stream,
            forms=await forms(planned, llm),
            kits=kits,
            runner=planned.tools,
            observe=(partial(_settle, logs), *observe),
            on_event=on_event,
            clock=time.monotonic,
        )
        await stack.enter_async_context(plain_errors())
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        tasks.start_soon(llm.keep_ready)
        quiet_collector()
        settings = replace(settings, prompts=dict(planned.prompts))
        app = App(settings, equipment, journal, topics, calls, on_frame, recorder)
        app.postman = postman
        tasks.start_soon(app.watch_limits)
        yield app


def _opening(planned: Plan) -> tuple[EngineMessage, ...]:
    """Return how the first prompt's conversations begin, for the model to read beforehand."""
    first = next(iter(planned.prompts.values()))
    nothing_yet = Scene((), lambda: "", first.vars)
    beginning = messages(first, nothing_yet, ())[:-1]  # the last is the turn
    return convert(beginning, tuple[EngineMessage, ...], from_attributes=True)


def quiet_collector() -> None:
    """Keep the garbage collector's full passes out of live sessions.

    What has been loaded by now stays for good and need not be looked at again; and the oldest
    generation is collected rarely, since live sessions make hardly any cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 50, 1_000)


def _response_id() -> str:
    return f"r_{token_hex(8)}"
