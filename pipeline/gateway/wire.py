"""Wire format of chat completions: encodes requests, decodes chunks and bodies. Pure."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgspec
from msgspec import Raw, Struct

from pipeline.errors import GatewayRefused
from pipeline.gateway.attached_messages import with_attached
from pipeline.interfaces.llm import CompletionRequest, Usage
from pipeline.runtime.json_values import decoded

#: tokens that a server may count without a byte in the request or the reply: OpenAI's longest
#: hidden reasoning has 128,000
MAX_UNSEEN_TOKENS = 200_000

#: body fields that ``CompletionRequest`` sets itself, so ``extra`` may not repeat them
RESERVED = ("model", "messages", "stream")

#: values of an ``error`` field that report none
NO_ERROR = frozenset({b"", b"null", b"false", b'""', b"{}", b"[]", b"0"})

_encode = msgspec.json.Encoder().encode


def encode_request(request: CompletionRequest, origin: str = "") -> bytes:
    """Return the body of ``POST /chat/completions``.

    ``origin`` is server and model: messages are sent with what these attached to them.
    Raises GatewayRefused when ``extra`` repeats a field or a value is not valid JSON.
    """
    messages = request.forwarded or with_attached(request.messages, origin)
    body: dict[str, Any] = {"model": request.model, "messages": messages}
    if request.stream:
        body["stream"] = True
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.extra:
        duplicates = sorted(name for name in request.extra if name in body or name in RESERVED)
        if duplicates:
            names = ", ".join(duplicates)
            raise GatewayRefused(
                f"extra sets {names}, which the request to {request.model!r} sets itself"
            )
        body.update(request.extra)
    try:
        return _encode(body)
    except (TypeError, ValueError) as cause:  # UnicodeEncodeError is a ValueError
        raise GatewayRefused(
            f"the request to {request.model!r} cannot be written as JSON: {cause}"
        ) from cause


class FunctionChunk(Struct):
    """Name and arguments of a tool call."""

    name: str | None = None
    arguments: Raw = Raw()  #: a JSON string, or (newer SDKs tolerate it) an object
    id: str | None = None  #: seen on Claude streams, AssemblyAI CLI, 2026-06


class ToolCallChunk(Struct):
    """One tool call, complete or a fragment."""

    index: int | None = None
    id: str | None = None
    function: FunctionChunk | None = None

    @property
    def call_id(self) -> str | None:
        return self.id or (self.function.id if self.function else None) or None

    @property
    def name(self) -> str | None:
        return (self.function.name if self.function else None) or None

    @property
    def arguments(self) -> str:
        """The arguments as JSON text; empty when absent."""
        raw = bytes(self.function.arguments) if self.function else b""
        if raw in (b"", b"null"):
            return ""
        if raw[:1] != b'"':
            return raw.decode("utf-8", "replace")
        try:
            return msgspec.json.decode(raw, type=str)
        except ValueError:
            return str(_lenient_json(raw))

    @property
    def is_blank(self) -> bool:
        """Whether this is the empty placeholder that starts Claude streams with tools."""
        return not (self.call_id or self.name or self.arguments)


class ChunkMessage(Struct):
    """Content of a ``delta`` or a ``message``."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallChunk] | None = None


class ChunkChoice(Struct):
    """One element of ``choices``: usually the only one, but tool calls may use several."""

    index: int | None = None
    delta: ChunkMessage | None = None
    message: ChunkMessage | None = None
    finish_reason: str | None = None
    tool_calls: list[ToolCallChunk] | None = (
        None  #: AssemblyAI API spec of 2026-03; later versions put them into the message
    )
    error: Raw = Raw()  #: OpenRouter: the provider failed in the middle of the reply

    @property
    def text(self) -> str:
        message = self.delta or self.message
        return (message.content or message.refusal or "") if message else ""

    @property
    def calls(self) -> list[ToolCallChunk]:
        message = self.delta or self.message
        return (message.tool_calls if message else None) or self.tool_calls or []


class UsageDetails(Struct):
    """Breakdown of the input tokens."""

    cached_tokens: int | None = None


class OutputDetails(Struct):
    """Breakdown of the output tokens."""

    reasoning_tokens: int | None = None


