"""The start of the service: journal, webhooks, engines and clients, in the order they need."""

import gc
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from secrets import token_hex

import anyio
from msgspec import convert
from msgspec.structs import replace

from pipeline.app.app import App
from pipeline.app.completions import completions_of, transcript_client
from pipeline.app.guarded_trace import guarded_trace
from pipeline.app.llm_clients import LanguageModel, forms
from pipeline.app.plan import Plan
from pipeline.app.stt_clients import speech_to_text
from pipeline.config.settings import JournalSettings, Settings
from pipeline.embedded.process import EngineMessage as EngineMessage
from pipeline.embedded.process import Engines, start_engines
from pipeline.gateway.call_log import CallLog as CallLog
from pipeline.gateway.call_log import Sink
from pipeline.hub.fanout import Topics
from pipeline.interfaces.request_log import CallReport, ResponseEnded, Trace
from pipeline.interfaces.tools import OfferedTools
from pipeline.journal.durable import JournalRetention, wall_clock
from pipeline.journal.opening import open_journal
from pipeline.journal.request_log import CallsInMemory, RequestLog
from pipeline.protocol.events import ErrorDetail, ErrorEvent, Frame, encode
from pipeline.responses.prompt import TemplateContext, messages
from pipeline.responses.rate_limit import Budget
from pipeline.runtime.observers import guarded
from pipeline.runtime.supervision import Supervisor
from pipeline.runtime.tasks import plain_errors
from pipeline.session.dependencies import Observe, OnEvent, SessionDependencies
from pipeline.session.recording import recorder_of
from pipeline.webhooks.client import Client
from pipeline.webhooks.delivery import DeliveryWorker, OnAttempt, delivering, ignore_attempt
from pipeline.webhooks.subscriptions import Hook, Subscriptions

OnProgress = Callable[[str], None]  #: takes a line of progress


@asynccontextmanager
async def open_app(  # noqa: PLR0913 - each is another observer
    settings: Settings,
    planned: Plan,
    *,
    on_progress: OnProgress,
    observe: tuple[Observe, ...] = (),
    on_event: tuple[OnEvent, ...] = (),
    on_frame: Callable[[Frame], object] | None = None,
    on_call: tuple[Sink, ...] = (),
    requests: RequestLog | None = None,
    webhooks: Sequence[Hook] = (),
    on_attempt: OnAttempt = ignore_attempt,
    trace: Trace | None = None,
    supervisor: Supervisor | None = None,
) -> AsyncGenerator[App]:
    """Start what the plan needs, and stop it on leaving.

    Raises an ``EngineError``, or a ``JournalError``.
    """
    supervisor = supervisor or Supervisor()
    async with AsyncExitStack() as stack:
        topics = Topics()
        subscriptions = Subscriptions(webhooks)
        # First, so that they close last: the last events of the others are stored.
        recorder = await stack.enter_async_context(
            recorder_of(settings.journal, wall_clock, supervisor)
        )
        journal = await stack.enter_async_context(
            open_journal(
                settings.journal.store,
                keeping(settings.journal),
                on_trouble=partial(report_trouble, topics),
                wanted=subscriptions.wanted if webhooks else None,
                on_removed=None if recorder is None else recorder.erase_later,
                supervisor=supervisor,
            )
        )
        worker: DeliveryWorker | None = None
        if journal.outbox is not None:
            client = await stack.enter_async_context(Client(webhooks, wall_clock))
            worker = DeliveryWorker(
                webhooks, subscriptions, journal.outbox, client, wall_clock, guarded(on_attempt)
            )
            await stack.enter_async_context(delivering(worker, supervisor))
        engines: Engines | None = None
        if planned.local:
            beginning = _opening(planned) if planned.llm.name == "local" else ()
            engines = await stack.enter_async_context(
                start_engines(settings.local, on_progress, prefill=beginning)
            )
        calls = CallsInMemory()
        logs = [log for log in (calls, journal.requests, requests) if log is not None]
        sinks = tuple(guarded(sink) for sink in (*(each.add for each in logs), *on_call))
        spans = None if trace is None else guarded_trace(trace)
        log = CallLog(sinks, text=settings.journal.request_text, trace=spans)
        llm = LanguageModel(settings, planned, engines, log, on_progress)
        stack.push_async_callback(llm.aclose)
        offered_tools: Mapping[str, OfferedTools] = {}
        if planned.tools is not None:
            offered_tools = await stack.enter_async_context(planned.tools.open())
        stt = speech_to_text(settings, planned, engines)
        limited = planned.llm.name == "assemblyai"
        dependencies = SessionDependencies(
            stt=stt.first,
            llm=llm.engine,
            stt_engines=stt.engines,
            listen=stt.listen,
            gateway=llm.gateway,
            budget=Budget(settings.llm.requests_per_minute if limited else 0),
            new_id=_response_id,
            in_stream=llm.in_stream,
            forms=await forms(planned, llm),
            offered_tools=offered_tools,
            runner=planned.tools,
            dtmf=settings.dtmf,
            agent_context=settings.stt.agent_context,
            observe=(guarded(partial(_settle, logs)), *map(guarded, observe)),
            on_event=tuple(map(guarded, on_event)),
            clock=time.monotonic,
        )
        await stack.enter_async_context(plain_errors())
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        tasks.start_soon(llm.keep_ready, supervisor)
        quiet_collector()
        settings = replace(settings, prompts=dict(planned.prompts))
        app = App(settings, dependencies, journal, topics, calls, on_frame, recorder)
        app.worker = worker
        transcripts = transcript_client(settings, planned)
        if transcripts is not None:
            stack.push_async_callback(transcripts.aclose)
        if llm.gateway.targets:
            app.completions = completions_of(llm, topics, transcripts, tasks)
        tasks.start_soon(partial(supervisor.run, "usage limits", app.watch_limits, essential=True))
        yield app


def _opening(planned: Plan) -> tuple[EngineMessage, ...]:
    """Return how the first prompt's conversations begin, for the model to read beforehand."""
    first = next(iter(planned.prompts.values()))
    nothing_yet = TemplateContext((), lambda: "", first.vars)
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


def keeping(settings: JournalSettings) -> JournalRetention:
    """Return how much the journal is to keep."""
    return JournalRetention(
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


def report_trouble(topics: Topics, trouble: str | None) -> None:
    """Say to who follows a live session that its events wait, or that they come again."""
    said = f"events wait to be written down: {trouble}" if trouble else "events come again"
    detail = ErrorDetail(type="journal_error", message=said)
    for topic in topics:
        if not topic.ended.is_set():
            topic.announce(encode(ErrorEvent(session_id=topic.id, error=detail)))
