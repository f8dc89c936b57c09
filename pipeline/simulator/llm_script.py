"""Scripted chat-completion responses: a request goes in, timed bytes come out. Pure.

Formats, statuses and texts follow AssemblyAI's LLM Gateway documentation and the OpenAPI file
in ``AssemblyAI/assemblyai-api-spec``, read 2026-11.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from hmac import compare_digest
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.validation import Tree, is_list, is_table
from pipeline.simulator.completion_bodies import TimedBytes, messages_of, refusal, streamed, whole
from pipeline.simulator.scenario import Scenario
from pipeline.simulator.scenario_llm import (
    AnyAnswer,
    DropLine,
    ErrorLine,
    HangLine,
    LimitLine,
    ModelLine,
    RawLine,
    RecordingLine,
    ReplyLine,
    ServerLine,
    TranscriptLine,
)
from pipeline.simulator.stored_transcripts import TranscriptStore

TAG = "{{ transcript }}"
#: body fields that a listed model refuses unless it lists them
GATED = ("tools", "tool_choice", "response_format")


class ScriptedReply(Struct, frozen=True):
    """Response to one request, and the end of its connection."""

    status: int  #: 0: no head is sent
    pieces: Iterable[TimedBytes] = ()  #: iterated once
    length: int = 0  #: content-length in bytes, with framing "length"
    headers: Mapping[str, str] = {}
    head_at: float = 0.0  #: seconds after the request
    framing: str = "chunked"
    ending: str = "keep"  #: keep (the connection), fin, rst, hang, keepalive
    after_bytes: int | None = None  #: the body ends after this number of bytes on the wire
    slice_bytes: int = 0
    line: AnyAnswer | None = None  #: the scenario's line; None: a default or a refusal


class ParsedRequest(Struct, frozen=True):
    """The parts of a request that decide its response."""

    method: str
    path: str
    headers: Mapping[str, str]  #: names in lower case
    body: Any  #: the JSON value; None when there was none
    number: int  #: from 1


class LlmScript:
    """Responses of one scenario. Its only state is the count of uses and of rates."""

    def __init__(self, scenario: Scenario) -> None:
        lines = scenario.llm
        self._lines = [line for line in lines if isinstance(line, AnyAnswer)]
        self._uses = [0] * len(self._lines)
        self._limits = [line for line in lines if isinstance(line, LimitLine)]
        self._models = [line for line in lines if isinstance(line, ModelLine)]
        self._transcripts = {line.id: line for line in lines if isinstance(line, TranscriptLine)}
        self._store = TranscriptStore([line for line in lines if isinstance(line, RecordingLine)])
        keys = [line.key for line in lines if isinstance(line, ServerLine)]
        self._key = keys[-1] if keys else None
        self._windows: dict[str, tuple[float, int]] = {}

    def answer(self, request: ParsedRequest, now: float) -> ScriptedReply:
        """Return the response to a request that arrived at ``now``, in seconds."""
        path = request.path.split("?")[0]
        if path.startswith("/v2/"):
            return self._stored(request, path, now)
        if request.method == "GET" and path.endswith("/models"):
            return self._catalog()
        if request.method != "POST" or not path.endswith("/chat/completions"):
            return _refuse(request, 404, "unknown endpoint")
        if refused := self._unauthorized(request):
            return refused
        body = request.body
        if not is_table(body):
            return _refuse(request, 400, "invalid request body")
        if problem := self._invalid(body):
            return _refuse(request, *problem)
        rate, refused = self._rate(request, str(body.get("model", "")), now)
        if refused:
            return refused
        body = self._with_transcript(body)
        model, line = self._choose(body)
        return _answer(request, body, model, line, rate)

    def _stored(self, request: ParsedRequest, path: str, now: float) -> ScriptedReply:
        """Return the response of the API for recordings."""
        if refused := self._unauthorized(request):
            return refused
        reply = self._store.answer(request.method, path, request.body, now)
        return _refuse(request, 404, "unknown endpoint") if reply is None else _json(*reply)

    # --- refusals --------------------------------------------------------------------------

    def _unauthorized(self, request: ParsedRequest) -> ScriptedReply | None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._key is None or compare_digest(given.encode(), self._key.encode()):
            return None
        text = (
            "Authentication error, API token missing/invalid"
            if given
            else "Please upgrade your account to access the LLM Gateway"
        )
        return _refuse(request, 401, text, shape="authorization")

    def _invalid(self, body: Tree) -> tuple[int, str] | None:
        if not body.get("messages") and not body.get("prompt"):
            return 400, "one of messages or prompt required"
        if body.get("model_region") not in (None, "global"):
            return 400, "model_region can only be set to global"
        if _fallback(body, "depth", 1) > 2:
            return 400, "fallback_config depth cannot be greater than 2"
        if "transcript_id" in body:
            key = body["transcript_id"]
            if key in self._transcripts and self._transcripts[key].deleted:
                return 404, "transcript deleted"
            if self._text_of(key) is None:
                return 404, "transcript not found"
        return self._unsupported(body)

    def _text_of(self, transcript: str) -> str | None:
        known = self._transcripts.get(transcript)
        return known.text if known else self._store.text_of(transcript)

    def _unsupported(self, body: Tree) -> tuple[int, str] | None:
        model = str(body.get("model", ""))
        if not self._models:
            return None
        entry = next((entry for entry in self._models if entry.id == model), None)
        if entry is None:
            return 400, f"model {model} is not supported"
        can = entry.supported_parameters
        for name in GATED if can is not None else ():
            if name in body and name not in (can or ()):
                return 400, f"model {model} does not support {name}"
        return None

    def _rate(
        self, request: ParsedRequest, model: str, now: float
    ) -> tuple[dict[str, str], ScriptedReply | None]:
        """Count the request; return the rate headers, and a refusal above the limit."""
        limit = next((line for line in self._limits if line.model in (None, model)), None)
        if limit is None:
            return {}, None
        start, count = self._windows.get(model, (now, 0))
        if now >= start + limit.per_s:
            start, count = now, 0
        self._windows[model] = (start, count + 1)
        left = max(1, math.ceil(start + limit.per_s - now))
        rate = {
            "x-ratelimit-limit": str(limit.requests),
            "x-ratelimit-remaining": str(limit.requests - count - 1),
            "x-ratelimit-reset": str(left),
            "x-ratelimit-model": model,
            "x-ratelimit-service": "llmgw",
        }
        if count < limit.requests:
            return rate, None
        text = "too many requests for this action"
        return rate, _refuse(request, 429, text, headers={"retry-after": str(left), **rate})

    # --- responses -------------------------------------------------------------------------

    def _choose(self, body: Tree) -> tuple[str, AnyAnswer]:
        """Return the model that answers and its line: a fallback when the previous one failed."""
        text = last_user_text(body).casefold()
        others = [other for other in body.get("fallbacks") or () if is_table(other)]
        others = others[: int(_fallback(body, "depth", 1))]
        models = [str(each.get("model", "")) for each in (body, *others)]
        for model in models:
            line = self._pick(model, text)
            if not (isinstance(line, ErrorLine) and line.status >= 500 and model != models[-1]):
                return model, line
        raise AssertionError("the last model always answers")

    def _pick(self, model: str, text: str) -> AnyAnswer:
        for i, line in enumerate(self._lines):
            times = line.times if line.times is not None else int(line.match is None)
            if times and self._uses[i] >= times:
                continue
            if line.model not in (None, model):
                continue
            if line.match is None or line.match.casefold() in text:
                self._uses[i] += 1
                return line
        return ReplyLine()

    def _with_transcript(self, body: Tree) -> Tree:
        """Replace the first tag of the first message that has one with the stored transcript."""
        if "transcript_id" not in body:
            return body
        text = self._text_of(body["transcript_id"]) or ""
        messages = [dict(message) for message in messages_of(body)]
        for message in messages:
            content = message.get("content")
            if isinstance(content, str) and TAG in content:
                message["content"] = content.replace(TAG, text, 1)
                break
        return {**body, "messages": messages}

    def _catalog(self) -> ScriptedReply:
        def entry(model: ModelLine) -> Tree:
            parameters = model.supported_parameters
            return {
                "id": model.id,
                "name": model.id,
                "supported_parameters": None if parameters is None else list(parameters),
                **model.extra,
            }

        return _json(200, {"data": [entry(model) for model in self._models]})


def last_user_text(body: Tree) -> str:
    """Return the last user message: its text, or the texts of its content list."""
    texts = [
        message.get("content") for message in messages_of(body) if message.get("role") == "user"
    ]
    content = texts[-1] if texts else body.get("prompt")
    if is_list(content) and not isinstance(content, str):
        return " ".join(str(part.get("text", "")) for part in content if is_table(part))
    return str(content or "")


def _fallback(body: Tree, name: str, default: Any) -> Any:
    config = body.get("fallback_config")
    return config.get(name, default) if is_table(config) else default


def request_id(number: int) -> str:
    return str(UUID(int=number))


def _answer(
    request: ParsedRequest, body: Tree, model: str, line: AnyAnswer, rate: dict[str, str]
) -> ScriptedReply:
    headers = {**rate, **line.headers}
    head_at = line.headers_ms / 1000
    match line:
        case ReplyLine():
            return _reply(request, body, model, line, headers)
        case ErrorLine():
            retried = _fallback(body, "retry", True)
            late = line.internal_retry_ms / 1000 if retried else 0.0
            if line.retry_after_s is not None:
                headers["retry-after"] = f"{line.retry_after_s:g}"
            refused = _refuse(request, line.status, line.message, line.shape, headers)
            return replace(refused, head_at=head_at + late, line=line)
        case RawLine():
            texts = line.pieces or (line.body,)
            step = line.piece_ms / 1000
            pieces = [
                TimedBytes(head_at + i * step, text.encode(), True) for i, text in enumerate(texts)
            ]
            return _cut(
                ScriptedReply(
                    line.status,
                    pieces,
                    headers={"content-type": line.content_type, **headers},
                    head_at=head_at,
                    framing=line.framing,
                    slice_bytes=line.slice_bytes,
                    line=line,
                )
            )
        case HangLine():
            return ScriptedReply(0, ending="hang", line=line)
        case DropLine():
            return ScriptedReply(0, head_at=head_at, ending=line.by, line=line)


def _reply(
    request: ParsedRequest, body: Tree, model: str, line: ReplyLine, headers: dict[str, str]
) -> ScriptedReply:
    text = line.text
    if text is None:
        text = "" if line.tool_calls or line.tokens else f"You said: {last_user_text(body)}"
    id_ = request_id(request.number)
    stream = bool(body.get("stream")) and not line.plain
    pieces = (streamed if stream else whole)(line, text, body, model, id_)
    kind = "text/event-stream" if stream else "application/json"
    framing = line.framing if stream or line.framing != "chunked" else "length"
    return _cut(
        ScriptedReply(
            200,
            pieces,
            headers={"content-type": kind, **headers},
            head_at=line.headers_ms / 1000,
            framing=framing,
            slice_bytes=line.slice_bytes,
            line=line,
        )
    )


def _cut(answer: ScriptedReply) -> ScriptedReply:
    """Measure the complete body, then end it where the line's ``cut`` says."""
    if answer.framing == "length":
        answer = _measured(answer)
    line = answer.line
    if not isinstance(line, ReplyLine | RawLine) or line.cut is None:
        return answer
    pieces = _up_to(line.cut.after_tokens, answer.pieces)
    return replace(answer, pieces=pieces, ending=line.cut.by, after_bytes=line.cut.after_bytes)


def _measured(answer: ScriptedReply) -> ScriptedReply:
    pieces = tuple(answer.pieces)
    return replace(answer, pieces=pieces, length=sum(len(piece.data) for piece in pieces))


def _up_to(tokens: int | None, pieces: Iterable[TimedBytes]) -> Iterator[TimedBytes]:
    left = -1 if tokens is None else tokens
    for piece in pieces:
        if left == 0:
            return
        yield piece
        left -= piece.is_token


def _json(status: int, value: Any, headers: Mapping[str, str] | None = None) -> ScriptedReply:
    kind = {"content-type": "application/json", **(headers or {})}
    pieces = (TimedBytes(0.0, msgspec.json.encode(value)),)
    return _measured(ScriptedReply(status, pieces, headers=kind, framing="length"))


def _refuse(
    request: ParsedRequest,
    status: int,
    text: str,
    shape: str = "business",
    headers: Mapping[str, str] | None = None,
) -> ScriptedReply:
    kind, body = refusal(shape, status, text, request_id(request.number))
    head = {"content-type": kind, **(headers or {})}
    return _measured(
        ScriptedReply(status, (TimedBytes(0.0, body),), headers=head, framing="length")
    )
