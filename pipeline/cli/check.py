"""``pipeline check``: checks of settings, keys, files, ports and engines."""

import http.client
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

import anyio
import msgspec
from anyio import to_thread
from msgspec import Struct
from msgspec.structs import replace

from pipeline.app.app import App
from pipeline.app.plan import Plan, plan
from pipeline.app.startup import open_app
from pipeline.app.stt_clients import stt_endpoints
from pipeline.audio.pcm import Format
from pipeline.cli.credentials import access_of
from pipeline.cli.serve import guards_of
from pipeline.cli.telemetry import load_telemetry
from pipeline.cli.views.output import progress
from pipeline.cli.webhook_settings import webhooks_of
from pipeline.config.loading import load
from pipeline.config.settings import JournalSettings, Settings
from pipeline.embedded import weights
from pipeline.errors import JournalError, PipelineError, RecordingError, ServeError
from pipeline.gateway.structured_output import Structured
from pipeline.hub.listening import check_host, listen
from pipeline.hub.static_files import ASYNCAPI
from pipeline.interfaces.llm import CompletionRequest, Message
from pipeline.interfaces.stt import Heard
from pipeline.protocol.asyncapi import TITLE
from pipeline.protocol.events import encode
from pipeline.runtime.tasks import plain_errors
from pipeline.session.recording import folder_of
from pipeline.stt.assemblyai.parameters import warnings as parameter_warnings

LIVE = 30.0  #: seconds for each engine to respond
PROBE = 2.0  #: seconds for a server on the port to respond
MOST_PROBED = 1 << 20  #: bytes read of its response
FRAMES = 20  #: of silence, 50 ms each

Verdict = Literal["ok", "warn", "fail"]


class _Info(Struct):
    title: str


class _Document(Struct):
    """The part of the protocol document that names the program."""

    info: _Info


class Finding(Struct, frozen=True):
    """Result of one check."""

    what: str
    verdict: Verdict
    said: str  #: what was found, or the remedy
    exit_code: int = 0


async def check(*, live: bool = False, json: bool = False, config: Path | None = None) -> int:
    """Check what the settings need; print ok, warn or fail for each item.

    Parameters
    ----------
    live
        Also test the engines: send a second of silence to speech-to-text, and request a word from
        the language model.
    json
        Print each finding as a JSON object, one per line.
    config
        The settings file, instead of pipeline.toml in the working directory.
    """
    settings = load(config, os.environ)
    planned = plan(settings, os.environ)
    worst = 0
    async for finding in findings(settings, planned, live=live):
        line = encode(finding).decode() if json else _line(finding)
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        worst = max(worst, finding.exit_code)
    return worst


async def findings(settings: Settings, planned: Plan, *, live: bool) -> AsyncGenerator[Finding]:
    yield Finding("settings", "ok", f"stt {planned.stt.name}, llm {planned.llm.name}")
    if planned.stt_token is None:
        yield _key("stt", settings.stt.key, planned.stt.name, present=planned.stt_key is not None)
    else:
        yield Finding("stt.token", "ok", f"found in {settings.stt.token}")
    yield _key("llm", settings.llm.key, planned.llm.name, present=planned.llm_key is not None)
    tests: list[tuple[str, Callable[[], str]]] = [
        ("stt", lambda: _stt(settings, planned)),
        ("prompts", lambda: _prompts(planned)),
        ("webhooks", lambda: _webhooks(settings)),
        ("tokens", lambda: _tokens(settings)),
        ("journal", lambda: _journal(settings.journal.store)),
        ("port", lambda: _port(settings)),
    ]
    if settings.journal.record:
        tests.append(("recordings", lambda: _recordings(settings.journal)))
    if planned.local:
        tests.append(("models", lambda: _models(settings, planned)))
    for warning in parameter_warnings(settings.stt.parameters):
        yield Finding("stt", "warn", warning)
    for what, test in tests:
        yield await _run_check(what, partial(to_thread.run_sync, test))
    if live:
        for one in await _live(settings, planned):
            yield one


