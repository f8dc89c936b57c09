"""The language model clients that the plan names."""

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import anyio
import msgspec
from msgspec.structs import replace

from pipeline.app.plan import Plan
from pipeline.config.default_prompts import ASSEMBLYAI_MODEL
from pipeline.config.loading import Secret
from pipeline.config.settings import Fallback, LlmSettings, Prompt, Settings
from pipeline.embedded.process import Engines
from pipeline.errors import EngineError, GatewayError, GatewayRefused
from pipeline.gateway.attempts import Target
from pipeline.gateway.call_log import CallLog, region_of
from pipeline.gateway.catalog import Catalog
from pipeline.gateway.catalog_gate import CatalogGate
from pipeline.gateway.client import GatewayClient
from pipeline.gateway.dialect import Dialect
from pipeline.gateway.fallback import FallbackGateway
from pipeline.gateway.fallback_changes import FallbackChanges
from pipeline.gateway.in_stream import InStreamConfig, InStreamGateway
from pipeline.gateway.retry import RetryPolicy
from pipeline.gateway.structured_output import JsonForm, Structured, best_mode
from pipeline.interfaces.llm import CompletionRequest, Form, JsonMode, Message, Prices
from pipeline.protocol.events import Engine
from pipeline.runtime.hosts import is_assemblyai_url, shown
from pipeline.runtime.supervision import Supervisor
from pipeline.session.in_stream import InStreamSetup

CATALOG_AGE = 600.0  #: seconds; the list changes within the hour (seen in September 2026)
#: of the setting ``json_mode``
JSON_MODES: Mapping[str, JsonMode | None] = {
    "auto": None,
    "json_schema": "response_format",
    "json_object": "json_object",
    "tool": "tool",
    "prompt": "prompt",
}
CATALOG = 3.0  #: seconds for the catalog of models, when a session could begin without it


def _without_transcripts(gate: CatalogGate, request: CompletionRequest) -> str | None:
    """Return why a server other than AssemblyAI's cannot answer a request, or None."""
    if "transcript_id" not in request.extra:
        return gate(request)
    return "only AssemblyAI's gateway puts a stored transcript in"


