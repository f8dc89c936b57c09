"""Prometheus metrics: counts and times of every call, and gauges of the present state.

No label names a session, and none takes more than ``MOST`` values; no text is kept.
"""

from collections.abc import Mapping

from msgspec import Struct
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from pipeline.interfaces.outbox import Remaining
from pipeline.interfaces.request_log import CallRecord, CallReport
from pipeline.protocol.events import (
    ErrorEvent,
    Event,
    SessionCreated,
    SessionEnded,
    SttInterrupted,
    SttResumed,
    TurnCompleted,
)
from pipeline.protocol.summary import ANSWERED
from pipeline.runtime.version import VERSION
from pipeline.telemetry.loop_stall import Culprit

MOST = 32  #: values of one label; models and finish reasons come from other people's servers
OTHER = "other"  #: stands for the values past that

#: upper bounds in seconds: fine where a conversation is felt, coarse up to the deadlines
SECONDS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)


class GaugeValues(Struct, frozen=True, kw_only=True):
    """Gauge values at a scrape."""

    sessions: int = 0  #: live
    in_flight: int = 0  #: calls of language models
    subscribers: int = 0
    tasks: int = 0  #: of the event loop
    waiting: int = 0  #: events that are not written down yet
    well: bool = True  #: the journal stores events
    budget: Mapping[str, float] = {}  #: requests left, by model
    webhooks: Mapping[str, Remaining] = {}  #: by name


