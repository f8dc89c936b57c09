"""Observers of a running server: log, Prometheus metrics, traces."""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
from msgspec import Struct

from pipeline.app.app import App
from pipeline.cli.views.output import log_instead
from pipeline.config.loading import secrets_in
from pipeline.config.settings import Settings
from pipeline.errors import SettingsError
from pipeline.gateway.call_log import Sink
from pipeline.interfaces.request_log import Trace
from pipeline.runtime.supervision import Supervisor
from pipeline.runtime.tasks import plain_errors
from pipeline.session.dependencies import Observe, OnEvent
from pipeline.telemetry.logs import set_up
from pipeline.telemetry.loop_lag import watch_lag
from pipeline.telemetry.loop_stall import watch_stalls
from pipeline.telemetry.prometheus import GaugeValues, Metrics
from pipeline.telemetry.session_log import SessionLogger


class Observers(Struct, frozen=True, kw_only=True):
    """Observer callbacks for ``open_app``."""

    metrics: Metrics
    supervisor: Supervisor
    observe: tuple[Observe, ...]
    on_event: tuple[OnEvent, ...]
    on_call: tuple[Sink, ...]
    trace: Trace | None = None

    def page(self, app: App) -> tuple[str, bytes]:
        """Return content type and body of ``/metrics``."""
        sessions = app.sessions()
        return self.metrics.page(
            GaugeValues(
                sessions=sum(info.status == "live" for info in sessions),
                in_flight=app.in_flight,
                subscribers=sum(info.subscribers for info in sessions),
                tasks=len(anyio.get_running_tasks()),
                waiting=app.waiting,
                well=app.trouble is None,
                budget=app.dependencies.budget.left(app.dependencies.clock()),
                webhooks={} if app.worker is None else app.worker.remaining,
            )
        )


OpenTelemetry = Callable[[Mapping[str, str]], AbstractAsyncContextManager[Any]]


def load_telemetry(settings: Settings) -> OpenTelemetry | None:
    """Import what exports traces, if the settings want it. Raises ``SettingsError``."""
    if not settings.serve.otel:
        return None
    try:
        from pipeline.telemetry.otlp import open_telemetry  # slow to import, and an extra
    except ImportError as error:
        raise SettingsError(
            f"serve.otel: {error.name} is missing: pip install 'speech-llm-pipeline[otel]'"
        ) from error
    return open_telemetry


@asynccontextmanager
async def open_observers(settings: Settings, env: Mapping[str, str]) -> AsyncGenerator[Observers]:
    """Set up the log, and traces if the settings want them. Raises ``SettingsError``."""
    start_log(settings, env)
    metrics, session_logger = Metrics(), SessionLogger(said=settings.serve.log_text)
    supervisor = Supervisor(metrics.task_failed)
    observe: tuple[Observe, ...] = (metrics.call_ended, session_logger.answered)
    on_event: tuple[OnEvent, ...] = (metrics.event, session_logger.event)
    trace: Trace | None = None
    async with (
        plain_errors(),
        anyio.create_task_group() as tasks,
        AsyncExitStack() as stack,
    ):
        tasks.start_soon(supervisor.run, "event loop lag", watch_lag, metrics.lag)
        tasks.start_soon(supervisor.run, "event loop stalls", watch_stalls, metrics.stalled)
        stack.callback(tasks.cancel_scope.cancel)
        open_telemetry = load_telemetry(settings)
        if open_telemetry is not None:
            traces = await stack.enter_async_context(open_telemetry(env))
            observe, on_event = (*observe, traces.answered), (*on_event, traces.event)
            trace = traces.call
        yield Observers(
            metrics=metrics,
            supervisor=supervisor,
            observe=observe,
            on_event=on_event,
            on_call=(metrics.called, session_logger.called),
            trace=trace,
        )


def start_log(settings: Settings, env: Mapping[str, str]) -> None:
    """Write the log to stderr, in the format of the settings."""
    wanted = settings.serve
    secrets = [secret.reveal() for secret in secrets_in(settings, env)]
    set_up(style=wanted.log, level=wanted.log_level, said=wanted.log_text, secrets=secrets)
    if wanted.log == "json":
        log_instead(logging.getLogger("pipeline.serve"))