class LanguageModel:
    """The clients of every language model server of a plan, as one gateway."""

    def __init__(
        self,
        settings: Settings,
        planned: Plan,
        engines: Engines | None,
        log: CallLog,
        on_warning: Callable[[str], None],
    ) -> None:
        """``on_warning`` takes a line about each prompt that its model cannot serve."""
        url, key, model = _address(settings, planned, engines)
        in_stream = planned.llm.name == "in-stream"
        self.engine = Engine(
            name=planned.llm.name, url="" if in_stream else shown(url), model=model or None
        )
        self._settings = settings.llm
        self._stored = settings.stored.url  # where it is set, other servers know transcripts, too
        self._prompts = planned.prompts
        self._on_warning = on_warning
        self._clients: dict[tuple[str, str, bytes], GatewayClient] = {}
        first = _dialect(settings.llm, _revealed(planned.llm_headers))
        self._first = self._client(url, key, first) if url else None
        targets = [] if self._first is None else [self._target(self._first, "")]
        others = zip(
            settings.llm.fallbacks, planned.fallback_keys, planned.fallback_headers, strict=True
        )
        for other, secret, own in others:
            with_key = key if not other.engine else (secret.reveal() if secret else "")
            base = Dialect() if other.engine else first
            headers = {**base.headers, **_revealed(own)}
            client = self._client(other.engine or url, with_key, _dialect(other, headers, base))
            target = self._target(client, other.model)
            targets.append(_changed(target, other))
        policy = RetryPolicy(
            attempts=settings.llm.attempts,
            first_token=settings.llm.late_after,
            hedge_after=0.0 if in_stream else settings.llm.hedge_after,
        )
        self.gateway = FallbackGateway(targets, policy, log=log)
        self.in_stream: InStreamSetup | None = None
        if in_stream:
            price = None if self._first is None else partial(_price, self._first)
            means = InStreamConfig(targets, policy, log, settings.llm.in_stream_after, price)
            behind = self._engine_of(targets[0]) if targets else None
            self.in_stream = InStreamSetup(partial(InStreamGateway, means), behind)

    def _engine_of(self, target: Target) -> Engine:
        url = next(
            client.endpoints.base for client in self._clients.values() if client.host == target.name
        )
        name = "assemblyai" if is_assemblyai_url(url) else "custom"
        model = target.model or self.engine.model
        return Engine(name=name, url=url, model=model)

    def _client(self, url: str, key: str, dialect: Dialect) -> GatewayClient:
        known = url, key, msgspec.json.encode(dialect)
        client = self._clients.get(known)
        if client is None:
            # AssemblyAI's gateway refuses what a model does not know, so nothing extra goes there.
            client = GatewayClient(
                url,
                key,
                self._settings,
                dialect=replace(dialect, request_usage=not is_assemblyai_url(url)),
            )
            self._clients[known] = client
        return client

    def _target(self, client: GatewayClient, model: str) -> Target:
        price = partial(_price, client)
        vendor = is_assemblyai_url(str(client.url))
        warn = self._warn if self._settings.unsupported == "warn" else None
        gate = CatalogGate(
            lambda: client.known_catalog, self._settings.region if vendor else "", warn=warn
        )
        knows_transcripts = vendor or self._stored
        refuses = gate if knows_transcripts else partial(_without_transcripts, gate)
        return Target(
            client,
            client.host,
            model,
            refuses=refuses,
            price=price,
            json_mode=partial(_json_mode, client),
            can_stream=partial(_can_stream, client),
            context=partial(_context, client),
            is_vendor=vendor,
        )

    def lacks(self, model: str) -> bool:
        """Return whether it is known that the first server has no such model."""
        if self.engine.name == "local":
            return model != self.engine.model
        catalog = None if self._first is None else self._first.known_catalog
        return catalog is not None and catalog.is_whole and model not in catalog.models

    async def json_mode(self, model: str) -> JsonMode:
        """Return the JSON mode of ``model``, by AssemblyAI's catalog if it can be read.

        Other servers are expected to know ``response_format``, as most do.
        """
        if self.engine.name != "assemblyai" or self._first is None:
            return "response_format"
        with anyio.move_on_after(CATALOG), suppress(GatewayError):
            catalog = await self._first.catalog()
            entry = catalog.models.get(model)
            return best_mode(entry.supported if entry else ())
        return "prompt"

    async def keep_ready(self, supervisor: Supervisor) -> None:
        """Replace connections that cancelled requests closed, and refresh the catalog."""
        async with anyio.create_task_group() as tasks:
            for client in self._clients.values():
                run = supervisor.run
                tasks.start_soon(run, f"connections to {client.host}", client.keep_warm)
                tasks.start_soon(run, f"catalog of {client.host}", self._keep_catalog, client)

    def _warn(self, message: str) -> None:
        self._on_warning(f'{message}; it gets requests all the same (llm.unsupported = "warn")')

    async def catalog(self) -> Catalog:
        """Return the first server's models. Raises ``GatewayError``."""
        if self._first is None:
            raise GatewayRefused(
                "in-stream has no list of models of its own: use another llm.engine"
            )
        return await self._first.catalog()

    async def _keep_catalog(self, client: GatewayClient) -> None:
        reviewed = False
        while True:
            with suppress(GatewayError), anyio.move_on_after(CATALOG):
                await client.catalog(CATALOG_AGE)
            if not reviewed and client.known_catalog is not None:
                reviewed = True
                self._review(client)
            await anyio.sleep(CATALOG_AGE)

    def _review(self, client: GatewayClient) -> None:
        """Report the prompts that ``client`` cannot serve, before a request fails."""
        for name, prompt in self._prompts.items():
            first = prompt.model or self.engine.model or ""
            for place, target in enumerate(self.gateway.targets):
                if target.gateway is not client or target.refuses is None:
                    continue
                for model in (target.model or first,) if place else (first, *prompt.siblings):
                    if wrong := target.refuses(target.adapted(_request_of(prompt, model))):
                        what = f"fall back to {target.name}" if place else "be asked"
                        self._on_warning(f"prompts.{name} cannot {what}: {wrong}")

    async def aclose(self) -> None:
        for client in self._clients.values():
            await client.aclose()


