"""Traces and metrics for an OpenTelemetry collector: sessions, turns, responses, calls.

One trace is one session, or a part of the trace that its source came with:

    session                     from its first event to its last
      turn                      from its first words to its end
        response PROMPT         from its first request to its end
          chat MODEL            one HTTP call; a retry or fallback is one of its own

Calls follow the semantic conventions for generative AI (released names, version 1.41). A call
that was superseded is no error: its status stays unset. What was said is in none of it.
"""

from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.metrics import Meter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pipeline.interfaces.llm import CompletionRequest
from pipeline.interfaces.request_log import CallRecord, CallReport
from pipeline.protocol.events import (
    ErrorEvent,
    Event,
    SessionCreated,
    SessionEnded,
    SttInterrupted,
    SttResumed,
    TurnCompleted,
    TurnUpdated,
)
from pipeline.runtime.context import TRACE
from pipeline.runtime.hosts import is_assemblyai

#: upper bounds, as the conventions advise
SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS = tuple(float(4**n) for n in range(14))

MOST_TURNS = 64  #: of a session, whose spans responses can still be put under

_propagator = TraceContextTextMapPropagator()


class Instruments:
    """The metrics of the conventions."""

    def __init__(self, meter: Meter) -> None:
        self.duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="How long calls of a language model took.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self.first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            unit="s",
            description="From the request to the first piece of the report.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self.tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Tokens of calls, as the server counted them.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )


class CallSpan:
    """One call under way. Satisfies ``interfaces.request_log.CallTrace``."""

    def __init__(
        self, span: Span, request: CompletionRequest, host: str, instruments: Instruments
    ) -> None:
        self.reason: str | None = None  #: why the response was ended, if it was
        self.headers: dict[str, str] = {}  #: what the request is to carry
        _propagator.inject(self.headers, trace.set_span_in_context(span))
        self._span = span
        self._instruments = instruments
        self._about = about_call(request, host)
        span.set_attributes(self._about)
        span.set_attributes(_known({
            "gen_ai.conversation.id": request.session_id,
            "pipeline.token.name": request.token_name,
            "gen_ai.request.max_tokens": request.max_tokens,
            "gen_ai.request.temperature": request.temperature,
            "gen_ai.request.stream": request.stream,
        }))  # fmt: skip

    def end(self, call: CallRecord) -> None:
        """End the span with the call's outcome."""
        self._span.set_attributes(ended_call(call, self.reason))
        if call.outcome == "failed":
            self._span.set_status(Status(StatusCode.ERROR, call.reason))
        self._span.end()
        self._measure(call)

    def _measure(self, call: CallRecord) -> None:
        about = dict(self._about)
        if call.answered_by:
            about["gen_ai.response.model"] = call.answered_by
        if call.usage is not None and not call.usage.estimated:
            used = {"input": call.usage.input_tokens, "output": call.usage.output_tokens}
            for kind, count in used.items():
                self._instruments.tokens.record(count, {**about, "gen_ai.token.type": kind})
        if call.times.first_token is not None:
            self._instruments.first_chunk.record(call.times.first_token / 1000, about)
        about["pipeline.call.outcome"] = call.outcome
        if call.outcome == "failed":
            about["error.type"] = _error_type(call)
        self._instruments.duration.record(call.times.total / 1000, about)


