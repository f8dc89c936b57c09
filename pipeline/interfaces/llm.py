"""Language model requests and replies. Values only.

``responses`` decides on a ``CompletionRequest``; ``gateway`` sends it and returns pieces of the
reply. Neither imports the other.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol

from msgspec import Struct


class FunctionCall(Struct, frozen=True):
    """Function name and arguments of a tool call."""

    name: str
    arguments: str  #: JSON text, as the model wrote it


class ToolCall(Struct, frozen=True):
    """One tool call in an assistant message; its result refers to its ``id``."""

    id: str
    function: FunctionCall
    type: str = "function"


class Attached(Struct, frozen=True):
    """Fields that a server attached to its message, for its own next requests."""

    origin: str  #: server and model; no other ones are sent them
    fields: Mapping[str, Any] = {}
    #: of tool calls, by our id of the call; ``id`` is the server's own where it is another
    calls: Mapping[str, Mapping[str, Any]] = {}


class Message(Struct, frozen=True, omit_defaults=True):
    """One chat message. Content is a string: lists got an opaque 500 (AssemblyAI CLI, 2026-06)."""

    role: str
    content: str | None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    attached: Attached | None = None  #: of an assistant message


#: how JSON is requested: by a schema, by ``json_object`` and the instructions, by a forced tool
#: call, by the instructions alone
JsonMode = Literal["response_format", "json_object", "tool", "prompt"]


class CompletionRequest(Struct, frozen=True, kw_only=True):
    """One request to one model. Unset parameters are omitted on the wire."""

    model: str
    messages: tuple[Message, ...]
    stream: bool = True
    max_tokens: int | None = None
    temperature: float | None = None
    id: str = ""  #: response id, for the request log; never sent
    session_id: str = ""  #: for the request log; never sent
    token_name: str = ""  #: of an HTTP caller's token, for the request log; never sent
    turns: tuple[int, ...] = ()  #: turns of the response; never sent
    headers: Mapping[str, str] = {}  #: additional HTTP headers: W3C trace context
    #: the messages as an HTTP client sent them, sent instead of ``messages``: they may hold fields
    #: and content parts that ``Message`` has no place for
    forwarded: tuple[Mapping[str, Any], ...] = ()
    omit: tuple[str, ...] = ()  #: fields of the body that are not sent
    #: all other fields of the body, in wire format
    extra: Mapping[str, Any] = {}
    #: returns the request with JSON requested in the given mode
    with_json_mode: Callable[["CompletionRequest", JsonMode], "CompletionRequest"] | None = None


class RateLimit(Struct, frozen=True):
    """Values of the ``x-ratelimit-*`` headers."""

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None  #: seconds from now


class Usage(Struct, frozen=True):
    """Tokens spent on one reply."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    estimated: bool = False  #: estimated by us, because the provider sent no counts


CHARACTERS_PER_TOKEN = 4  #: the usual rule of thumb, for replies without token counts


