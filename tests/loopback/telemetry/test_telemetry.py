"""Traces and metrics of a running server, as a collector gets them."""

import signal
import socket
import time
from typing import Any

from tests.support.collector import collecting
from tests.support.commandline import loaded_by
from tests.support.serving import call, serving

LINES: list[dict[str, Any]] = [
    {"stt": "partial", "at_ms": 100, "text": "a canary"},
    {"stt": "end", "at_ms": 200, "text": "A canary."},
    {"stt": "end", "at_ms": 500, "text": "Another one."},
    {"llm": "reply", "match": "another", "text": "Both."},
    {"llm": "reply", "match": "canary", "text": "One two three four five six.", "token_ms": 100},
]
PARENT = f"00-{'a' * 32}-{'b' * 16}-01"


async def test_a_session_is_a_part_of_its_sources_trace_and_the_gateway_of_ours() -> None:
    with collecting() as collector:
        env = {"PIPELINE_SERVE__OTEL": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        async with serving(LINES, env=env) as served:
            await call(served.url, "call-1", headers={"traceparent": PARENT})
            sent = served.sim.llm.requests[0].headers["traceparent"]
            assert await served.process.stop(signal.SIGTERM) == 143
    assert sent.startswith(f"00-{'a' * 32}-")
    spans = collector.spans()
    assert {"session", "turn", "response reply", "chat scripted"} <= set(spans)
    assert {span.trace_id.hex() for span in spans.values()} == {"a" * 32}
    assert spans["session"].parent_span_id.hex() == "b" * 16
    assert {
        "gen_ai.client.operation.duration",
        "gen_ai.client.operation.time_to_first_chunk",
        "gen_ai.client.token.usage",
    } <= collector.metrics()
    assert collector.resource()["service.name"] == "pipeline"
    assert not [body for _, body in collector.bodies if b"canary" in body]


async def test_a_collector_that_is_out_of_reach_does_not_delay_the_stop_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unaccepted:
        port = unaccepted.getsockname()[1]
    env = {
        "PIPELINE_SERVE__OTEL": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_SERVICE_NAME": "mine",
    }
    async with serving(LINES, env=env) as served:
        await call(served.url, "call-1")
        began = time.monotonic()
        assert await served.process.stop(signal.SIGTERM) == 143
        assert time.monotonic() - began < 8


def test_without_it_nothing_of_it_is_imported() -> None:
    modules = loaded_by("serve", "--help")
    assert "pipeline.cli.serve" in modules
    assert not [name for name in modules if name.startswith("opentelemetry")]
