"""Gateway without sessions: the language models of the settings, for HTTP callers alone."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import anyio
from msgspec import Struct

from pipeline.app.completions import completions_of, transcript_client
from pipeline.app.guarded_trace import guarded_trace
from pipeline.app.llm_clients import LanguageModel
from pipeline.app.plan import Plan
from pipeline.app.startup import keeping, quiet_collector
from pipeline.config.settings import Settings
from pipeline.embedded.process import EngineMessage, Engines, start_engines
from pipeline.errors import InputError, SessionNotFound, SessionUnavailable
from pipeline.gateway.call_log import CallLog, Sink
from pipeline.hub.fanout import Topics
from pipeline.hub.service import Download, LiveSession, SessionInfo
from pipeline.interfaces.completions import Completions
from pipeline.interfaces.request_log import Trace
from pipeline.journal.opening import open_journal
from pipeline.journal.request_log import CallsInMemory
from pipeline.protocol.commands import ControlCommand, StartCommand
from pipeline.runtime.observers import guarded
from pipeline.runtime.supervision import Supervisor
from pipeline.runtime.tasks import plain_errors

#: read into the embedded model beforehand, so that the first request waits for no memory
BEGINNING = (EngineMessage("system", "You are a helpful assistant."),)


class NoSessions:
    """A service without sessions. Satisfies ``hub.service.Service``."""

    def __init__(self) -> None:
        self.topics = Topics()
        self.trouble: str | None = None

    def open(self, start: StartCommand, *, source: str) -> AbstractAsyncContextManager[LiveSession]:
        raise SessionUnavailable("this server is a gateway: it has no sessions")

    async def steer(self, session_id: str, command: ControlCommand) -> None:
        raise InputError("this server is a gateway: it has no sessions")

    def sessions(self) -> Sequence[SessionInfo]:
        return ()

    async def recording(self, session_id: str) -> Download | None:
        return None

    async def erase(self, session_id: str) -> None:
        raise SessionNotFound(f"there is no session {session_id!r}")


class RunningGateway(Struct, frozen=True):
    """What a server of the gateway needs."""

    completions: Completions
    calls: CallsInMemory
    llm: LanguageModel
    service: NoSessions


@asynccontextmanager
async def open_gateway(  # noqa: PLR0913 - keywords, each with a default
    settings: Settings,
    planned: Plan,
    *,
    on_progress: Callable[[str], None],
    on_call: tuple[Sink, ...] = (),
    trace: Trace | None = None,
    supervisor: Supervisor | None = None,
) -> AsyncGenerator[RunningGateway]:
    """Start the embedded engine if the plan needs it, and stop it on leaving.

    Raises an ``EngineError``, or a ``JournalError``.
    """
    supervisor = supervisor or Supervisor()
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(
            open_journal(settings.journal.store, keeping(settings.journal), supervisor=supervisor)
        )
        engines: Engines | None = None
        if planned.llm.name == "local":
            engines = await stack.enter_async_context(
                start_engines(settings.local, on_progress, prefill=BEGINNING, speech=False)
            )
        calls = CallsInMemory()
        logs = [calls.add] if journal.requests is None else [calls.add, journal.requests.add]
        sinks = tuple(guarded(sink) for sink in (*logs, *on_call))
        spans = None if trace is None else guarded_trace(trace)
        log = CallLog(sinks, text=settings.journal.request_text, trace=spans)
        llm = LanguageModel(settings, planned, engines, log, on_progress)
        stack.push_async_callback(llm.aclose)
        transcripts = transcript_client(settings, planned)
        if transcripts is not None:
            stack.push_async_callback(transcripts.aclose)
        await stack.enter_async_context(plain_errors())
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        tasks.start_soon(llm.keep_ready, supervisor)
        quiet_collector()
        service = NoSessions()
        completions = completions_of(llm, service.topics, transcripts, tasks)
        yield RunningGateway(completions, calls, llm, service)
