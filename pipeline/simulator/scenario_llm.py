"""Scenario lines of the chat-completions server. Pure."""

from typing import Any, Literal

from msgspec import Struct

TcpEnd = Literal["fin", "rst"]  #: an orderly end of the TCP stream, or a reset


class LlmLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="llm"):
    """A line for the chat-completions server."""


class Answering(LlmLine, frozen=True, kw_only=True):
    """Conditions of a line that answers requests."""

    match: str | None = None  #: part of the last user message, without regard to case
    model: str | None = None  #: only requests for this model
    times: int | None = None  #: uses; 0: unlimited; default: 1, but unlimited with ``match``
    headers: dict[str, str] = {}  #: additional response headers
    headers_ms: float = 0.0  #: from the request to the head of the response


class CallLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool call of a reply."""

    name: str
    arguments: dict[str, Any] | str = ""
    id: str | None = None


class Cut(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Early end of the body, after a number of tokens or bytes, whichever is first."""

    after_tokens: int | None = None
    after_bytes: int | None = None  #: of the body as it is on the wire
    #: close, reset, send nothing more, or send comments until the client closes
    by: Literal["fin", "rst", "hang", "keepalive"] = "fin"


class ReplyLine(Answering, frozen=True, kw_only=True, tag="reply"):
    """A reply of the model, streamed when the request sets ``stream``."""

    text: str | None = None  #: default: an echo of the last user message
    tokens: tuple[str, ...] | None = None  #: default: the words of ``text``
    first_token_ms: float = 0.0  #: from the head of the response
    token_ms: float = 0.0  #: between two tokens
    token_times_ms: tuple[float, ...] | None = None  #: each token, from the head of the response
    tool_calls: tuple[CallLine, ...] = ()
    answering_model: str | None = None  #: ``model`` of the reply; default: that of the request
    finish_reason: str | None = "auto"  #: auto: stop or tool_calls; null: none is sent
    usage: Literal["auto", "last", "each", "none"] = "auto"  #: auto: last when requested
    usage_names: Literal["both", "input", "prompt"] = "both"  #: streams use prompt unless input
    done: bool = True  #: the stream ends with [DONE]
    framing: Literal["chunked", "length", "close"] = "chunked"
    newline: Literal["lf", "crlf"] = "lf"
    comments: int = 0  #: comment lines before the first token
    blank_tool_delta: bool = False  #: an empty tool-call delta comes first
    tool_id: Literal["id", "function"] = "id"  #: position of the call's id, in a stream
    tool_place: Literal["message", "choice", "spread"] = "message"  #: in a reply not streamed
    fragments: int = 3  #: pieces of the arguments of a tool call
    error_event: dict[str, Any] | str | None = None  #: after the tokens, in place of the end
    plain: bool = False  #: one JSON body although the request sets ``stream``
    slice_bytes: int = 0  #: write the body in pieces of this size
    cut: Cut | None = None


class ErrorLine(Answering, frozen=True, kw_only=True, tag="error"):
    """An error response."""

    status: int = 500
    message: str = "the provider failed"
    shape: Literal["business", "nested", "authorization", "text"] = "business"
    retry_after_s: float | None = None
    internal_retry_ms: float = 0.0  #: added unless the request sets fallback_config.retry to false


class RawLine(Answering, frozen=True, kw_only=True, tag="raw"):
    """Any body; with ``pieces`` each is written separately, ``piece_ms`` apart."""

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
    """The connection ends before the head of the response."""

    by: TcpEnd = "rst"


class LimitLine(LlmLine, frozen=True, kw_only=True, tag="limit"):
    """Rate limit per window and model: 429 above it; dropped and refused requests count."""

    requests: int = 30
    per_s: float = 60.0  #: the window, from its first request
    model: str | None = None  #: default: each model has this limit


class ServerLine(LlmLine, frozen=True, kw_only=True, tag="server"):
    """Settings for every request."""

    key: str | None = None  #: the required Authorization, bare or after Bearer


class ModelLine(LlmLine, frozen=True, kw_only=True, tag="model"):
    """An entry of ``GET /models``; a listed model refuses parameters that it does not list."""

    id: str
    supported_parameters: tuple[str, ...] | None = None  #: default: all
    extra: dict[str, Any] = {}  #: additional fields of the entry


class TranscriptLine(LlmLine, frozen=True, kw_only=True, tag="transcript"):
    """A stored transcript, for ``transcript_id``."""

    id: str
    text: str = ""
    deleted: bool = False


class RecordingLine(LlmLine, frozen=True, kw_only=True, tag="recording"):
    """Transcript of the next uploaded recording (``/v2/transcript``)."""

    id: str | None = None  #: default: counted
    text: str = "A scripted transcript."
    queued_ms: float = 0.0  #: in status queued, from the transcript request
    processing_ms: float = 0.0  #: in status processing, after that
    error: str | None = None  #: ends in status error with this text
    fails_at: Literal["upload", "transcript", "look"] | None = None  #: requests that are refused
    fails: int = 1  #: number of refused requests; -1: all
    status: int = 500
    message: str = "the service failed"


AnyAnswer = ReplyLine | ErrorLine | RawLine | HangLine | DropLine
AnyLlmLine = AnyAnswer | LimitLine | ServerLine | ModelLine | TranscriptLine | RecordingLine