def estimate(request: CompletionRequest, said: int) -> Usage:
    """Return the estimated usage of a request with a reply of ``said`` characters."""
    asked = sum(len(message.content or "") for message in request.messages)
    return Usage(
        input_tokens=-(-asked // CHARACTERS_PER_TOKEN),
        output_tokens=-(-said // CHARACTERS_PER_TOKEN),
        estimated=True,
    )


class Prices(Struct, frozen=True):
    """USD per million tokens of one model."""

    prompt: float
    completions: float
    cached: float | None = None  #: for prompt tokens read from a cache

    def cost(self, usage: Usage) -> float:
        """Return USD; cached tokens are part of the input tokens."""
        cached_price = self.prompt if self.cached is None else self.cached
        fresh = max(0, usage.input_tokens - usage.cached_tokens)
        spent = fresh * self.prompt + usage.cached_tokens * cached_price
        return (spent + usage.output_tokens * self.completions) / 1_000_000

    def times(self, factor: float) -> "Prices":
        cached = None if self.cached is None else self.cached * factor
        return Prices(self.prompt * factor, self.completions * factor, cached)


# --- pieces of a reply, in this order: Accepted, then deltas, then Finished ------------------


class Accepted(Struct, frozen=True):
    """The response headers have arrived."""

    request_id: str | None = None
    rate: RateLimit | None = None
    host: str = ""
    prices: Prices | None = None  #: of the requested model, if known


class TextDelta(Struct, frozen=True):
    """More of the reply's text."""

    text: str


class ToolCallDelta(Struct, frozen=True):
    """More of one tool call; ``arguments`` of equal ``index`` are concatenated."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    fields: Mapping[str, Any] = {}  #: that the server attached; see ``Attached``


#: how a reply ended, by its finish reason: as the model wanted, at a limit of tokens, cut by a
#: content filter, or by an error of the server
Ending = Literal["whole", "limit", "filtered", "failed"]


class Finished(Struct, frozen=True):
    """End of the reply: always the last piece of a complete reply."""

    reason: str | None  #: in the provider's vocabulary: stop, end_turn, length, tool_use, ...
    complete: bool  #: whether there was a finish reason; without one the stream was cut off
    usage: Usage | None = None
    model: str | None = None  #: the model that answered, if the reply names it
    request_id: str | None = None
    prices: Prices | None = None  #: of the model that answered, if known
    ending: Ending = "whole"  #: what ``reason`` means
    attached: Attached | None = None  #: without the fields of tool calls, which came with these
    thought: bool = False  #: the server sent thoughts beside the text, or counted their tokens


Piece = Accepted | TextDelta | ToolCallDelta | Finished


class Reply(AbstractAsyncContextManager["Reply"], Protocol):
    """One reply in progress: entering sends the request, leaving closes the connection."""

    def begin(self) -> None:
        """Send the request at once if that needs no waiting.

        Otherwise entering sends it, and raises the errors. A reply that was begun must be entered
        and left.
        """
        ...

    @property
    def sent(self) -> bool:
        """Whether the request has been sent."""
        ...

    @property
    def streams(self) -> bool:
        """Whether the reply is streamed; else it arrives as a whole."""
        ...

    async def receive(self) -> Sequence[Piece]:
        """Return the pieces of the next read: one or more; empty at the end.

        Raises a ``GatewayError``.
        """
        ...

    def drop(self) -> None:
        """Close the connection at once, if there is one.

        For the code that has just cancelled the receiving task: that task would close it later.
        """
        ...

    def commit(self) -> None:
        """Mark a speculative reply as adopted: its connection slot is no longer preemptible."""
        ...


class Verdict(Struct, frozen=True):
    """Result of the validation of a JSON reply."""

    value: Any = None
    error: str | None = None  #: why the text is not a valid value


class JsonReader(Protocol):
    """Reads JSON while it streams."""

    def feed(self, text: str) -> bool:
        """Add text; return whether the value so far has grown."""
        ...

    def value(self) -> Any:
        """Return the value so far; complete parts of it never change."""
        ...


class Form(Protocol):
    """Required output format of a prompt's replies."""

    def apply(self, request: CompletionRequest) -> CompletionRequest:
        """Return ``request`` with the output format added in the mode that the model supports."""
        ...

    def reader(self) -> JsonReader: ...

    def validate(self, text: str, reader: JsonReader) -> Verdict:
        """Validate a whole reply, whose partial values ``reader`` has returned."""
        ...

    def retry_request(
        self, request: CompletionRequest, text: str, error: str, tries: int
    ) -> CompletionRequest | None:
        """Return the next request after ``tries`` invalid replies; none: give up."""
        ...


class Gateway(Protocol):
    """Interface of the gateway for ``responses.dispatch``; ``gateway.client`` satisfies it."""

    def open(self, request: CompletionRequest, *, speculative: bool = False) -> Reply:
        """Return the reply to ``request``. Entering it returns once the request is sent.

        A speculative request yields its slot to a committed one when connections run out, and
        then raises ``GatewayBusy``. Leaving before the end of the reply closes the connection:
        the only way to cancel. Entering raises a ``GatewayError`` if the request cannot be sent.
        """
        ...

    async def warm(self) -> None:
        """Open a spare connection if none is idle, so that the next request needs no handshake."""
        ...


__all__ = [
    "Accepted",
    "Attached",
    "CompletionRequest",
    "Ending",
    "Finished",
    "Form",
    "FunctionCall",
    "Gateway",
    "JsonReader",
    "Message",
    "Piece",
    "Prices",
    "RateLimit",
    "Reply",
    "TextDelta",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
    "Verdict",
    "estimate",
]
