"""The plan of a run: which engines it uses, and why, decided before anything is started."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.default_prompts import ASSEMBLYAI_PROMPTS, IN_STREAM_PROMPTS, LOCAL_PROMPTS
from pipeline.config.engine_choice import EngineChoice, choose
from pipeline.config.loading import Secret, find_key
from pipeline.config.settings import LlmSettings, Prompt, Settings, SttSettings
from pipeline.errors import SettingsError
from pipeline.gateway import parameters
from pipeline.gateway.address import endpoints
from pipeline.responses import in_stream_prompt
from pipeline.responses import prompt as templates
from pipeline.responses.policies import POLICIES
from pipeline.runtime.hosts import is_assemblyai_url, is_loopback, shown
from pipeline.tools.toolset import Toolset

DEFAULTS: Mapping[str, Mapping[str, Prompt]] = {
    "local": LOCAL_PROMPTS,
    "in-stream": IN_STREAM_PROMPTS,
}

HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
#: headers that each request has, or that frame it
OUR_HEADERS = frozenset(
    ("host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding")
)


class SttFallback(Struct, frozen=True):
    """An engine of speech-to-text that takes over, and what it authenticates with."""

    engine: EngineChoice
    key: Secret | None
    token: Secret | None


class Plan(Struct, frozen=True):
    """Engines, keys and prompts of a run."""

    stt: EngineChoice
    llm: EngineChoice
    stt_key: Secret | None
    llm_key: Secret | None
    prompts: Mapping[str, Prompt]
    fallback_keys: tuple[Secret | None, ...] = ()
    llm_headers: Mapping[str, Secret] = {}
    fallback_headers: tuple[Mapping[str, Secret], ...] = ()
    stt_token: Secret | None = None  #: goes to speech-to-text in place of the key
    tools: Toolset | None = None  #: none, if no prompt offers any
    stt_fallbacks: tuple[SttFallback, ...] = ()  #: take over from ``stt``, in order

    @property
    def local_stt(self) -> bool:
        """Whether the embedded recogniser may be used."""
        return "local" in (self.stt.name, *(one.engine.name for one in self.stt_fallbacks))

    @property
    def local(self) -> bool:
        """Whether an embedded engine may be used."""
        return self.local_stt or self.llm.name == "local"


def plan(settings: Settings, env: Mapping[str, str]) -> Plan:
    """Decide on engines and prompts. Raises ``SettingsError`` for what cannot be."""
    stt_key = find_key(settings.stt.key, env)
    stt_token = _token(settings.stt, env)
    opener = settings.stt.token or settings.stt.key
    engines = _stt_engines(settings.stt, opener, has_key=bool(stt_token or stt_key))
    stt, *fallbacks = (
        SttFallback(
            one,
            stt_key if _may_have_key(one, engines, settings.stt) else None,
            stt_token if _may_have_token(one, engines) else None,
        )
        for one in engines
    )
    planned = _llm_plan(settings, env)
    llm, llm_key = planned.llm, planned.llm_key
    for one in engines:
        _check_travel("stt.engine", one.address, insecure=settings.stt.insecure)
    prompts = {name: _gathered(name, each) for name, each in prompts_of(settings, env).items()}
    for name, prompt in prompts.items():
        _check(name, prompt, settings, llm)
    if llm.name == "in-stream":
        in_stream_prompt.check(settings, stt.engine, prompts)
        llm_key = None if _is_foreign(stt.engine) else llm_key  # what is said goes to no one else
    if "llm_gateway" in settings.stt.parameters:
        raise SettingsError(
            'stt.parameters.llm_gateway: set llm.engine = "in-stream" instead; it is made of the'
            " prompt then, and the answers are taken"
        )
    if llm.name == "assemblyai":
        prompts = {name: _one_layer_retries(prompt) for name, prompt in prompts.items()}
    return replace(
        planned,
        stt=stt.engine,
        stt_key=stt.key,
        llm_key=llm_key,
        prompts=prompts,
        stt_token=stt.token,
        tools=_tools(settings, prompts, env),
        stt_fallbacks=tuple(fallbacks),
    )


def _stt_engines(settings: SttSettings, key_source: str, *, has_key: bool) -> list[EngineChoice]:
    """Return the engines of speech-to-text in order; at least one."""
    first = [] if settings.engine == "auto" and settings.engines else [settings.engine]
    names = dict.fromkeys([*first, *settings.engines])
    return [choose("stt", name, key_source, has_key=has_key) for name in names]


def _may_have_key(
    engine: EngineChoice, engines: Sequence[EngineChoice], settings: SttSettings
) -> bool:
    """Return whether an engine gets the key: a foreign server only one that is not AssemblyAI's."""
    return not _is_foreign(engine) or (
        settings.key != SttSettings().key and _may_have_token(engine, engines)
    )