class LabelValues:
    """The values one label has had; past ``MOST`` every new one is ``OTHER``."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def of(self, value: str) -> str:
        if value in self._known:
            return value
        if len(self._known) >= MOST:
            return OTHER
        self._known.add(value)
        return value


class Metrics:
    """Counts events and ended calls; ``page`` is the answer to a scrape."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._models, self._prompts, self._reasons = LabelValues(), LabelValues(), LabelValues()
        self._hosts, self._kinds, self._codes = LabelValues(), LabelValues(), LabelValues()
        self._task_names = LabelValues()
        self._stall_names = LabelValues()
        self._turns = self._counter("turns", "Turns that ended.")
        self._responses = self._counter(
            "responses", "Responses by how they ended.", "prompt", "model", "status", "reason"
        )
        self._guesses = self._counter(
            "guesses", "Calls begun at a pause, by what became of them.", "prompt", "outcome"
        )
        self._tokens = self._counter(
            "tokens", "Tokens of all calls.", "prompt", "model", "direction"
        )
        self._wasted = self._counter(
            "wasted_tokens", "Output tokens of cancelled and discarded calls.", "prompt", "model"
        )
        self._estimated = self._counter(
            "estimated_tokens", "Tokens that no server counted.", "prompt", "model"
        )
        self._end_of_turn = self._histogram(
            "end_of_turn_delay", "End of speech to end of turn received."
        )
        self._times = {
            name: self._histogram(name, text, "prompt", "model")
            for name, text in (
                ("queue", "End of turn received to request sent."),
                ("time_to_first_token", "Request sent to first token."),
                ("first_sentence", "Request sent to first sentence whole."),
                ("total", "Request sent to reply over."),
                ("end_to_end", "End of speech to first text published."),
            )
        }
        self._lead = self._histogram("lead", "What an adopted guess saved.", "prompt", "model")
        self._calls = self._counter(
            "calls", "HTTP calls of language models.", "host", "model", "why", "outcome"
        )
        self._ended = self._counter("sessions_ended", "Sessions that ended, by why.", "reason")
        self._begun = self._counter("sessions_begun", "Sessions that began.")
        self._interrupted = self._counter(
            "stt_interrupted", "Connections to speech-to-text that broke in a session."
        )
        self._resumed = self._counter("stt_resumed", "Sessions that were heard again.")
        self._replayed = self._counter("stt_replayed_seconds", "Audio that was sent again.")
        self._lost = self._counter("stt_lost_seconds", "Audio that was never transcribed.")
        self._errors = self._counter("errors", "Errors published to subscribers.", "type")
        self._closed = self._counter(
            "sockets_closed", "Websockets that ended, by close code; 4008 was too slow.", "code"
        )
        self._refused = self._counter("requests_refused", "HTTP answers from 400 on.", "status")
        self._tries = self._counter(
            "webhook_tries", "POSTs to webhooks, by what became of them.", "webhook", "outcome"
        )
        self._task_failures = self._counter(
            "task_failures", "Failures of background tasks and observers, restarted.", "task"
        )
        self._pending = self._gauge("webhook_pending", "Deliveries that wait.", "webhook")
        self._given_up = self._gauge("webhook_failed", "Deliveries given up, kept.", "webhook")
        self._lag = self._histogram("event_loop_lag", "How late the event loop was.")
        self._stalls = self._counter(
            "event_loop_stalls", "Times that the event loop stood still, by its cause.", "where"
        )
        self._sessions = self._gauge("sessions", "Sessions live.")
        self._tasks = self._gauge("tasks", "Tasks of the event loop.")
        self._waiting = self._gauge("journal_waiting", "Events that are not written down yet.")
        self._well = self._gauge("journal_well", "1 while the journal takes events.")
        self._budget = self._gauge("budget_left", "Requests left this minute.", "model")
        self._gauge("build_info", "This program's version.", "version").labels(VERSION).set(1)
        self._in_flight = self._gauge("calls_in_flight", "Calls of the language model under way.")
        self._subscribers = self._gauge("subscribers", "Subscriptions, one for each session.")

    def event(self, session_id: str, event: Event) -> None:
        match event:
            case TurnCompleted(end_of_turn_delay=delay):
                self._turns.inc()
                if delay is not None:
                    self._end_of_turn.observe(delay / 1000)
            case SessionCreated():
                self._begun.inc()
            case SessionEnded(reason=reason):
                self._ended.labels(reason).inc()
            case SttInterrupted():
                self._interrupted.inc()
            case SttResumed():
                self._heard_again(event)
            case ErrorEvent(error=error):
                self._errors.labels(self._kinds.of(error.type)).inc()
            case _:
                pass

    def _heard_again(self, event: SttResumed) -> None:
        self._resumed.inc()
        self._replayed.inc(event.replayed or 0)
        if event.lost_from is not None and event.lost_to is not None:
            self._lost.inc(max(0.0, event.lost_to - event.lost_from))

    def called(self, call: CallRecord) -> None:
        host, model = self._hosts.of(call.host), self._models.of(call.model)
        self._calls.labels(host, model, call.why, call.outcome).inc()

    def closed(self, code: int) -> None:
        self._closed.labels(self._codes.of(str(code))).inc()

    def refused(self, status: int) -> None:
        self._refused.labels(str(status)).inc()

    def posted(self, webhook: str, outcome: str) -> None:
        self._tries.labels(webhook, outcome).inc()

    def task_failed(self, task: str) -> None:
        self._task_failures.labels(self._task_names.of(task)).inc()

    def lag(self, seconds: float) -> None:
        self._lag.observe(seconds)

    def stalled(self, seconds: float, culprit: Culprit) -> None:
        """Count a stall of the event loop; the log has its length and the session."""
        self._stalls.labels(self._stall_names.of(culprit.where)).inc()

    def call_ended(self, session_id: str, call: CallReport) -> None:
        prompt, model = self._prompts.of(call.prompt), self._models.of(call.model)
        discarded = call.outcome == "discarded"
        if not discarded:
            reason = self._reasons.of(call.reason or "")
            self._responses.labels(prompt, model, call.outcome, reason).inc()
        if call.speculative or discarded:
            self._guesses.labels(prompt, "discarded" if discarded else "adopted").inc()
        self._spent(call, prompt, model)
        if call.speculative and not discarded:
            self._lead.labels(prompt, model).observe(call.times.lead / 1000)
        if call.outcome not in ANSWERED:
            return  # counts in no summary of times
        for name, histogram in self._times.items():
            took: float | None = getattr(call.times, name)
            if took is not None:
                histogram.labels(prompt, model).observe(took / 1000)

    def _spent(self, call: CallReport, prompt: str, model: str) -> None:
        usage = call.usage
        self._tokens.labels(prompt, model, "input").inc(usage.input_tokens)
        self._tokens.labels(prompt, model, "output").inc(usage.output_tokens)
        if call.outcome in ("cancelled", "discarded"):
            self._wasted.labels(prompt, model).inc(usage.output_tokens)
        if usage.estimated:
            self._estimated.labels(prompt, model).inc(usage.input_tokens + usage.output_tokens)

    def page(self, now: GaugeValues) -> tuple[str, bytes]:
        """Return content type and body of a scrape."""
        self._sessions.set(now.sessions)
        self._in_flight.set(now.in_flight)
        self._subscribers.set(now.subscribers)
        self._tasks.set(now.tasks)
        self._waiting.set(now.waiting)
        self._well.set(now.well)
        for model, left in now.budget.items():
            self._budget.labels(self._models.of(model)).set(left)
        for name, deliveries in now.webhooks.items():
            self._pending.labels(name).set(deliveries.pending)
            self._given_up.labels(name).set(deliveries.failed)
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"pipeline_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"pipeline_{name}", text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(
            f"pipeline_{name}_seconds", text, labels, registry=self._registry, buckets=SECONDS
        )