def _dialect(
    settings: LlmSettings | Fallback, headers: Mapping[str, str], base: Dialect | None = None
) -> Dialect:
    """Return the dialect of a server by its settings; ``base`` is that of the same server."""
    names = {**(base.names if base else {}), **settings.parameters}
    mode = JSON_MODES[settings.json_mode] or (base.json_mode if base else None)
    return Dialect(headers, names=names, json_mode=mode)


def _revealed(headers: Mapping[str, Secret]) -> dict[str, str]:
    return {name: value.reveal() for name, value in headers.items()}


def _json_mode(client: GatewayClient, model: str) -> JsonMode:
    """Return the JSON mode of ``model``, by what is known of it so far.

    Servers other than AssemblyAI's are expected to know ``response_format``, as most do.
    """
    if (known := client.dialect.mode_of(client.host, model)) is not None:
        return known
    catalog = client.known_catalog
    entry = catalog.models.get(model) if catalog is not None else None
    if entry is not None and entry.supported:
        return best_mode(entry.supported)
    return "prompt" if is_assemblyai_url(str(client.url)) else "response_format"


def _can_stream(client: GatewayClient, model: str) -> bool:
    catalog = client.known_catalog
    return catalog is None or catalog.can_stream(model)


def _changed(target: Target, fallback: Fallback) -> Target:
    """Return ``target`` with the changes that a fallback makes to its requests."""
    changes = FallbackChanges(
        system=fallback.system,
        messages=tuple(Message(each.role, each.content) for each in fallback.messages),
        max_tokens=fallback.max_tokens,
        temperature=fallback.temperature,
        extra=fallback.extra,
    )
    return dataclasses.replace(
        target,
        rewrite=None if changes.is_empty else changes.apply,
        has_own_messages=bool(fallback.system or fallback.messages),
        first_token=fallback.first_token_timeout or None,
    )


def _context(client: GatewayClient, model: str) -> int | None:
    """Return the tokens of a model's context, by the list of models."""
    catalog = client.known_catalog
    entry = catalog.models.get(model) if catalog is not None else None
    return entry.context_length if entry is not None else None


def _price(
    client: GatewayClient, request: CompletionRequest, answered_by: str | None
) -> Prices | None:
    """Return the price of the model that answered; replies name back ends that none lists."""
    catalog = client.known_catalog
    if catalog is None:
        return None
    region = region_of(client.host, request)
    found = catalog.price(answered_by, region) if answered_by else None
    return found or catalog.price(request.model, region)


def _request_of(prompt: Prompt, model: str) -> CompletionRequest:
    """Return a request of ``prompt``, without messages."""
    return CompletionRequest(
        model=model,
        messages=(),
        stream=prompt.stream,
        max_tokens=None if "max_tokens" in prompt.omit else prompt.max_tokens,
        temperature=None if "temperature" in prompt.omit else prompt.temperature,
        extra=prompt.extra,
    )


async def forms(planned: Plan, llm: LanguageModel) -> Mapping[str, Form]:
    """Return the form of each prompt whose replies must be JSON."""
    made: dict[str, Form] = {}
    for name, prompt in planned.prompts.items():
        if prompt.output == "json":
            structured = Structured(prompt.json_schema, name, prompt.reasks)
            mode = await llm.json_mode(prompt.model or llm.engine.model or "")
            made[name] = JsonForm(
                structured, mode, beside_tools=bool(prompt.tools), omit=prompt.omit
            )
    return made


def _address(settings: Settings, planned: Plan, engines: Engines | None) -> tuple[str, str, str]:
    """Return base address, key and model of the first server."""
    key = planned.llm_key.reveal() if planned.llm_key else ""
    model = settings.llm.model
    match planned.llm.name:
        case "local":
            if engines is None:
                raise EngineError("the embedded language model was not started")
            return engines.llm_url, engines.llm_key, model or engines.llm_model
        case "in-stream" if not key:
            return "", "", model or ASSEMBLYAI_MODEL
        case "assemblyai" | "in-stream":
            host = "llm-gateway.eu" if settings.llm.region == "eu" else "llm-gateway"
            return f"https://{host}.assemblyai.com/v1", key, model or ASSEMBLYAI_MODEL
        case "custom" | "none":
            return planned.llm.address, key, model
