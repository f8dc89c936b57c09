"""The service: engines, sessions, hub and log joined; start, drain, stop."""

import gc
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from secrets import token_hex

import anyio
from msgspec import convert
from msgspec.structs import replace

from pipeline.audio.pcm import Format
from pipeline.audio.sources import Source, play
from pipeline.errors import InputError
from pipeline.events import AudioFormat, Engine, Frame, StartCommand
from pipeline.gateway.records import Log as CallLog
from pipeline.hub.fanout import Topics
from pipeline.hub.protocol import CloseCode, Goodbye
from pipeline.hub.service import SessionInfo
from pipeline.journal.log import SessionLog
from pipeline.local.child import Engines, start_engines
from pipeline.local.child import Message as EngineMessage
from pipeline.requests.budget import Budget
from pipeline.requests.prompt import Scene, messages
from pipeline.session import Equipment, Hear, Observe, Session, SpeechToText, open_session
from pipeline.settings import Prompt, Settings
from pipeline.stt.silence import Silence
from pipeline.tasks import plain_errors
from pipeline.upstream import LanguageModel, Plan, forms, speech_to_text

Tell = Callable[[str], None]  #: is given a line of progress


class App:
    """Opens sessions and lets them be followed; what the hub calls the service."""

    def __init__(
        self,
        settings: Settings,
        prompts: Mapping[str, Prompt],
        equipment: Equipment,
        on_frame: Callable[[Frame], object] | None = None,
    ) -> None:
        self.topics = Topics()
        self.prompts = prompts
        self.equipment = equipment
        self._settings = settings
        self._on_frame = on_frame
        self._live: dict[str, tuple[Session, SessionInfo]] = {}
        self._ended: deque[tuple[float, SessionInfo]] = deque()

    def __repr__(self) -> str:
        return f"<App: {len(self._live)} sessions live, {len(self._ended)} kept>"

    @asynccontextmanager
    async def open(self, start: StartCommand, *, source: str) -> AsyncGenerator[Session]:
        """Begin a session. Raises a ``PipelineError``, or a ``Goodbye`` past a limit."""
        if len(self._live) >= self._settings.serve.max_sessions:
            raise Goodbye(
                f"{len(self._live)} sessions are open, the most that serve.max_sessions allows",
                code=CloseCode.LIMIT,
            )
        self._forget()
        session_id = start.session_id or f"s_{token_hex(8)}"
        if self.topics.get(session_id) is not None:
            raise Goodbye(f"there is a session {session_id} already", code=CloseCode.TAKEN)
        audio, prompts = _format(start), self._choose(start.prompts)
        log = SessionLog(session_id, keep=self._settings.journal.keep_events)
        topic = self.topics.open(log)
        if self._on_frame is not None:
            log.listen(partial(_both, topic.publish, self._on_frame))
        equipment = self.equipment if start.audio else _without_audio(self.equipment)
        session = Session(topic, log.append, prompts, equipment, audio)
        started = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        info = SessionInfo(
            id=session_id, source=source, started=started, status="live", head=0, subscribers=0
        )
        self._live[session_id] = session, info
        try:
            async with open_session(session, source):
                yield session
        finally:
            del self._live[session_id]
            if topic.log.visible:
                self._ended.append((anyio.current_time(), info))
            else:
                self.topics.forget(session_id)

    def sessions(self) -> Sequence[SessionInfo]:
        self._forget()
        kept = [(info, "ended") for _, info in self._ended]
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
            self.topics.forget(self._ended.popleft()[1].id)


def _both(one: Callable[[Frame], object], other: Callable[[Frame], object], frame: Frame) -> None:
    one(frame)
    other(frame)


def _without_audio(equipment: Equipment) -> Equipment:
    """Return the equipment of a session whose turns come as text."""

    def listen(audio: Format, hear: Hear) -> SpeechToText:
        return Silence()

    return replace(equipment, stt=Engine(name="none", url=""), listen=listen)


def _format(start: StartCommand) -> Format:
    audio = start.audio or AudioFormat()
    if audio.channels != 1:
        raise InputError(f"session.start: {audio.channels} channels; send one, mono")
    return Format(audio.encoding, audio.sample_rate)


async def feed(session: Session, source: Source, *, speed: float = 1.0) -> None:
    """Play ``source`` into ``session`` and hear it out; ends early when the session does."""
    async with plain_errors(), anyio.create_task_group() as tasks:

        async def watch() -> None:
            await session.topic.ended.wait()
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
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
    on_frame: Callable[[Frame], object] | None = None,
    log: CallLog | None = None,
) -> AsyncGenerator[App]:
    """Start what the plan needs, and stop it on leaving. Raises an ``EngineError``."""
    async with AsyncExitStack() as stack:
        engines: Engines | None = None
        if "local" in (planned.stt.name, planned.llm.name):
            beginning = _opening(planned) if planned.llm.name == "local" else ()
            engines = await stack.enter_async_context(
                start_engines(settings.local, tell, prefill=beginning)
            )
        llm = LanguageModel(settings, planned, engines, log or CallLog())
        stack.push_async_callback(llm.aclose)
        stt, listen = speech_to_text(settings, planned, engines)
        limited = planned.llm.name == "assemblyai"
        equipment = Equipment(
            stt=stt,
            llm=llm.engine,
            listen=listen,
            gateway=llm.gateway,
            budget=Budget(settings.llm.requests_per_minute if limited else 0),
            new_id=_response_id,
            forms=await forms(planned, llm),
            observe=observe,
            clock=time.monotonic,
        )
        await stack.enter_async_context(plain_errors())
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        tasks.start_soon(llm.keep_ready)
        quiet_collector()
        yield App(settings, planned.prompts, equipment, on_frame)


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
