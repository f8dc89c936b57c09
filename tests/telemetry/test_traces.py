"""Which spans and numbers a session leaves, how they hang together, and what is no error."""

from collections.abc import Mapping
from typing import Any

import anyio
import pytest
from msgspec.structs import replace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from pipeline.interfaces.llm import CompletionRequest, Usage
from pipeline.interfaces.request_log import CallRecord, CallReport, CallTimes
from pipeline.protocol.events import (
    Engine,
    ErrorDetail,
    ErrorEvent,
    RequestInfo,
    SessionCreated,
    SessionEnded,
    SttInterrupted,
    Times,
    TokenUsage,
    Totals,
    TurnCompleted,
    TurnUpdated,
)
from pipeline.runtime.context import TRACE, within
from pipeline.telemetry.traces import Traces

ENGINE = Engine(name="custom", url="test:", model="m")
REQUEST = CompletionRequest(
    model="small",
    messages=(),
    id="r_1",
    session_id="s_1",
    token_name="agent",
    turns=(1,),
    max_tokens=50,
)
RECORD = CallRecord(
    sent=0.0,
    model="small",
    host="127.0.0.1:8000",
    outcome="completed",
    reason="stop",
    status=200,
    answered_by="small-0924",
    request_id="q_1",
    times=CallTimes(headers=10.0, first_token=250.0, total=900.0),
    usage=Usage(30, 12),
)
REPORT = CallReport(
    response_id="r_1",
    prompt="reply",
    turns=(1,),
    model="small",
    speculative=False,
    outcome="completed",
    reason=None,
    text="a canary",
    usage=TokenUsage(30, 12, estimated=False),
    times=Times(end_to_end=700.0, lead=0.0),
    request=RequestInfo(id="q_1", model="small", region=None),
)


class Scene:
    """Traces into memory, and one session that was begun."""

    def __init__(self, trace: Mapping[str, str] | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.traces = Traces(tracers.get_tracer("test"), meters.get_meter("test"))
        with within(TRACE, trace):
            self.tell(SessionCreated(source="raw", stt=ENGINE, llm=ENGINE, prompts=("reply",)))

    def tell(self, *events: Any) -> None:
        for event in events:
            self.traces.event("s_1", event)

    def end(self) -> None:
        self.tell(SessionEnded(reason="source_ended", totals=Totals()))

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._exporter.get_finished_spans()}

    def points(self, name: str) -> list[HistogramDataPoint]:
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
            if isinstance(point, HistogramDataPoint)
        ]


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def about(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def whole(record: CallRecord = RECORD, report: CallReport = REPORT, **trace: str) -> Scene:
    """One turn, one response, one call."""
    scene = Scene(trace or None)
    scene.tell(TurnUpdated(turn=1, text="a canary"))
    call = scene.traces.call(REQUEST, "127.0.0.1:8000")
    scene.tell(TurnCompleted(turn=1, text="a canary", end_of_turn_delay=400.0))
    if report.outcome == "cancelled":  # the response ends first, the call a little later
        scene.traces.answered("s_1", report)
        call.end(record)
    else:
        call.end(record)
        scene.traces.answered("s_1", report)
    scene.end()
    return scene


def test_a_call_hangs_below_its_response_its_turn_and_its_session() -> None:
    spans = whole().spans()
    assert set(spans) == {"session", "turn", "response reply", "chat small"}
    assert parent_of(spans["chat small"]) == id_of(spans["response reply"])
    assert parent_of(spans["response reply"]) == id_of(spans["turn"])
    assert parent_of(spans["turn"]) == id_of(spans["session"])
    assert parent_of(spans["session"]) is None


def test_a_call_is_described_as_the_conventions_want_it() -> None:
    span = whole().spans()["chat small"]
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "small",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.response.model": "small-0924",
        "gen_ai.response.id": "q_1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 12,
        "gen_ai.conversation.id": "s_1",
        "pipeline.token.name": "agent",
        "server.address": "127.0.0.1",
        "server.port": 8000,
    }
    assert {name: about(span).get(name) for name in expected} == expected


