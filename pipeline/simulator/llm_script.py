"""Answers chat-completion requests from a scenario: a request goes in, timed bytes come out. Pure.

Shapes, statuses and texts follow AssemblyAI's LLM Gateway documentation and the OpenAPI file
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
from pipeline.simulator.completion_bodies import Piece, messages_of, refusal, streamed, whole
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
from pipeline.simulator.stored_transcripts import Store

TAG = "{{ transcript }}"
#: body fields that a model must list to be asked with them
GATED = ("tools", "tool_choice", "response_format")


class ScriptedReply(Struct, frozen=True):
    """What to send for one request, and how to leave the connection."""

    status: int  #: 0: no head is sent
    pieces: Iterable[Piece] = ()  #: to be gone through once
    length: int = 0  #: bytes that content-length promises, with framing "length"
    headers: Mapping[str, str] = {}
    head_at: float = 0.0  #: seconds after the request
    framing: str = "chunked"
    ending: str = "keep"  #: keep (the connection), fin, rst, hang, keepalive
    after_bytes: int | None = None  #: the body stops after so many bytes on the wire
    slice_bytes: int = 0
    line: AnyAnswer | None = None  #: what of the scenario answered; None: defaults and refusals


class ParsedRequest(Struct, frozen=True):
    """A request, as far as answering it goes."""

    method: str
    path: str
    headers: Mapping[str, str]  #: names in lower case
    body: Any  #: the JSON value; None when there was none
    number: int  #: from 1


class LlmScript:
    """Every answer of one scenario. It counts uses and rates, and nothing else."""

    def __init__(self, scenario: Scenario) -> None:
        lines = scenario.llm
        self._lines = [line for line in lines if isinstance(line, AnyAnswer)]
        self._uses = [0] * len(self._lines)
        self._limits = [line for line in lines if isinstance(line, LimitLine)]
        self._models = [line for line in lines if isinstance(line, ModelLine)]
        self._transcripts = {line.id: line for line in lines if isinstance(line, TranscriptLine)}
        self._store = Store([line for line in lines if isinstance(line, RecordingLine)])
        keys = [line.key for line in lines if isinstance(line, ServerLine)]
        self._key = keys[-1] if keys else None
        self._windows: dict[str, tuple[float, int]] = {}

    def answer(self, asked: ParsedRequest, now: float) -> ScriptedReply:
        """Decide the answer to a request that arrived at ``now``, in seconds."""
        path = asked.path.split("?")[0]
        if path.startswith("/v2/"):
            return self._stored(asked, path, now)
        if asked.method == "GET" and path.endswith("/models"):
            return self._catalog()
        if asked.method != "POST" or not path.endswith("/chat/completions"):
            return _refuse(asked, 404, "unknown endpoint")
        if refused := self._unauthorized(asked):
            return refused
        body = asked.body
        if not is_table(body):
            return _refuse(asked, 400, "invalid request body")
        if complaint := self._complaint(body):
            return _refuse(asked, *complaint)
        rate, refused = self._rate(asked, str(body.get("model", "")), now)
        if refused:
            return refused
        body = self._with_transcript(body)
        model, line = self._choose(body)
        return _answer(asked, body, model, line, rate)

    def _stored(self, asked: ParsedRequest, path: str, now: float) -> ScriptedReply:
        """Answer as the API for whole recordings does."""
        if refused := self._unauthorized(asked):
            return refused
        reply = self._store.answer(asked.method, path, asked.body, now)
        return _refuse(asked, 404, "unknown endpoint") if reply is None else _json(*reply)

    # --- refusals --------------------------------------------------------------------------

    def _unauthorized(self, asked: ParsedRequest) -> ScriptedReply | None:
        given = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if self._key is None or compare_digest(given.encode(), self._key.encode()):
            return None
        text = (
            "Authentication error, API token missing/invalid"
            if given
            else "Please upgrade your account to access the LLM Gateway"
        )
        return _refuse(asked, 401, text, shape="authorization")

    def _complaint(self, body: Tree) -> tuple[int, str] | None:
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
        self, asked: ParsedRequest, model: str, now: float
    ) -> tuple[dict[str, str], ScriptedReply | None]:
        """Count the request; return the rate headers, and a refusal when it was one too many."""
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
        return rate, _refuse(asked, 429, text, headers={"retry-after": str(left), **rate})

    # --- answers ---------------------------------------------------------------------------

    def _choose(self, body: Tree) -> tuple[str, AnyAnswer]:
        """Return who answers and how: a fallback model where the one before it failed."""
        text = last_user_text(body).casefold()
        others = [other for other in body.get("fallbacks") or () if is_table(other)]
        others = others[: int(_fallback(body, "depth", 1))]
        models = [str(asked.get("model", "")) for asked in (body, *others)]
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
        """Put the stored transcript in place of the first tag of the first message with one."""
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
    """Return what the user said last: text, or the texts of a content list."""
    said = [
        message.get("content") for message in messages_of(body) if message.get("role") == "user"
    ]
    content = said[-1] if said else body.get("prompt")
    if is_list(content) and not isinstance(content, str):
        return " ".join(str(part.get("text", "")) for part in content if is_table(part))
    return str(content or "")


def _fallback(body: Tree, name: str, default: Any) -> Any:
    config = body.get("fallback_config")
    return config.get(name, default) if is_table(config) else default


def request_id(number: int) -> str:
    return str(UUID(int=number))


def _answer(
    asked: ParsedRequest, body: Tree, model: str, line: AnyAnswer, rate: dict[str, str]
) -> ScriptedReply:
    headers = {**rate, **line.headers}
    head_at = line.headers_ms / 1000
    match line:
        case ReplyLine():
            return _reply(asked, body, model, line, headers)
        case ErrorLine():
            retried = _fallback(body, "retry", True)
            late = line.internal_retry_ms / 1000 if retried else 0.0
            if line.retry_after_s is not None:
                headers["retry-after"] = f"{line.retry_after_s:g}"
            refused = _refuse(asked, line.status, line.message, line.shape, headers)
            return replace(refused, head_at=head_at + late, line=line)
        case RawLine():
            texts = line.pieces or (line.body,)
            step = line.piece_ms / 1000
            pieces = [
                Piece(head_at + i * step, text.encode(), True) for i, text in enumerate(texts)
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
    asked: ParsedRequest, body: Tree, model: str, line: ReplyLine, headers: dict[str, str]
) -> ScriptedReply:
    text = line.text
    if text is None:
        text = "" if line.tool_calls or line.tokens else f"You said: {last_user_text(body)}"
    id_ = request_id(asked.number)
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
    """Measure the whole body, then let it stop where the line says."""
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


def _up_to(tokens: int | None, pieces: Iterable[Piece]) -> Iterator[Piece]:
    left = -1 if tokens is None else tokens
    for piece in pieces:
        if left == 0:
            return
        yield piece
        left -= piece.is_token


def _json(status: int, value: Any, headers: Mapping[str, str] | None = None) -> ScriptedReply:
    kind = {"content-type": "application/json", **(headers or {})}
    pieces = (Piece(0.0, msgspec.json.encode(value)),)
    return _measured(ScriptedReply(status, pieces, headers=kind, framing="length"))


def _refuse(
    asked: ParsedRequest,
    status: int,
    text: str,
    shape: str = "business",
    headers: Mapping[str, str] | None = None,
) -> ScriptedReply:
    kind, body = refusal(shape, status, text, request_id(asked.number))
    head = {"content-type": kind, **(headers or {})}
    return _measured(ScriptedReply(status, (Piece(0.0, body),), headers=head, framing="length"))