async def _run_check(what: str, test: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(what, "ok", await test())
    except TimeoutError:
        return Finding(what, "fail", f"no response within {LIVE:g} s", 3)
    except PipelineError as error:
        return Finding(what, "fail", str(error), error.exit_code)
    except OSError as error:
        return Finding(what, "fail", f"{error.filename or ''}: {error.strerror}", 1)


def _key(which: str, source: str, engine: str, *, present: bool) -> Finding:
    what = f"{which}.key"
    if engine == "local":
        return Finding(what, "ok", "the embedded engine needs none")
    if present:
        return Finding(what, "ok", f"found in {source}")
    if engine == "custom":
        return Finding(what, "warn", "none; correct only if that server needs none")
    return Finding(what, "fail", f"no key in {source}: set it, or choose another engine", 2)


def _stt(settings: Settings, planned: Plan) -> str:
    """Make the endpoints as a session does, where the embedded one has any address."""
    if planned.stt.name == "none":
        return "no audio"
    endpoints = stt_endpoints(settings, planned, "ws://127.0.0.1:1")
    return ", then ".join(
        one.engine if one.engine == "local" else f"{one.model} of {one.engine}" for one in endpoints
    )


def _prompts(planned: Plan) -> str:
    for name, prompt in planned.prompts.items():
        if prompt.output == "json":
            Structured(prompt.json_schema, name, prompt.reasks)
    return ", ".join(planned.prompts)


def _webhooks(settings: Settings) -> str:
    hooks = webhooks_of(settings, os.environ)
    return ", ".join(f"{hook.name} to {hook.host}" for hook in hooks) or "none"


def _tokens(settings: Settings) -> str:
    access = access_of(settings.serve, os.environ, now=datetime.now(UTC).timestamp())
    if access is None:
        check_host(settings.serve.host)
    guards_of(settings, os.environ)
    load_telemetry(settings)
    keys = len(settings.serve.signing_keys)
    signed = f", {keys} in serve.signing_keys" if keys else ""
    return f"{len(settings.serve.tokens)} in [serve.tokens]{signed}"


def _journal(store: str) -> str:
    if store == "memory":
        return "events are kept in memory and lost when the process ends"
    file = Path(store).expanduser().absolute()
    present = next(place for place in (file, *file.parents) if place.exists())
    fits = present.is_file() if present == file else present.is_dir()
    if not (fits and os.access(present, os.W_OK)):
        raise JournalError(f"{file} cannot be written to: correct journal.store")
    return f"{file} can be written to"


def _recordings(settings: JournalSettings) -> str:
    folder = folder_of(settings)
    present = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not (present.is_dir() and os.access(present, os.W_OK)):
        raise RecordingError(f"{folder} cannot be written to: correct journal.record")
    return f"sessions are recorded in {folder}"


def _port(settings: Settings) -> str:
    host, port = settings.serve.host, settings.serve.port
    try:
        listen(host, port).close()
    except ServeError:
        if not _serves_already(host, port):
            raise
        return f"pipeline serves on {host}:{port} already"
    return f"{host}:{port} is free"


def _serves_already(host: str, port: int) -> bool:
    """Return whether this program listens on the port: its protocol document is public."""
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    connection = http.client.HTTPConnection(local, port, timeout=PROBE)
    try:
        connection.request("GET", ASYNCAPI)
        document = msgspec.json.decode(connection.getresponse().read(MOST_PROBED), type=_Document)
    except (OSError, http.client.HTTPException, msgspec.MsgspecError, UnicodeDecodeError):
        return False
    finally:
        connection.close()
    return document.info.title == TITLE


def _models(settings: Settings, planned: Plan) -> str:
    files: list[Path] = []
    if planned.local_stt:
        files.append(weights.whisper_folder(settings.local.whisper))
    if planned.llm.name == "local":
        files.append(weights.gguf_file(settings.local.gguf))
    return ", ".join(file.name for file in files)


async def _live(settings: Settings, planned: Plan) -> list[Finding]:
    settings = replace(settings, journal=JournalSettings())  # this session is not stored
    try:
        async with open_app(settings, planned, on_progress=progress) as app:
            return [
                await _run_check("stt, live", lambda: _check_stt(app)),
                await _run_check("llm, live", lambda: _check_llm(app)),
                *_servers(planned),
            ]
    except PipelineError as error:
        return [Finding("engines", "fail", str(error), error.exit_code)]


def _servers(planned: Plan) -> list[Finding]:
    """Return a finding per MCP server: each was reached at startup; its number of tools."""
    if planned.tools is None:
        return []
    found = planned.tools.servers.items()
    return [Finding(f"mcp.{name}", "ok", f"reached, {count} tools") for name, count in found]


async def _check_stt(app: App) -> str:
    """Open a session, send a second of silence and end it. Raises a ``SttError``."""
    client = app.dependencies.listen(Format(), _ignore)
    began = anyio.current_time()
    with anyio.fail_after(LIVE):
        async with plain_errors(), anyio.create_task_group() as tasks:
            await tasks.start(client.run)
            for _ in range(FRAMES):
                await client.send(bytes(1600))
            await client.finish()
    return f"{app.dependencies.stt.url} accepted a second of silence in {_ms(began)} ms"


def _ignore(heard: Heard, channel: int = 0) -> None:
    """Ignore transcripts of silence."""


async def _check_llm(app: App) -> str:
    """Request one word. Raises a ``GatewayError``."""
    model = app.dependencies.llm.model or ""
    request = CompletionRequest(
        model=model, messages=(Message(role="user", content="Say yes."),), max_tokens=16
    )
    began = anyio.current_time()
    with anyio.fail_after(LIVE):
        async with app.dependencies.gateway.open(request) as reply:
            while await reply.receive():
                pass
    return f"{model} at {app.dependencies.llm.url} answered in {_ms(began)} ms"


def _ms(began: float) -> int:
    return round((anyio.current_time() - began) * 1000)


def _line(finding: Finding) -> str:
    return f"{finding.verdict:<4}  {finding.what:<9}  {finding.said}"
