"""``pipeline gateway``: chat completions over HTTP, without sessions, until a signal."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import anyio
import msgspec
from msgspec import Struct

from pipeline.app.completions import endpoints_of
from pipeline.app.gateway import RunningGateway, open_gateway
from pipeline.app.plan import plan_gateway
from pipeline.cli.credentials import access_of
from pipeline.cli.flags import engine_overrides, given_of
from pipeline.cli.interrupt import skippable
from pipeline.cli.telemetry import Observers, open_observers
from pipeline.cli.views.output import progress
from pipeline.config.loading import load
from pipeline.hub.listening import check_host
from pipeline.hub.server import serve as open_hub
from pipeline.interfaces.request_log import Selection
from pipeline.protocol.events import encode
from pipeline.telemetry.prometheus import GaugeValues

PORT = 8790  #: beside the port of ``pipeline serve``


class Ready(Struct, frozen=True):
    """The ready line of ``pipeline gateway --json``."""

    url: str  #: what clients call ``base_url``
    model: str  #: of the engine, if it has one of its own
    engine: str
    pid: int


async def gateway(
    *,
    host: str | None = None,
    port: int | None = None,
    llm: str | None = None,
    model: str | None = None,
    journal: str | None = None,
    config: Path | None = None,
    json: bool = False,
) -> None:
    """Serve an OpenAI-compatible address, http://HOST:PORT/v1, until SIGINT or SIGTERM.

    Without a key it answers with the embedded language model. The request log is on
    /v1/requests, for pipeline requests.

    Parameters
    ----------
    host
        The address to listen on; 127.0.0.1 unless set. Others need tokens in the settings.
    port
        The port to listen on; 8790 unless set, 0 is any free one.
    llm
        Language model: auto, assemblyai, local, or an http:// or https:// address.
    model
        Name of the model that "default" stands for.
    journal
        Storage of the request log: memory, or the path of a file.
    config
        The settings file, instead of pipeline.toml in the working directory.
    json
        Print one JSON line with the address when ready, in place of text.
    """
    overrides = engine_overrides(None, llm, model)
    overrides |= given_of({"serve.host": host, "journal.store": journal})
    overrides["serve.port"] = PORT if port is None else port
    settings = load(config, os.environ, overrides)
    planned = plan_gateway(settings, os.environ)
    access = access_of(settings.serve, os.environ, now=datetime.now(UTC).timestamp())
    if access is None:
        check_host(settings.serve.host)  # before the engine starts, which takes a while
    async with open_observers(settings, os.environ) as observers:
        progress(f"language model: {planned.llm.name} ({planned.llm.why})")
        async with (
            open_gateway(
                settings,
                planned,
                on_progress=progress,
                on_call=observers.on_call,
                trace=observers.trace,
                supervisor=observers.supervisor,
            ) as running,
            open_hub(
                running.service,
                settings.serve,
                adapters={},
                routes={
                    "/metrics": lambda: _metrics(observers),
                    "/v1/requests": lambda: _requests(running),
                },
                access=access,
                endpoints=endpoints_of(running.completions, settings.gateway),
                observer=observers.metrics,
                supervisor=observers.supervisor,
            ) as hub,
        ):
            url = hub.url.replace("ws", "http", 1) + "/v1"
            _tell_ready(running, url, as_json=json)
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True) as cleanup, skippable(cleanup.cancel):
                    await hub.drain(settings.serve.drain)


def _tell_ready(running: RunningGateway, url: str, *, as_json: bool) -> None:
    engine = running.llm.engine
    if as_json:
        ready = Ready(url, engine.model or "", engine.name, os.getpid())
        sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
    else:
        sys.stdout.write(f"gateway   {url}   {engine.model or engine.url}\n")
    sys.stdout.flush()


def _metrics(observers: Observers) -> tuple[str, bytes]:
    return observers.metrics.page(GaugeValues(tasks=len(anyio.get_running_tasks())))


def _requests(running: RunningGateway) -> tuple[str, bytes]:
    """Return the newest calls of language models, a JSON object per line."""
    lines = [encode(call) + b"\n" for call in running.calls.select(Selection())]
    return "application/jsonl", b"".join(lines)
