"""What Prometheus reads: counts and times of every call, and what goes on at the moment.

No label names a session, and none takes more than ``MOST`` values; no text is kept.
"""

from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from pipeline.events import Event, Times, TokenUsage, TurnCompleted

MOST = 32  #: values of one label; models and finish reasons come from other people's servers
OTHER = "other"  #: stands for the values past that

#: upper bounds in seconds: fine where a conversation is felt, coarse up to the deadlines
SECONDS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)


class Call(Protocol):
    """How a call went; ``requests.response.CallReport`` satisfies it."""

    @property
    def prompt(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def speculative(self) -> bool: ...
    @property
    def outcome(self) -> str: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def usage(self) -> TokenUsage: ...
    @property
    def times(self) -> Times: ...


class Values:
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
    """Is told of events and of calls as they end; ``page`` is what a scrape gets."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._models, self._prompts, self._reasons = Values(), Values(), Values()
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
        self._sessions = self._gauge("sessions", "Sessions live.")
        self._in_flight = self._gauge("calls_in_flight", "Calls of the language model under way.")
        self._subscribers = self._gauge("subscribers", "Subscriptions, one for each session.")

    def event(self, session_id: str, event: Event) -> None:
        if isinstance(event, TurnCompleted):
            self._turns.inc()
            if event.end_of_turn_delay is not None:
                self._end_of_turn.observe(event.end_of_turn_delay / 1000)

    def call_ended(self, session_id: str, call: Call) -> None:
        prompt, model = self._prompts.of(call.prompt), self._models.of(call.model)
        discarded = call.outcome == "discarded"
        if not discarded:
            reason = self._reasons.of(call.reason or "")
            self._responses.labels(prompt, model, call.outcome, reason).inc()
        if call.speculative or discarded:
            self._guesses.labels(prompt, "discarded" if discarded else "adopted").inc()
        self._spent(call, prompt, model)
        if discarded:
            return  # its times are nobody's wait
        for name, histogram in self._times.items():
            took: float | None = getattr(call.times, name)
            if took is not None:
                histogram.labels(prompt, model).observe(took / 1000)
        if call.speculative:
            self._lead.labels(prompt, model).observe(call.times.lead / 1000)

    def _spent(self, call: Call, prompt: str, model: str) -> None:
        usage = call.usage
        self._tokens.labels(prompt, model, "input").inc(usage.input_tokens)
        self._tokens.labels(prompt, model, "output").inc(usage.output_tokens)
        if call.outcome in ("cancelled", "discarded"):
            self._wasted.labels(prompt, model).inc(usage.output_tokens)
        if usage.estimated:
            self._estimated.labels(prompt, model).inc(usage.input_tokens + usage.output_tokens)

    def page(self, *, sessions: int, in_flight: int, subscribers: int) -> tuple[str, bytes]:
        """Return content type and body of a scrape; the numbers are those of this moment."""
        self._sessions.set(sessions)
        self._in_flight.set(in_flight)
        self._subscribers.set(subscribers)
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"pipeline_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"pipeline_{name}", text, registry=self._registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(
            f"pipeline_{name}_seconds", text, labels, registry=self._registry, buckets=SECONDS
        )
