"""Speech-to-text clients of a plan, and the registry of vendors."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from pipeline.app.plan import Plan, SttFallback
from pipeline.audio.pcm import Format
from pipeline.config.engine_choice import EngineChoice, Name
from pipeline.config.loading import Secret
from pipeline.config.settings import LlmSettings, Settings, SttSettings
from pipeline.embedded.process import Engines
from pipeline.errors import EngineError, SettingsError
from pipeline.interfaces.stt_client import Hear, SpeechToText
from pipeline.interfaces.stt_protocol import SttEndpoint
from pipeline.protocol.events import Engine
from pipeline.responses import in_stream_prompt
from pipeline.runtime.hosts import is_assemblyai_url
from pipeline.session.channels import Channels
from pipeline.session.resampling import ResampledStt, spoken_at
from pipeline.stt.assemblyai import endpoint as assemblyai
from pipeline.stt.assemblyai.stored_transcripts import Transcripts
from pipeline.stt.assemblyai.token_client import TokenClient
from pipeline.stt.client import SttClient as SttClient
from pipeline.stt.no_audio import NoAudio

log = logging.getLogger(__name__)


class EndpointFactory(Protocol):
    """Function that makes a vendor's endpoint; ``url_override`` is another server's address."""

    def __call__(
        self, settings: SttSettings, key: str | None = None, url_override: str | None = None
    ) -> SttEndpoint: ...


#: the protocol of each engine; a vendor's room is ``stt/NAME/``
VENDORS: Mapping[Name, EndpointFactory] = {
    "assemblyai": assemblyai.endpoint_for,
    "local": assemblyai.endpoint_for,  # the embedded recogniser speaks AssemblyAI's protocol
    "custom": assemblyai.endpoint_for,  # a server at an address does, too
}


def transcripts(settings: Settings, planned: Plan) -> Transcripts:
    """Return the API that transcribes whole recordings, with the key of the language model."""
    host = "api.eu" if settings.llm.region == "eu" else "api"
    url = settings.stored.url or f"https://{host}.assemblyai.com"
    named = settings.llm.key != LlmSettings().key
    key = planned.llm_key if named or is_assemblyai_url(url) else None
    return Transcripts(settings.stored, url, key.reveal() if key else None)


def without_speech() -> tuple[Engine, Callable[[Format, Hear], SpeechToText]]:
    """Return the engine and the client of a session without audio."""

    def listen(audio: Format, hear: Hear) -> SpeechToText:
        return NoAudio()

    return Engine(name="none", url=""), listen


class SpeechToTextClients(Struct, frozen=True):
    """The engines of speech-to-text, and what makes the client of one session."""

    engines: Mapping[str, Engine]  #: by the name that events use, in order
    listen: Callable[[Format, Hear], SpeechToText]

    @property
    def first(self) -> Engine:
        """The engine that sessions begin with."""
        return next(iter(self.engines.values()))


def speech_to_text(
    settings: Settings, planned: Plan, engines: Engines | None
) -> SpeechToTextClients:
    """Return the engines and the function that makes the client of one session.

    Raises ``SettingsError`` for settings that their servers would refuse.
    """
    if planned.stt.name == "none":
        engine, listen_to_none = without_speech()
        return SpeechToTextClients({engine.name: engine}, listen_to_none)
    if planned.local_stt and engines is None:
        raise EngineError("the embedded speech-to-text was not started")
    local_url = engines.stt_url if engines else ""

    def listen(audio: Format, hear: Hear) -> SpeechToText:
        sent = spoken_at(audio)
        encoding = {"sample_rate": sent.sample_rate, "encoding": sent.encoding}
        endpoint, *others = stt_endpoints(settings, planned, local_url, encoding)

        def client(channel: int) -> SpeechToText:
            one = SttClient(endpoint, partial(hear, channel=channel), others=others)
            return one if sent == audio else ResampledStt(audio, one)

        clients = [client(channel) for channel in range(audio.channels)]
        return clients[0] if len(clients) == 1 else Channels(audio, clients, hear)

    named: dict[str, Engine] = {}
    choices = (planned.stt, *(one.engine for one in planned.stt_fallbacks))
    endpoints = stt_endpoints(settings, planned, local_url)  # reports wrong settings at the start
    for choice, endpoint in zip(choices, endpoints, strict=True):
        for warning in endpoint.warnings:
            log.warning("%s", warning)
        model = engines.stt_model if choice.name == "local" and engines else endpoint.model
        url = endpoint.url.partition("?")[0]  # the rest may hold a token
        named[endpoint.engine] = Engine(name=choice.name, url=url, model=model)
    return SpeechToTextClients(named, listen)


def stt_endpoints(
    settings: Settings, planned: Plan, local_url: str, parameters: Mapping[str, Any] = {}
) -> list[SttEndpoint]:
    """Return the endpoint of each engine of the plan, in order, with further ``parameters``.

    Raises ``SettingsError`` for settings that its server would refuse.
    """
    further = {**parameters, **_in_stream_parameters(settings, planned)}
    first = SttFallback(planned.stt, planned.stt_key, planned.stt_token)
    endpoints = [
        _endpoint(settings.stt, one, local_url, further) for one in (first, *planned.stt_fallbacks)
    ]
    patience = settings.stt.failover_after
    return [
        *(
            replace(one, connect_timeout=min(one.connect_timeout, patience))
            for one in endpoints[:-1]
        ),
        endpoints[-1],
    ]


def _endpoint(
    stt: SttSettings, choice: SttFallback, local_url: str, parameters: Mapping[str, Any]
) -> SttEndpoint:
    engine = choice.engine
    stt = replace(_at(engine, stt), parameters={**stt.parameters, **parameters})
    if engine.name == "local":
        endpoint = VENDORS[engine.name](stt, None, local_url)
    else:
        key = choice.key.reveal() if choice.key else None
        endpoint = VENDORS[engine.name](_with_token(choice.token, stt), key, engine.address or None)
    return replace(endpoint, engine=engine.shown)


def _at(engine: EngineChoice, settings: SttSettings) -> SttSettings:
    """Return the settings with the region that the engine names, if it names one."""
    return replace(settings, engine="auto", region=engine.region or settings.region)


def _with_token(token: Secret | None, settings: SttSettings) -> SttSettings:
    """Return the settings of connections that authenticate with ``token``, if there is one."""
    if token is None:
        return settings
    return replace(settings, parameters={**settings.parameters, "token": token.reveal()})


def mint(settings: Settings, planned: Plan) -> TokenClient:
    """Return the client that makes temporary tokens. Raises ``SettingsError`` without one."""
    if planned.stt.name not in ("assemblyai", "custom"):
        raise SettingsError(
            f"only AssemblyAI makes temporary tokens, and speech-to-text is {planned.stt.name}"
            f" ({planned.stt.why})"
        )
    if planned.stt_key is None:
        raise SettingsError("temporary tokens are made with a key, and stt.key leads to none")
    override = planned.stt.address or None
    return TokenClient(
        assemblyai.endpoint_for(_at(planned.stt, settings.stt), None, override),
        planned.stt_key.reveal(),
    )


def _in_stream_parameters(settings: Settings, planned: Plan) -> Mapping[str, Any]:
    """Return the connection parameters that request in-stream replies, if they are configured."""
    if planned.llm.name != "in-stream":
        return {}
    prompt = next(iter(planned.prompts.values()))
    return {"llm_gateway": in_stream_prompt.parameter(prompt, settings.llm.model)}
