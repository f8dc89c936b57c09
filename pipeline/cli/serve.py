"""``pipeline serve``: the server of sources and subscribers, until a signal."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import anyio

from pipeline.app.app import App
from pipeline.app.completions import endpoints_of
from pipeline.app.plan import plan
from pipeline.app.startup import open_app
from pipeline.cli.credentials import access_of, token_hint
from pipeline.cli.flags import engine_overrides, given_of
from pipeline.cli.interrupt import skippable
from pipeline.cli.run import headlines
from pipeline.cli.telemetry import open_observers
from pipeline.cli.token_endpoint import token_handler
from pipeline.cli.views.output import progress
from pipeline.cli.webhook_settings import webhook_messages, webhooks_of
from pipeline.config.loading import find_key, load
from pipeline.config.settings import Settings
from pipeline.errors import JournalError
from pipeline.hub.http_requests import text_page
from pipeline.hub.listening import check_host
from pipeline.hub.server import serve as open_hub
from pipeline.ingest.formats import ADAPTERS, RELAY
from pipeline.ingest.signature import TwilioGuard
from pipeline.interfaces.http import HttpResponse
from pipeline.interfaces.request_log import Selection
from pipeline.protocol.events import encode

RETRY = 5.0  #: seconds for the journal to mark failed deliveries as pending


async def serve(
    *,
    host: str | None = None,
    port: int | None = None,
    stt: str | None = None,
    llm: str | None = None,
    model: str | None = None,
    journal: str | None = None,
    config: Path | None = None,
) -> None:
    """Accept audio on /v1/ingest/raw and push events on /v1/events, until SIGINT, SIGTERM, SIGHUP.

    The web console is on /: live sessions, a microphone, a text input.

    Other services connect to /v1/ingest/twilio, telnyx, attendee, recall or livekit, or
    /v1/relay/twilio.

    Parameters
    ----------
    host
        The address to listen on; 127.0.0.1 unless set.
    port
        The port to listen on; 0 is any free one.
    stt
        Speech-to-text: auto, assemblyai, local, or a ws:// or wss:// address.
    llm
        Language model: auto, assemblyai, in-stream, local, or an http:// or https:// address.
    model
        Name of the language model on its server.
    journal
        Storage of events: memory, or the path of a file.
    config
        The settings file, instead of pipeline.toml in the working directory.
    """
    overrides = engine_overrides(stt, llm, model)
    overrides |= given_of({"serve.host": host, "serve.port": port, "journal.store": journal})
    settings = load(config, os.environ, overrides)
    planned = plan(settings, os.environ)
    access = access_of(settings.serve, os.environ, now=datetime.now(UTC).timestamp())
    if access is None:
        check_host(settings.serve.host)  # before the engines start, which takes a while
    hint = token_hint(settings.serve.tokens)
    webhooks = webhooks_of(settings, os.environ)
    async with open_observers(settings, os.environ) as observers:
        for line in (*headlines(planned), *webhook_messages(settings, webhooks)):
            progress(line)
        async with (
            token_handler(settings, planned) as make_token,
            open_app(
                settings,
                planned,
                on_progress=progress,
                observe=observers.observe,
                on_event=observers.on_event,
                on_call=observers.on_call,
                webhooks=webhooks,
                on_attempt=observers.metrics.posted,
                trace=observers.trace,
                supervisor=observers.supervisor,
            ) as app,
            open_hub(
                app,
                settings.serve,
                adapters=ADAPTERS,
                routes={
                    "/metrics": lambda: observers.page(app),
                    "/v1/requests": lambda: requests_of(app),
                },
                get_handlers={"/v1/token": make_token},
                post_handlers={"/v1/webhooks/retry": lambda _: retry_webhooks(app)},
                guards=guards_of(settings, os.environ),
                access=access,
                endpoints=endpoints_of(app.completions, settings.gateway),
                observer=observers.metrics,
                supervisor=observers.supervisor,
            ) as hub,
        ):
            progress(f"listening on {hub.url}; to see its events: pipeline watch {hub.url}{hint}")
            progress(f"console on {hub.url.replace('ws', 'http', 1)}/")
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True) as cleanup, skippable(cleanup.cancel):
                    await hub.drain(settings.serve.drain)


async def retry_webhooks(app: App) -> HttpResponse:
    """Retry failed deliveries."""
    if app.worker is None:
        return text_page(404, "the settings contain no webhooks")
    try:
        with anyio.fail_after(RETRY):
            await app.worker.retry()
    except (JournalError, TimeoutError) as error:
        return text_page(503, f"the journal is not available: {error}".rstrip(": "))
    return text_page(200, "failed deliveries are retried")


def requests_of(app: App) -> tuple[str, bytes]:
    """Return the newest language model requests, one JSON object per line."""
    lines = [encode(call) + b"\n" for call in app.calls.select(Selection())]
    return "application/jsonl", b"".join(lines)


def guards_of(settings: Settings, env: Mapping[str, str]) -> Mapping[str, TwilioGuard]:
    """Return the checks of Twilio's signatures, if a token is set. Raises ``SettingsError``."""
    token = find_key(settings.twilio.auth_token, env)
    if token is None:
        return {}
    guard = TwilioGuard(token.reveal(), settings.twilio.public_url)
    return {"twilio": guard, RELAY: guard}
