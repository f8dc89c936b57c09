"""The speech-to-text clients that the plan names."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from msgspec.structs import replace

from pipeline.app.plan import Plan
from pipeline.audio.pcm import Format
from pipeline.config.loading import Secret
from pipeline.config.settings import LlmSettings, Settings, SttSettings
from pipeline.embedded.process import Engines
from pipeline.errors import EngineError, SettingsError
from pipeline.interfaces.stt_client import Hear, SpeechToText
from pipeline.protocol.events import Engine
from pipeline.responses import in_stream_prompt
from pipeline.runtime.hosts import is_assemblyai_url
from pipeline.session.channels import Channels
from pipeline.session.resampling import ResampledStt, spoken_at
from pipeline.stt.assemblyai.endpoint import endpoint_for
from pipeline.stt.assemblyai.stored_transcripts import Transcripts
from pipeline.stt.assemblyai.token_client import TokenClient
from pipeline.stt.client import SttClient as SttClient
from pipeline.stt.no_audio import NoAudio


def transcripts(settings: Settings, planned: Plan) -> Transcripts:
    """Return where recordings are transcribed as a whole, with the key of the language model."""
    host = "api.eu" if settings.llm.region == "eu" else "api"
    url = settings.stored.url or f"https://{host}.assemblyai.com"
    named = settings.llm.key != LlmSettings().key
    key = planned.llm_key if named or is_assemblyai_url(url) else None
    return Transcripts(settings.stored, url, key.reveal() if key else None)


def without_speech() -> tuple[Engine, Callable[[Format, Hear], SpeechToText]]:
    """Return what stands for speech-to-text where the turns come as text, or not at all."""

    def listen(audio: Format, hear: Hear) -> SpeechToText:
        return NoAudio()

    return Engine(name="none", url=""), listen


def speech_to_text(
    settings: Settings, planned: Plan, engines: Engines | None
) -> tuple[Engine, Callable[[Format, Hear], SpeechToText]]:
    """Return the engine, and what listens to a session's audio with it."""
    key = planned.stt_key.reveal() if planned.stt_key else None
    override: str | None = None
    match planned.stt.name:
        case "none":
            return without_speech()
        case "local":
            if engines is None:
                raise EngineError("the embedded speech-to-text was not started")
            override, key = engines.stt_url, None
        case "custom":
            override = planned.stt.address
        case "assemblyai" | "in-stream":
            pass
    stt = (
        _opened_by(planned.stt_token, settings.stt) if planned.stt.name != "local" else settings.stt
    )
    ordered = _ordered(settings, planned)

    def listen(audio: Format, hear: Hear) -> SpeechToText:
        given = spoken_at(audio)
        sound = {"sample_rate": given.sample_rate, "encoding": given.encoding}
        heard_as = replace(stt, parameters={**stt.parameters, **sound, **ordered})
        connection = endpoint_for(heard_as, key, override)

        def client(channel: int) -> SpeechToText:
            one = SttClient(connection, partial(hear, channel=channel))
            return one if given == audio else ResampledStt(audio, one)

        clients = [client(channel) for channel in range(audio.channels)]
        return clients[0] if len(clients) == 1 else Channels(audio, clients, hear)

    connection = endpoint_for(stt, key, override)  # what is wrong shows now
    model = engines.stt_model if override and engines else connection.model
    url = connection.url.partition("?")[0]  # the rest may hold a token
    return Engine(name=planned.stt.name, url=url, model=model), listen


def _opened_by(token: Secret | None, settings: SttSettings) -> SttSettings:
    """Return the settings of connections that show ``token``, if there is one."""
    if token is None:
        return settings
    return replace(settings, parameters={**settings.parameters, "token": token.reveal()})


def mint(settings: Settings, planned: Plan) -> TokenClient:
    """Return what makes temporary tokens. Raises ``SettingsError`` where none can be had."""
    if planned.stt.name not in ("assemblyai", "custom"):
        raise SettingsError(
            f"only AssemblyAI makes temporary tokens, and speech-to-text is {planned.stt.name}"
            f" ({planned.stt.why})"
        )
    if planned.stt_key is None:
        raise SettingsError("temporary tokens are made with a key, and stt.key leads to none")
    override = planned.stt.address or None
    return TokenClient(endpoint_for(settings.stt, None, override), planned.stt_key.reveal())


def _ordered(settings: Settings, planned: Plan) -> Mapping[str, Any]:
    """Return the connection parameters that order answers in-stream, if they are wanted."""
    if planned.llm.name != "in-stream":
        return {}
    prompt = next(iter(planned.prompts.values()))
    return {"llm_gateway": in_stream_prompt.parameter(prompt, settings.llm.model)}
