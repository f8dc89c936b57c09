"""Chat completions on behalf of an HTTP caller: the call, its limits, the models. Values only."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from pipeline.interfaces.llm import CompletionRequest, Prices, Reply

ConversationPolicy = Literal["supersede", "queue", "parallel", "conflate"]


class CallerLimits(Struct, frozen=True, kw_only=True):
    """Spending limits of one token. 0 is no limit."""

    requests_per_minute: int = 0
    requests_per_day: int = 0
    tokens_per_minute: int = 0  #: input and output together
    tokens_per_day: int = 0
    usd_per_minute: float = 0.0
    usd_per_day: float = 0.0


class Caller(Struct, frozen=True, kw_only=True):
    """The holder of a token, as far as completions are concerned."""

    name: str = ""  #: empty where tokens are not required
    models: tuple[str, ...] = ()  #: patterns such as ``gpt-*``; empty: every model
    limits: CallerLimits = CallerLimits()
    sessions: str = ""  #: the session whose transcript it may use; "*" is every one

    def may_read(self, session_id: str) -> bool:
        """Return whether the transcript of ``session_id`` may be put into a request."""
        return self.sessions in ("*", session_id)


class CompletionCall(Struct, frozen=True, kw_only=True):
    """One completion that a caller requests.

    ``request.extra`` holds the body's other fields, AssemblyAI's extensions among them.
    """

    request: CompletionRequest
    caller: Caller = Caller()
    conversation: str = ""  #: a later call of the same conversation may supersede this one
    policy: ConversationPolicy = "supersede"
    speculative: bool = False  #: gives way to committed calls
    share: bool = False  #: may share the upstream call of an identical one in flight


class ModelEntry(Struct, frozen=True, kw_only=True):
    """One model that can be requested."""

    id: str
    name: str = ""
    owned_by: str = ""
    context_length: int | None = None  #: tokens
    supported_parameters: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    prices: Mapping[str, Prices] = {}  #: by region; "" for a provider with one price


class Completions(Protocol):
    """Language models behind one address; a room of the gateway provides it."""

    def open(self, call: CompletionCall) -> Reply:
        """Return the reply to ``call``, to be entered; see ``interfaces.llm.Gateway``.

        Raises ``GatewayRefused`` for a call that cannot be sent to any model.
        """
        ...

    async def models(self) -> Sequence[ModelEntry]:
        """Return the models that can be requested. Raises a ``GatewayError``."""
        ...
