"""Export of traces and metrics to a collector by OTLP over HTTP, from its own threads. Adapter.

Everything is configured by the standard variables: ``OTEL_EXPORTER_OTLP_ENDPOINT`` (unless set
http://localhost:4318), ``OTEL_EXPORTER_OTLP_HEADERS``, ``OTEL_SERVICE_NAME``,
``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_TRACES_SAMPLER``, ``OTEL_TRACES_EXPORTER=none``,
``OTEL_METRICS_EXPORTER=none``, ``OTEL_METRIC_EXPORT_INTERVAL``, ``OTEL_SDK_DISABLED``.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import anyio
import anyio.to_thread
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from pipeline.runtime.version import VERSION
from pipeline.telemetry.traces import Traces

NAME = "pipeline"
FLUSH = 3.0  #: seconds for the last spans and numbers to reach the collector


class Exporter(Protocol):
    """Sends to the collector, with retries."""

    def shutdown(self) -> object: ...


@asynccontextmanager
async def open_telemetry(env: Mapping[str, str]) -> AsyncGenerator[Traces]:
    """Yield the traces that take events and calls; leaving flushes them, within a limit."""
    resource = Resource.create({"service.version": VERSION})
    if not env.get("OTEL_SERVICE_NAME") and "service.name=" not in env.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    ):
        resource = resource.merge(Resource({"service.name": NAME}))
    spans = None if env.get("OTEL_TRACES_EXPORTER") == "none" else OTLPSpanExporter()
    numbers = None if env.get("OTEL_METRICS_EXPORTER") == "none" else OTLPMetricExporter()
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    if spans is not None:
        tracers.add_span_processor(BatchSpanProcessor(spans))
    readers = [] if numbers is None else [PeriodicExportingMetricReader(numbers)]
    meters = MeterProvider(readers, resource=resource, shutdown_on_exit=False)

    async def flush(done: anyio.Event) -> None:
        await anyio.to_thread.run_sync(tracers.shutdown)
        await anyio.to_thread.run_sync(meters.shutdown)
        done.set()

    try:
        yield Traces(tracers.get_tracer(NAME, VERSION), meters.get_meter(NAME, VERSION))
    finally:
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as tasks:
                done = anyio.Event()
                tasks.start_soon(flush, done)
                with anyio.move_on_after(FLUSH):
                    await done.wait()
                if not done.is_set():
                    _stop(spans, numbers)


def _stop(*exporters: Exporter | None) -> None:
    """Stop the retries."""
    for exporter in exporters:
        if exporter is not None:
            exporter.shutdown()