class UsageCounts(Struct):
    """Token counts, under OpenAI's names (``prompt_tokens``) or Anthropic's (``input_tokens``)."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    prompt_tokens_details: UsageDetails | None = None
    input_tokens_details: UsageDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    output_tokens_details: OutputDetails | None = None

    @property
    def has_thoughts(self) -> bool:
        """Whether some of the output tokens are reasoning."""
        details = self.completion_tokens_details or self.output_tokens_details
        return details is not None and (details.reasoning_tokens or 0) > 0

    def usage(self, *, sent: int, received: int) -> Usage | None:
        """Return the counts; None when they cannot be true: they are then estimated.

        ``sent`` and ``received``: bytes of request and reply. A token has one byte at least, but
        hidden reasoning, images and stored transcripts have none in either.
        """
        details = self.prompt_tokens_details or self.input_tokens_details
        asked = _first(self.input_tokens, self.prompt_tokens)
        said = _first(self.output_tokens, self.completion_tokens)
        if asked is None or not 0 <= asked <= max(sent, MAX_UNSEEN_TOKENS):
            return None
        if said is None or not 0 <= said <= max(received, MAX_UNSEEN_TOKENS):
            return None
        cached = (details.cached_tokens if details else None) or 0
        return Usage(asked, said, cached_tokens=min(max(cached, 0), asked))


class CompletionChunk(Struct):
    """One chunk of a stream, or the complete body of a response that is not streamed."""

    id: str | None = None
    request_id: str | None = None
    model: str | None = None
    choices: list[ChunkChoice] | None = None
    usage: UsageCounts | None = None
    error: Raw = Raw()
    message: str | None = None  #: of an error in the gateway's newer format
    code: int | str | None = None

    @property
    def is_error(self) -> bool:
        error = bytes(self.error)
        if error not in NO_ERROR or (error not in (b"", b"null") and not self.choices):
            return True
        return not self.choices and self.usage is None and self.message is not None

    @property
    def is_foreign(self) -> bool:
        """Whether nothing in it belongs to a completion."""
        known = (self.usage, self.id, self.model)
        return not self.choices and all(each is None for each in known)


_decode = msgspec.json.Decoder(CompletionChunk).decode


def decode_chunk(payload: bytes) -> CompletionChunk:
    """Decode one chunk or body; raises ValueError when it is not a JSON object.

    The typed decoder is tried first. A chunk with a field of an unexpected type, or with
    invalid UTF-8, is decoded again leniently, so that one such field does not lose the reply.
    """
    try:
        try:
            chunk = _decode(payload)
            if not chunk.is_error:
                return chunk
            found = _lenient_json(payload)  # its text is shown, and may be no UTF-8
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = _lenient_json(payload)
    except RecursionError as cause:
        raise ValueError("nested too deeply") from cause
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - the received text is wrong
    return _lenient_chunk(cast("dict[str, Any]", found))


def _first(*numbers: int | None) -> int | None:
    return next((number for number in numbers if number is not None), None)


# --- lenient decoding: a value of an unexpected type counts as absent -------------------------


def _lenient_json(payload: bytes) -> Any:
    return decoded(payload.decode("utf-8", "replace"))


def _lenient_chunk(found: Mapping[str, Any]) -> CompletionChunk:
    error = found.get("error")
    code = found.get("code")
    return CompletionChunk(
        id=_text(found.get("id")),
        request_id=_text(found.get("request_id")),
        model=_text(found.get("model")),
        choices=[_lenient_choice(choice) for choice in _objects(found.get("choices"))],
        usage=_lenient_counts(found.get("usage")),
        error=Raw() if error is None else Raw(_encode(error)),
        message=_text(found.get("message")),
        code=code if isinstance(code, int | str) else None,
    )


def _lenient_choice(found: Mapping[str, Any]) -> ChunkChoice:
    return ChunkChoice(
        index=_number(found.get("index")),
        delta=_lenient_message(found.get("delta")),
        message=_lenient_message(found.get("message")),
        finish_reason=_finish_reason(found.get("finish_reason")),
        error=Raw(_encode(found["error"])) if found.get("error") else Raw(),
        tool_calls=[_lenient_call(call) for call in _objects(found.get("tool_calls"))],
    )


def _lenient_message(found: Any) -> ChunkMessage | None:
    if isinstance(found, str):
        return ChunkMessage(content=found)
    if not isinstance(found, dict):
        return None
    fields = cast("dict[str, Any]", found)
    return ChunkMessage(
        content=_content(fields.get("content")),
        refusal=_text(fields.get("refusal")),
        tool_calls=[_lenient_call(call) for call in _objects(fields.get("tool_calls"))],
    )


def _lenient_call(found: Mapping[str, Any]) -> ToolCallChunk:
    function = next(_objects([found.get("function")]), None)
    return ToolCallChunk(
        index=_number(found.get("index")),
        id=_text(found.get("id")),
        function=None
        if function is None
        else FunctionChunk(
            name=_text(function.get("name")),
            arguments=Raw(_encode(function.get("arguments"))),
            id=_text(function.get("id")),
        ),
    )


def _lenient_counts(found: Any) -> UsageCounts | None:
    if not isinstance(found, dict):
        return None
    fields = cast("dict[str, Any]", found)

    def details(name: str) -> UsageDetails | None:
        inner = next(_objects([fields.get(name)]), None)
        return UsageDetails(_number(inner.get("cached_tokens"))) if inner else None

    def output(name: str) -> OutputDetails | None:
        inner = next(_objects([fields.get(name)]), None)
        return OutputDetails(_number(inner.get("reasoning_tokens"))) if inner else None

    return UsageCounts(
        prompt_tokens=_number(fields.get("prompt_tokens")),
        completion_tokens=_number(fields.get("completion_tokens")),
        input_tokens=_number(fields.get("input_tokens")),
        output_tokens=_number(fields.get("output_tokens")),
        prompt_tokens_details=details("prompt_tokens_details"),
        input_tokens_details=details("input_tokens_details"),
        completion_tokens_details=output("completion_tokens_details"),
        output_tokens_details=output("output_tokens_details"),
    )


def _objects(found: Any) -> Iterator[Mapping[str, Any]]:
    items = cast("list[object]", found) if isinstance(found, list) else []
    return (cast("dict[str, Any]", item) for item in items if isinstance(item, dict))


def _content(found: Any) -> str | None:
    """Return a string, or the joined text of ``{"type": "text", "text": ...}`` parts."""
    if isinstance(found, list):
        parts = [_text(part.get("text")) for part in _objects(found)]
        return "".join(part for part in parts if part)
    return _text(found)


def _finish_reason(found: Any) -> str | None:
    """Return a string, or the ``type`` of an object, as SGLang's own API has it."""
    if isinstance(found, dict):
        found = cast("dict[str, Any]", found).get("type")
    return _text(found)


def _text(found: Any) -> str | None:
    return found if isinstance(found, str) else None


def _number(found: Any) -> int | None:
    if isinstance(found, float):
        return int(found) if math.isfinite(found) else None
    if isinstance(found, str) and found.isdecimal() and len(found) < 16:
        return int(found)
    return found if isinstance(found, int) and not isinstance(found, bool) else None