def test_the_names_are_those_of_the_conventions() -> None:
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
    from opentelemetry.semconv._incubating.metrics import gen_ai_metrics

    known = {value for value in vars(gen_ai_attributes).values() if isinstance(value, str)}
    measured = {value for value in vars(gen_ai_metrics).values() if isinstance(value, str)}
    used = {name for name in about(whole().spans()["chat small"]) if name.startswith("gen_ai.")}
    assert used <= known
    names = ("operation.duration", "operation.time_to_first_chunk", "token.usage")
    assert {f"gen_ai.client.{name}" for name in names} <= measured


def test_a_superseded_call_is_no_error() -> None:
    called_off = replace(RECORD, outcome="cancelled", reason=None, usage=None)
    scene = whole(called_off, replace(REPORT, outcome="cancelled", reason="superseded"))
    call, response = scene.spans()["chat small"], scene.spans()["response reply"]
    assert call.status.status_code is StatusCode.UNSET
    assert about(call)["pipeline.call.superseded"] is True
    assert "error.type" not in about(call)
    assert response.status.status_code is StatusCode.UNSET
    assert about(response)["pipeline.response.reason"] == "superseded"


@pytest.mark.parametrize(
    ("status", "kind", "expected"), [(429, "busy", "429"), (None, "timeout", "timeout")]
)
def test_a_failed_call_is_an_error_that_says_of_what_type(
    status: int | None, kind: str, expected: str
) -> None:
    failed = replace(RECORD, outcome="failed", reason=kind, status=status, usage=None)
    scene = whole(failed, replace(REPORT, outcome="failed", reason=kind))
    call = scene.spans()["chat small"]
    assert call.status.status_code is StatusCode.ERROR
    assert about(call)["error.type"] == expected
    assert scene.spans()["response reply"].status.status_code is StatusCode.ERROR
    [point] = scene.points("gen_ai.client.operation.duration")
    assert dict(point.attributes or {})["error.type"] == expected


def test_the_sources_trace_goes_on_in_ours_and_ours_in_the_request() -> None:
    scene = Scene({"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "other=1"})
    call = scene.traces.call(REQUEST, "127.0.0.1:8000")
    _, trace_id, span_id, flags = call.headers["traceparent"].split("-")
    assert (trace_id, flags) == ("a" * 32, "01")
    assert call.headers["tracestate"] == "other=1"
    call.end(RECORD)
    scene.end()
    spans = scene.spans()
    assert parent_of(spans["session"]) == int("b" * 16, 16)
    assert id_of(spans["chat small"]) == int(span_id, 16)


def test_a_trace_context_that_is_none_is_ignored() -> None:
    scene = Scene({"traceparent": "nonsense\r\nX: y"})
    scene.end()
    assert parent_of(scene.spans()["session"]) is None


def test_what_happened_to_the_session_stands_in_its_span() -> None:
    scene = Scene()
    scene.tell(
        SttInterrupted(cause="gone"), ErrorEvent(error=ErrorDetail(type="stt_error", message="x"))
    )
    scene.end()
    session = scene.spans()["session"]
    assert [event.name for event in session.events] == ["stt.interrupted", "error"]
    assert about(session)["pipeline.session.session.reason"] == "source_ended"


def test_tokens_are_measured_only_where_the_server_counted_them() -> None:
    assert len(whole().points("gen_ai.client.token.usage")) == 2  # input and output
    guessed = replace(RECORD, usage=Usage(30, 12, estimated=True))
    assert whole(guessed).points("gen_ai.client.token.usage") == []


def test_no_word_gets_into_a_span() -> None:
    spans = whole().spans().values()
    assert not any("canary" in span.to_json() for span in spans)


def test_nothing_is_left_of_a_session_that_ended() -> None:
    scene = Scene()
    for number in range(1, 200):
        scene.tell(TurnUpdated(turn=number, text="x"))
    call = scene.traces.call(replace(REQUEST, turns=(199,)), "host")
    scene.end()
    call.end(RECORD)  # it may end late
    scene.traces.answered("s_1", REPORT)
    assert vars(scene.traces)["_sessions"] == {}
    assert "turn" in scene.spans()


async def test_a_whole_session_leaves_whole_spans() -> None:
    from tests.support.session_fixture import Stage, turn

    scene = Scene()
    stage = Stage(observe=(scene.traces.answered,), on_event=(scene.traces.event,))
    async with stage.open() as session:
        stage.speech.hear(turn(0, "Hello."))
        await anyio.sleep(0.5)
        await session.finish()
    assert {"session", "turn"} <= set(scene.spans())