def _may_have_token(engine: EngineChoice, engines: Sequence[EngineChoice]) -> bool:
    """Return whether an engine gets the token, which is for AssemblyAI if that is an engine."""
    return not _is_foreign(engine) or all(
        one.name == "local" or _is_foreign(one) for one in engines
    )


def _headers(
    setting: str, sources: Mapping[str, str], env: Mapping[str, str]
) -> Mapping[str, Secret]:
    found: dict[str, Secret] = {}
    for name, source in sources.items():
        where = f"{setting}.{name}"
        if not HEADER_NAME.fullmatch(name):
            raise SettingsError(f"{where}: {name[:80]!r} cannot be the name of an HTTP header")
        if name.lower() in OUR_HEADERS:
            raise SettingsError(f"{where}: this header is set for each request")
        value = find_key(source, env)
        if value is None:
            raise SettingsError(f"{where}: {source or 'it'} leads to nothing; set it, or remove it")
        if not (value.reveal().isascii() and value.reveal().isprintable()):
            raise SettingsError(f"{where}: its value has characters that a header cannot have")
        found[name] = value
    return found


def _check_llm_address(setting: str, address: str, settings: LlmSettings) -> None:
    if address:
        endpoints(address, setting)
        _check_travel(setting, address, insecure=settings.insecure)


def plan_gateway(settings: Settings, env: Mapping[str, str]) -> Plan:
    """Decide on the language model alone. Raises ``SettingsError`` for what cannot be."""
    planned = _llm_plan(settings, env)
    if planned.llm.name == "in-stream":
        raise SettingsError(
            "llm.engine: in-stream answers speech only; a gateway needs assemblyai, local or an"
            " address"
        )
    return planned


def _llm_plan(settings: Settings, env: Mapping[str, str]) -> Plan:
    """Return the plan of the language model, without speech-to-text and prompts."""
    key = find_key(settings.llm.key, env)
    llm = choose("llm", settings.llm.engine, settings.llm.key, has_key=key is not None)
    _check_llm_address("llm.engine", llm.address, settings.llm)
    for at, one in enumerate(settings.llm.fallbacks):
        _check_llm_address(f"llm.fallbacks[{at}].engine", one.engine, settings.llm)
    is_foreign = _is_foreign(llm) and settings.llm.key == LlmSettings().key
    return Plan(
        stt=EngineChoice("none", "no speech is transcribed"),
        llm=llm,
        stt_key=None,
        llm_key=None if is_foreign else key,
        prompts={},
        fallback_keys=tuple(
            find_key(one.key, env) if one.key else None for one in settings.llm.fallbacks
        ),
        llm_headers=_headers("llm.headers", settings.llm.headers, env),
        fallback_headers=tuple(
            _headers(f"llm.fallbacks[{at}].headers", one.headers, env)
            for at, one in enumerate(settings.llm.fallbacks)
        ),
    )


