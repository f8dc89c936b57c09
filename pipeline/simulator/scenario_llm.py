"""The lines of a scenario that belong to the chat-completions server. Pure."""

from typing import Any, Literal

from msgspec import Struct

How = Literal["fin", "rst"]  #: an orderly end of the TCP stream, or a reset


class LlmLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="llm"):
    """A line for the chat-completions server."""


class Answering(LlmLine, frozen=True, kw_only=True):
    """Which requests a line answers."""

    match: str | None = None  #: a piece of the last user message; case does not matter
    model: str | None = None  #: only requests for this model
    times: int | None = None  #: uses; 0: no end; default: 1, but no end with ``match``
    headers: dict[str, str] = {}  #: further response headers
    headers_ms: float = 0.0  #: from the request to the head of the answer


class CallLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool call of an answer."""

    name: str
    arguments: dict[str, Any] | str = ""
    id: str | None = None


class Cut(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body stops early, after so many tokens or bytes, whichever is first."""

    after_tokens: int | None = None
    after_bytes: int | None = None  #: of the body as it is on the wire
    #: end, reset, stay open in silence, or send comments for ever
    by: Literal["fin", "rst", "hang", "keepalive"] = "fin"


class ReplyLine(Answering, frozen=True, kw_only=True, tag="reply"):
    """An answer of the model, streamed when the request asks for it."""

    text: str | None = None  #: default: an echo of the last user message
    tokens: tuple[str, ...] | None = None  #: default: the words of ``text``
    first_token_ms: float = 0.0  #: from the head of the answer
    token_ms: float = 0.0  #: between two tokens
    token_times_ms: tuple[float, ...] | None = None  #: each token, from the head of the answer
    tool_calls: tuple[CallLine, ...] = ()
    answering_model: str | None = None  #: what ``model`` says; default: the one asked
    finish_reason: str | None = "auto"  #: auto: stop or tool_calls; null: none is sent
    usage: Literal["auto", "last", "each", "none"] = "auto"  #: auto: last when asked for
    usage_names: Literal["both", "input", "prompt"] = "both"  #: streams say prompt unless input
    done: bool = True  #: the stream ends with [DONE]
    framing: Literal["chunked", "length", "close"] = "chunked"
    newline: Literal["lf", "crlf"] = "lf"
    comments: int = 0  #: comment lines before the first token
    blank_tool_delta: bool = False  #: an empty tool-call delta comes first
    tool_id: Literal["id", "function"] = "id"  #: where the call's id is, in a stream
    tool_place: Literal["message", "choice", "spread"] = "message"  #: in a whole answer
    fragments: int = 3  #: pieces in which the arguments of a tool call arrive
    error_event: dict[str, Any] | str | None = None  #: after the tokens, in place of the end
    plain: bool = False  #: one JSON body although ``stream`` was asked for
    slice_bytes: int = 0  #: write the body in pieces of so many bytes
    cut: Cut | None = None


class ErrorLine(Answering, frozen=True, kw_only=True, tag="error"):
    """A refusal."""

    status: int = 500
    message: str = "the provider failed"
    shape: Literal["business", "nested", "authorization", "text"] = "business"
    retry_after_s: float | None = None
    internal_retry_ms: float = 0.0  #: added unless the request says fallback_config.retry false


class RawLine(Answering, frozen=True, kw_only=True, tag="raw"):
    """Any body; with ``pieces`` each is written for itself, ``piece_ms`` apart."""

    status: int = 200
    content_type: str = "text/event-stream"
    body: str = ""
    pieces: tuple[str, ...] = ()
    piece_ms: float = 0.0
    framing: Literal["chunked", "length", "close"] = "chunked"
    slice_bytes: int = 0
    cut: Cut | None = None


class HangLine(Answering, frozen=True, kw_only=True, tag="hang"):
    """The request is read and never answered."""


class DropLine(Answering, frozen=True, kw_only=True, tag="drop"):
    """The connection ends where the answer's head would come."""

    by: How = "rst"


class LimitLine(LlmLine, frozen=True, kw_only=True, tag="limit"):
    """429 past so many requests per window and model; a dropped or refused request counts."""

    requests: int = 30
    per_s: float = 60.0  #: the window, from its first request
    model: str | None = None  #: default: each model has this limit


class ServerLine(LlmLine, frozen=True, kw_only=True, tag="server"):
    """What holds for every request."""

    key: str | None = None  #: what Authorization must hold, bare or after Bearer


class ModelLine(LlmLine, frozen=True, kw_only=True, tag="model"):
    """An entry of ``GET /models``; a listed model refuses parameters that it does not list."""

    id: str
    supported_parameters: tuple[str, ...] | None = None  #: default: anything goes
    extra: dict[str, Any] = {}  #: further fields of the entry


class TranscriptLine(LlmLine, frozen=True, kw_only=True, tag="transcript"):
    """A stored transcript, for ``transcript_id``."""

    id: str
    text: str = ""
    deleted: bool = False


class RecordingLine(LlmLine, frozen=True, kw_only=True, tag="recording"):
    """What the next recording becomes that is uploaded to be stored (``/v2/transcript``)."""

    id: str | None = None  #: default: counted
    text: str = "A scripted transcript."
    queued_ms: float = 0.0  #: from when it was asked for
    processing_ms: float = 0.0  #: after that
    error: str | None = None  #: it ends so, and not with a text
    fails_at: Literal["upload", "transcript", "look"] | None = None  #: which requests are refused
    fails: int = 1  #: so many of them; -1: all
    status: int = 500
    message: str = "the service failed"


AnyAnswer = ReplyLine | ErrorLine | RawLine | HangLine | DropLine
AnyLlmLine = AnyAnswer | LimitLine | ServerLine | ModelLine | TranscriptLine | RecordingLine
