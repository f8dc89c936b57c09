"""What is asked of a language model and what comes back. Values only.

``responses`` decides on a ``CompletionRequest``; ``gateway`` carries it out and hands back
pieces. Neither knows the other.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol

from msgspec import Struct


class FunctionCall(Struct, frozen=True):
    """What a model wants called."""

    name: str
    arguments: str  #: JSON text, as the model wrote it


class ToolCall(Struct, frozen=True):
    """One call in an assistant's message; the answer refers to its ``id``."""

    id: str
    function: FunctionCall
    type: str = "function"


class Message(Struct, frozen=True, omit_defaults=True):
    """One chat message. Content is a string: lists met an opaque 500 (AssemblyAI CLI, 2026-06)."""

    role: str
    content: str | None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


#: how a model is asked for JSON: by its parameter, by a tool it must call, by words alone
JsonMode = Literal["response_format", "tool", "prompt"]


class CompletionRequest(Struct, frozen=True, kw_only=True):
    """One call of one model. Unset parameters are left out on the wire."""

    model: str
    messages: tuple[Message, ...]
    stream: bool = True
    max_tokens: int | None = None
    temperature: float | None = None
    id: str = ""  #: ours, for the request log; never sent
    session_id: str = ""  #: likewise
    turns: tuple[int, ...] = ()  #: which it answers; never sent
    headers: Mapping[str, str] = {}  #: sent beside those of every request: W3C trace context
    #: everything else of the body, already in the wire's words
    extra: Mapping[str, Any] = {}
    #: returns the request for a model that is asked for JSON in the way that is named
    recast: Callable[["CompletionRequest", JsonMode], "CompletionRequest"] | None = None


class RateLimit(Struct, frozen=True):
    """What ``x-ratelimit-*`` said."""

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None  #: seconds from now


class Usage(Struct, frozen=True):
    """Tokens spent on one reply."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    estimated: bool = False  #: counted by us, because the provider did not say


CHARACTERS_PER_TOKEN = 4  #: the usual rule of thumb, for what the provider did not count


def estimate(request: CompletionRequest, said: int) -> Usage:
    """Return what a call must have spent, when ``said`` characters were answered."""
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
    cached: float | None = None  #: of the prompt, read from a cache

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
    """The head of the answer is here."""

    request_id: str | None = None
    rate: RateLimit | None = None
    host: str = ""
    prices: Prices | None = None  #: of the model that was asked, if they are known


class TextDelta(Struct, frozen=True):
    """More of the answer's text."""

    text: str


class ToolCallDelta(Struct, frozen=True):
    """More of one tool call; ``arguments`` are to be joined by ``index``."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class Finished(Struct, frozen=True):
    """The reply is over. Always the last piece of a reply that was not cut."""

    reason: str | None  #: the provider's own word: stop, end_turn, length, tool_use, ...
    complete: bool  #: there was a finish reason; without one the stream was cut off
    usage: Usage | None = None
    model: str | None = None  #: who answered, where the reply says so
    request_id: str | None = None
    prices: Prices | None = None  #: of the model that answered, if they are known


Piece = Accepted | TextDelta | ToolCallDelta | Finished


class Reply(AbstractAsyncContextManager["Reply"], Protocol):
    """One answer on its way; entered to be sent, left to be closed."""

    def begin(self) -> None:
        """Send the request there and then if nothing has to be waited for.

        Otherwise entering sends it, and raises whatever is wrong. A reply that was begun must be
        entered and left.
        """
        ...

    @property
    def sent(self) -> bool:
        """Whether the request has left."""
        ...

    @property
    def streams(self) -> bool:
        """Whether the answer is asked for piece by piece; else all of it is waited for."""
        ...

    async def receive(self) -> Sequence[Piece]:
        """Return what the next read brought: one or more pieces; empty once it is over.

        Raises a ``GatewayError``.
        """
        ...

    def drop(self) -> None:
        """Close the connection there and then, if there is one.

        For whoever has just cancelled the task that receives: that task would do it, but later.
        """
        ...

    def commit(self) -> None:
        """A speculative reply was adopted: nobody may take its place in line any more."""
        ...


class Verdict(Struct, frozen=True):
    """What became of a reply that had to be JSON."""

    value: Any = None
    error: str | None = None  #: why the text is no such value


class JsonReader(Protocol):
    """Reads JSON while it streams."""

    def feed(self, text: str) -> bool:
        """Take more text; return whether there is more to show."""
        ...

    def value(self) -> Any:
        """Return the value so far; what was once whole in it never changes."""
        ...


class Form(Protocol):
    """What a prompt's replies must look like."""

    def ask(self, request: CompletionRequest) -> CompletionRequest:
        """Return ``request``, asking for the form in the way the model understands."""
        ...

    def reader(self) -> JsonReader: ...

    def judge(self, text: str, reader: JsonReader) -> Verdict:
        """Judge a whole reply of which ``reader`` has shown what it read."""
        ...

    def ask_again(
        self, request: CompletionRequest, text: str, error: str, tries: int
    ) -> CompletionRequest | None:
        """Return the request to make after ``tries`` replies that failed; none: give up."""
        ...


class Gateway(Protocol):
    """What ``responses.dispatch`` needs of a gateway; ``gateway.client`` satisfies it."""

    def open(self, request: CompletionRequest, *, speculative: bool = False) -> Reply:
        """Return the reply to ``request``. Entering it returns once the request is written.

        A speculative one gives way to a committed one when connections run out, and then
        raises ``GatewayBusy``. Leaving before the reply is over drops the connection, for that
        is the only way to cancel. Entering raises a ``GatewayError`` when nothing can be sent.
        """
        ...

    async def warm(self) -> None:
        """Open a spare connection if none is idle, so that the next request pays no handshake."""
        ...


__all__ = [
    "Accepted",
    "CompletionRequest",
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