def _check_travel(setting: str, address: str, *, insecure: bool) -> None:
    """Refuse to send transcripts unencrypted to another machine, or with a password shown."""
    url = urlsplit(address)
    if url.username is not None or url.password is not None:
        raise SettingsError(
            f"{setting}: the address holds a user name or password; use {_section(setting)}.key"
        )
    if url.scheme in ("http", "ws") and not insecure and not is_loopback(url.hostname or ""):
        raise SettingsError(
            f"{setting}: {shown(address)} is another machine, and what is said would go there in"
            f" clear: use {url.scheme}s://, or set {_section(setting)}.insecure = true"
        )


def _section(setting: str) -> str:
    return setting.partition(".")[0]


def _token(settings: SttSettings, env: Mapping[str, str]) -> Secret | None:
    token = find_key(settings.token, env) if settings.token else None
    if settings.token and token is None:
        raise SettingsError(f"stt.token: {settings.token} leads to nothing; set it, or remove it")
    return token


def _tools(
    settings: Settings, prompts: Mapping[str, Prompt], env: Mapping[str, str]
) -> Toolset | None:
    def secret(source: str) -> str:
        found = find_key(source, env)
        if found is None and source:
            raise SettingsError(f"tools: {source} leads to nothing; set it, or name another")
        return found.reveal() if found else ""

    offering = any(prompt.tools for prompt in prompts.values())
    return Toolset(prompts, settings.tools, secret, settings.mcp) if offering else None


def prompts_of(settings: Settings, env: Mapping[str, str]) -> Mapping[str, Prompt]:
    """Return the prompts that the settings name, or those built in for their language model."""
    if settings.prompts:
        return settings.prompts
    has_key = find_key(settings.llm.key, env) is not None
    llm = choose("llm", settings.llm.engine, settings.llm.key, has_key=has_key)
    return DEFAULTS.get(llm.name, ASSEMBLYAI_PROMPTS)


def _gathered(name: str, prompt: Prompt) -> Prompt:
    try:
        return parameters.with_body_in_extra(prompt)
    except SettingsError as error:
        raise SettingsError(f"prompts.{name}.{error}") from error


def _check(name: str, prompt: Prompt, settings: Settings, llm: EngineChoice) -> None:
    templates.check(name, prompt)
    if prompt.tools and llm.name == "in-stream":
        raise SettingsError(f"prompts.{name}.tools: in-stream answers cannot call tools")
    if prompt.tools and not {"tools", "tool_choice"}.isdisjoint(prompt.extra):
        raise SettingsError(f"prompts.{name}.extra: tools has its own setting")
    for problem in parameters.problems(prompt.extra):
        raise SettingsError(f"prompts.{name}.extra: {problem}")
    if prompt.transcript_id and not _knows_transcripts(llm, settings):
        raise SettingsError(
            f"prompts.{name}.transcript_id: only AssemblyAI's gateway puts a stored transcript"
            f" in, and the language model is {llm.shown} ({llm.why}): use --llm"
            " assemblyai, or remove transcript_id"
        )
    if llm.name == "custom" and not (prompt.model or settings.llm.model):
        raise SettingsError(
            f"prompts.{name}: no model; {llm.shown} has no default of ours: set llm.model"
        )


def _knows_transcripts(llm: EngineChoice, settings: Settings) -> bool:
    """Return whether the language model's server fills in stored transcripts.

    A custom server does where ``stored.url`` is set.
    """
    if llm.name == "custom":
        return is_assemblyai_url(llm.address) or bool(settings.stored.url)
    return llm.name == "assemblyai"


def _one_layer_retries(prompt: Prompt) -> Prompt:
    """Switch the gateway's own retry off where the caller waits: this service retries.

    By default the gateway retries a failing provider once after 500 ms (AssemblyAI docs, fallbacks,
    mid-2026).
    """
    if POLICIES[prompt.policy].gateway_retries:
        return prompt
    config = {"retry": False, **prompt.extra.get("fallback_config", {})}
    return replace(prompt, extra={**prompt.extra, "fallback_config": config})


def _is_foreign(choice: EngineChoice) -> bool:
    """Return whether the engine is a server that must not get AssemblyAI's key, the default."""
    return choice.name == "custom" and not is_assemblyai_url(choice.address)
