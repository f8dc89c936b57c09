"""Speech-to-text clients of a plan, and the registry of vendors."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from msgspec.structs import replace

from pipeline.app.plan import Plan
from pipeline.audio.pcm import Format
from pipeline.config.engine_choice import Name
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


def speech_to_text(
    settings: Settings, planned: Plan, engines: Engines | None
) -> tuple[Engine, Callable[[Format, Hear], SpeechToText]]:
    """Return the engine, and a function that makes the client of one session.

    Raises ``SettingsError`` for settings that its server would refuse.
    """
    name, stt = planned.stt.name, settings.stt
    override: str | None
    key: str | None
    if name == "none":
        return without_speech()
    if name == "local":
        if engines is None:
            raise EngineError("the embedded speech-to-text was not started")
        override, key = engines.stt_url, None
    else:
        override = planned.stt.address or None
        key = planned.stt_key.reveal() if planned.stt_key else None
        stt = _with_token(planned.stt_token, stt)
    endpoint_for = VENDORS[name]
    in_stream = _in_stream_parameters(settings, planned)

    def listen(audio: Format, hear: Hear) -> SpeechToText:
        sent = spoken_at(audio)
        encoding = {"sample_rate": sent.sample_rate, "encoding": sent.encoding}
        adapted = replace(stt, parameters={**stt.parameters, **encoding, **in_stream})
        endpoint = endpoint_for(adapted, key, override)

        def client(channel: int) -> SpeechToText:
            one = SttClient(endpoint, partial(hear, channel=channel))
            return one if sent == audio else ResampledStt(audio, one)

        clients = [client(channel) for channel in range(audio.channels)]
        return clients[0] if len(clients) == 1 else Channels(audio, clients, hear)

    endpoint = endpoint_for(stt, key, override)  # reports wrong settings at the start
    model = engines.stt_model if override and engines else endpoint.model
    url = endpoint.url.partition("?")[0]  # the rest may hold a token
    return Engine(name=name, url=url, model=model), listen


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
        assemblyai.endpoint_for(settings.stt, None, override), planned.stt_key.reveal()
    )


def _in_stream_parameters(settings: Settings, planned: Plan) -> Mapping[str, Any]:
    """Return the connection parameters that request in-stream replies, if they are configured."""
    if planned.llm.name != "in-stream":
        return {}
    prompt = next(iter(planned.prompts.values()))
    return {"llm_gateway": in_stream_prompt.parameter(prompt, settings.llm.model)}