class ResponseSpans:
    """The span of a response, and those of its calls."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self.calls: list[CallSpan] = []


class SessionSpans:
    """The spans of a session."""

    def __init__(self, tracer: Tracer, session_id: str) -> None:
        self._tracer = tracer
        parent = _propagator.extract(TRACE.get() or {})
        about = {"pipeline.session.session.id": session_id}
        self.span = tracer.start_span("session", parent, SpanKind.SERVER, about)
        self.turns: dict[int, Span] = {}
        self.responses: dict[str, ResponseSpans] = {}

    def turn(self, number: int) -> Span:
        span = self.turns.get(number)
        if span is None:
            about = {"pipeline.turn": number}
            span = self.turns[number] = self._below(self.span, "turn", about)
            if len(self.turns) > MOST_TURNS:
                self.turns.pop(next(iter(self.turns))).end()
        return span

    def response(self, request: CompletionRequest) -> ResponseSpans:
        response = self.responses.get(request.id)
        if response is None:
            parent = self.turn(request.turns[-1]) if request.turns else self.span
            about = {"pipeline.response.id": request.id}
            response = ResponseSpans(self._below(parent, "response", about))
            self.responses[request.id] = response
        return response

    def end(self) -> None:
        """End every span that is still open."""
        for response in self.responses.values():
            response.span.end()
        for span in self.turns.values():
            span.end()  # a second time changes nothing
        self.span.end()

    def _below(self, parent: Span, name: str, about: Mapping[str, Any]) -> Span:
        return self._tracer.start_span(
            name, trace.set_span_in_context(parent), SpanKind.INTERNAL, about
        )


class Traces:
    """Makes spans of events, calls and responses as they come."""

    def __init__(self, tracer: Tracer, meter: Meter) -> None:
        self._tracer = tracer
        self._instruments = Instruments(meter)
        self._sessions: dict[str, SessionSpans] = {}

    def event(self, session_id: str, event: Event) -> None:
        """Take an event that a session published."""
        if isinstance(event, SessionCreated):
            session = self._sessions[session_id] = SessionSpans(self._tracer, session_id)
            session.span.set_attributes(
                {"pipeline.source": event.source, "pipeline.stt": event.stt.name}
            )
            return
        known = self._sessions.get(session_id)
        if known is not None:
            self._note(known, session_id, event)

    def _note(self, session: SessionSpans, session_id: str, event: Event) -> None:
        match event:
            case TurnUpdated(turn=turn):
                session.turn(turn)
            case TurnCompleted(turn=turn):
                span = session.turn(turn)
                span.set_attributes(_known(ended_turn(event)))
                span.end()
            case SttInterrupted(cause=cause):
                session.span.add_event("stt.interrupted", {"cause": cause})
            case SttResumed(replayed=replayed):
                session.span.add_event("stt.resumed", {"replayed": replayed or 0.0})
            case ErrorEvent(error=error):
                session.span.add_event("error", {"error.type": error.type})
            case SessionEnded(reason=reason):
                session.span.set_attribute("pipeline.session.session.reason", reason)
                session.end()
                del self._sessions[session_id]
            case _:
                pass

    def call(self, request: CompletionRequest, host: str) -> CallSpan:
        """Begin the span of a request to ``host``."""
        session = self._sessions.get(request.session_id)
        response = session.response(request) if session else None
        parent = trace.set_span_in_context(response.span) if response else None
        span = self._tracer.start_span(f"chat {request.model}", parent, SpanKind.CLIENT)
        call = CallSpan(span, request, host, self._instruments)
        if response is not None:
            response.calls.append(call)
        return call

    def answered(self, session_id: str, report: CallReport) -> None:
        """End a response's span; its cancelled call may end a little later."""
        session = self._sessions.get(session_id)
        response = session.responses.pop(report.response_id, None) if session else None
        if response is None:
            return
        for call in response.calls:
            call.reason = report.reason
        response.span.update_name(f"response {report.prompt}")
        response.span.set_attributes(_known(ended_response(report)))
        if report.outcome == "failed":
            response.span.set_attribute("error.type", report.reason or "_OTHER")
            response.span.set_status(Status(StatusCode.ERROR, report.reason))
        response.span.end()


def about_call(request: CompletionRequest, host: str) -> dict[str, Any]:
    """Return the attributes of a call before it is sent, all of low cardinality."""
    name, _, port = host.partition(":")
    # AssemblyAI speaks OpenAI's protocol, as do the servers of others; "openai" stands for that
    provider = "assemblyai" if name == "in-stream" or is_assemblyai(name) else "openai"
    about: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": request.model,
        "server.address": name,
    }
    return about | ({"server.port": int(port)} if port.isdigit() else {})


def ended_call(call: CallRecord, reason: str | None) -> dict[str, Any]:
    """Return the attributes of an ended call; ``reason`` is why its response ended."""
    superseded = call.outcome == "cancelled" and reason == "superseded"
    about: dict[str, Any] = {
        "gen_ai.response.model": call.answered_by,
        "gen_ai.response.id": call.request_id,
        "http.response.status_code": call.status,
        "pipeline.call.why": call.why,
        "pipeline.call.attempt": call.attempt,
        "pipeline.call.outcome": call.outcome,
        "pipeline.call.speculative": call.speculative,
        "pipeline.call.superseded": superseded or None,
    }
    if call.outcome == "failed":
        about["error.type"] = _error_type(call)
    elif call.reason:
        about["gen_ai.response.finish_reasons"] = (call.reason,)
    if call.times.first_token is not None:
        about["gen_ai.response.time_to_first_chunk"] = call.times.first_token / 1000
    if call.usage is not None:
        about["gen_ai.usage.input_tokens"] = call.usage.input_tokens
        about["gen_ai.usage.output_tokens"] = call.usage.output_tokens
        about["pipeline.usage.estimated"] = call.usage.estimated or None
    return _known(about)


def ended_turn(turn: TurnCompleted) -> dict[str, Any]:
    return {
        "pipeline.turn.end_of_turn_delay": _seconds(turn.end_of_turn_delay),
        "pipeline.turn.speaker": turn.speaker,
        "pipeline.turn.language": turn.language,
    }


def ended_response(report: CallReport) -> dict[str, Any]:
    times = report.times
    return {
        "pipeline.prompt": report.prompt,
        "pipeline.response.status": report.outcome,
        "pipeline.response.reason": report.reason,
        "pipeline.response.speculative": report.speculative,
        "pipeline.response.end_to_end": _seconds(times.end_to_end),
        "pipeline.response.lead": _seconds(times.lead),
    }


def _error_type(call: CallRecord) -> str:
    """Return the HTTP status, as the conventions require, or the kind of failure."""
    if call.status is not None and call.status >= 400:
        return str(call.status)
    return call.reason or "_OTHER"


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _known(about: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in about.items() if value not in (None, "")}
