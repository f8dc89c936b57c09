"""Completions for HTTP callers, over the language models and sessions of this process."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from anyio.abc import TaskGroup

from pipeline import __version__
from pipeline.app.llm_clients import LanguageModel
from pipeline.app.plan import Plan
from pipeline.config.settings import GatewaySettings, Settings
from pipeline.errors import GatewayRefused
from pipeline.gateway.attempts import Target
from pipeline.gateway.catalog import Model
from pipeline.gateway.conversation_replies import ConversationCompletions
from pipeline.gateway.service import GatewayService
from pipeline.gateway.transcript_client import TranscriptClient
from pipeline.http_api.completions import CompletionEndpoint, CompletionLimits
from pipeline.http_api.endpoints import endpoints
from pipeline.http_api.models import ModelsEndpoint
from pipeline.hub.endpoints import wall_clock
from pipeline.hub.fanout import Topics
from pipeline.interfaces.completions import Caller, Completions, ModelEntry
from pipeline.interfaces.http import Endpoint

DEFAULT_MODEL = "default"  #: stands for the engine's own model


class ModelRouter:
    """Routes every model to the servers of the settings. Satisfies ``gateway.service.Router``."""

    def __init__(self, llm: LanguageModel) -> None:
        self._llm = llm

    def targets(self, model: str) -> Sequence[Target]:
        """Return the servers to ask, in order. Raises ``GatewayRefused`` for an unknown model."""
        first, *others = self._llm.gateway.targets
        named = (self._llm.engine.model or model) if model == DEFAULT_MODEL else model
        if self._llm.lacks(named):
            failure = GatewayRefused(
                f"there is no model {model!r} here; GET /v1/models lists those there are",
                status=404,
            )
            failure.param = "model"
            raise failure
        return [replace(first, model=named), *others]

    async def models(self) -> Sequence[ModelEntry]:
        """Return the first server's models. Raises a ``GatewayError``."""
        catalog = await self._llm.catalog()
        return [_entry(model) for model in catalog.models.values()]


def _entry(model: Model) -> ModelEntry:
    return ModelEntry(
        id=model.id,
        name=model.name,
        owned_by=model.creator,
        context_length=model.context_length,
        supported_parameters=tuple(model.supported),
        regions=model.regions,
        prices=model.prices,
    )


class SessionTranscripts:
    """Texts for ``{{ transcript }}``. Satisfies ``gateway.service.TranscriptLookup``."""

    def __init__(self, topics: Topics, client: TranscriptClient | None) -> None:
        self._topics = topics
        self._client = client

    async def of_session(self, caller: Caller, session_id: str) -> str | None:
        """Return the newest turns of a session that ``caller`` may read."""
        topic = self._topics.get(session_id) if caller.may_read(session_id) else None
        if topic is None:
            return None
        return "\n".join(turn.text for turn in topic.log.state().turns)

    async def stored(self, transcript_id: str) -> str | None:
        """Return the text of a transcript stored at AssemblyAI. Raises a ``GatewayError``."""
        return None if self._client is None else await self._client.text(transcript_id)


def completions_of(
    llm: LanguageModel, topics: Topics, transcripts: TranscriptClient | None, tasks: TaskGroup
) -> Completions:
    """Return the completions that ``llm`` serves; calls of conversations run in ``tasks``."""
    texts = SessionTranscripts(topics, transcripts)
    service = GatewayService(ModelRouter(llm), llm.gateway.provider_state, texts)
    return ConversationCompletions(service, tasks)


def transcript_client(settings: Settings, planned: Plan) -> TranscriptClient | None:
    """Return the reader of transcripts stored at AssemblyAI; None without a key for it."""
    key = planned.llm_key.reveal() if planned.llm_key is not None else ""
    if settings.stored.url:
        return TranscriptClient(settings.stored.url, key)
    if planned.llm.name != "assemblyai" or not key:
        return None
    host = "api.eu" if settings.llm.region == "eu" else "api"
    return TranscriptClient(f"https://{host}.assemblyai.com", key)


def endpoints_of(completions: Completions | None, settings: GatewaySettings) -> Sequence[Endpoint]:
    """Return the HTTP API over ``completions``; nothing without any."""
    if completions is None:
        return ()
    limits = CompletionLimits(
        first_token=settings.first_token_timeout,
        total=settings.total_timeout,
        in_flight=settings.max_requests,
    )
    completion = CompletionEndpoint(completions, limits, wall_clock=wall_clock, new_id=_new_id)
    models = ModelsEndpoint(completions, new_id=_new_id)
    return endpoints(completion, models, version=__version__, new_id=_new_id)


def _new_id() -> str:
    return str(uuid4())
