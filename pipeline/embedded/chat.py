"""Chat completions, server side: validation of requests, encoding of replies. Pure.

OpenAI's API as its SDKs parse it, with the additions of AssemblyAI's LLM Gateway (docs, 2026-03
and mid-2026): both namings of usage, ``request_id``, its error object and its catalog items.
"""

from collections.abc import Mapping
from typing import Any, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipeline.embedded import tool_calls
from pipeline.embedded.tool_calls import FunctionTool

DEFAULT_MAX_TOKENS = 1000  #: the same as the gateway's

# parameters that the engine accepts besides messages; all others are dropped
SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "stop",
    "seed",
    "repeat_penalty",
    "repeat_last_n",
    "frequency_penalty",
    "presence_penalty",
    "response_format",
)
_REFUSED = ("functions", "function_call")
_ROLES = ("system", "user", "assistant", "developer", "tool")


class RefusedRequest(Exception):
    """Refusal of a request, with an HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ChatRequest(Struct, frozen=True):
    """Validated request: the engine's parameters and the format of the reply."""

    body: dict[str, Any]
    stream: bool = False
    include_usage: bool = False
    tools: tuple[FunctionTool, ...] = ()  #: candidates for a call; one at most once settled
    may_decline: bool = False  #: a text reply is allowed too

    @property
    def is_settled(self) -> bool:
        """Whether the kind of reply is known: text, or a call of a certain tool."""
        return len(self.tools) + (self.may_decline and bool(self.tools)) <= 1

    def question(self) -> dict[str, Any]:
        """Return the engine request that selects a tool."""
        said = self.body["messages"][-1]["content"]
        return tool_calls.question(self.tools, self.may_decline, said)

    def settled(self, text: str) -> "ChatRequest":
        """Return the request after the reply ``text`` to ``question``."""
        instead = () if self.may_decline else self.tools[:1]
        tools = tool_calls.picked(text, self.tools) or instead
        return replace(self, tools=tools, may_decline=False)

    def engine_body(self) -> dict[str, Any]:
        """Return the engine request of a settled request."""
        return tool_calls.forced(self.body, self.tools[0]) if self.tools else self.body


def parse(raw: bytes, model: str) -> ChatRequest:
    """Decode and validate a request for this model."""
    try:
        decoded: object = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise RefusedRequest(400, f"the body is not JSON: {error}") from None
    if not isinstance(decoded, dict):
        raise RefusedRequest(400, "the body is not an object")
    fields = cast("dict[str, Any]", decoded)
    _check(fields, model)
    body: dict[str, Any] = {name: fields[name] for name in SAMPLING if fields.get(name) is not None}
    body["messages"] = tool_calls.joined(_messages(fields))
    body["max_tokens"] = _max_tokens(fields)
    body["stream_options"] = {"include_usage": True}
    options = fields.get("stream_options")
    wanted = isinstance(options, Mapping) and bool(
        cast("Mapping[str, object]", options).get("include_usage")
    )
    try:
        tools, may_decline = tool_calls.offered(fields)
    except ValueError as error:
        raise RefusedRequest(400, str(error)) from None
    return ChatRequest(body, fields.get("stream") is True, wanted, tools, may_decline)


def _check(fields: dict[str, Any], model: str) -> None:
    asked = fields.get("model", model)
    if asked not in (model, "", "default"):
        raise RefusedRequest(400, f"model {asked} is not supported: this engine serves {model}")
    for name in _REFUSED:
        if fields.get(name):
            raise RefusedRequest(400, f"model {model} does not support {name}")
    if fields.get("n", 1) not in (1, None):
        raise RefusedRequest(400, f"n: {fields['n']} choices are not supported")
    form = fields.get("response_format")
    if form is not None and not _is_format(form):
        raise RefusedRequest(
            400, "response_format is invalid: expected text, json_object or json_schema"
        )


def _is_format(form: object) -> bool:
    if not isinstance(form, dict):
        return False
    fields = cast("dict[str, Any]", form)
    if fields.get("type") != "json_schema":
        return fields.get("type") in ("text", "json_object")
    named: Any = fields.get("json_schema")
    return isinstance(named, dict) and isinstance(cast("Any", named).get("schema"), dict)


def _messages(fields: dict[str, Any]) -> list[dict[str, str]]:
    given: object = fields.get("messages")
    if given is None and isinstance(fields.get("prompt"), str):
        return [{"role": "user", "content": fields["prompt"]}]
    if not isinstance(given, list) or not given:
        raise RefusedRequest(400, "one of messages or prompt required")
    names = tool_calls.called(cast("object", given))
    listed = enumerate(cast("list[object]", given))
    messages = [_message(place, message, names) for place, message in listed]
    spoken = [m for m in messages if m["content"] or m["role"] != "assistant"]
    if not spoken:
        raise RefusedRequest(400, "messages: all of them are empty")
    return spoken


def _message(place: int, message: object, names: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(message, dict):
        raise RefusedRequest(400, f"messages[{place}] is not an object")
    fields = cast("dict[str, Any]", message)
    role = fields.get("role")
    if role not in _ROLES:
        raise RefusedRequest(
            400, f"messages[{place}].role: {role!r} is not one of {', '.join(_ROLES)}"
        )
    text = _text(fields.get("content"))
    if text is None and role == "assistant" and fields.get("tool_calls"):
        text = ""  # a tool call only; the result message names the tool
    if text is None:
        raise RefusedRequest(400, f"messages[{place}].content is not text")
    if role == "tool":
        return {
            "role": "user",
            "content": tool_calls.result_text({**fields, "content": text}, names),
        }
    return {"role": "system" if role == "developer" else role, "content": text}


def _text(content: object) -> str | None:
    """Return a string, or the joined texts of a list of text parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    texts: list[str] = []
    for part in cast("list[object]", content):
        text: Any = cast("dict[str, Any]", part).get("text") if isinstance(part, dict) else None
        if not isinstance(text, str):
            return None
        texts.append(text)
    return "".join(texts)


def _max_tokens(fields: dict[str, Any]) -> int:
    given = fields.get("max_tokens", fields.get("max_completion_tokens"))
    if given is None:
        return DEFAULT_MAX_TOKENS
    if not isinstance(given, int) or given < 1:
        raise RefusedRequest(400, f"max_tokens: {given!r} is not a whole number from 1")
    return given


# --- replies -------------------------------------------------------------------------------


class ReplyEncoder:
    """Encoder of one reply: as text, or as a tool call."""

    def __init__(self, ask: ChatRequest, request_id: str) -> None:
        self._tool = ask.tools[0] if ask.tools else None
        self._call_id = f"call_{request_id.replace('-', '')[:24]}"
        self._begun = False

    def whole(self, answer: dict[str, Any]) -> dict[str, Any]:
        if self._tool is None:
            return answer
        choices = [tool_calls.message(c, self._tool, self._call_id) for c in answer["choices"]]
        return {**answer, "choices": choices}

    def piece(self, piece: dict[str, Any]) -> dict[str, Any]:
        if self._tool is None or not piece["choices"]:
            return piece
        first, self._begun = not self._begun, True
        choices = [
            tool_calls.delta(c, self._tool, self._call_id, is_first=first) for c in piece["choices"]
        ]
        return {**piece, "choices": choices}


def completion(answer: dict[str, Any], request_id: str, seconds: float) -> bytes:
    """Encode a whole reply."""
    return msgspec.json.encode(
        {
            "id": answer["id"],
            "object": "chat.completion",
            "created": answer["created"],
            "request_id": request_id,
            "model": answer["model"],
            "choices": answer["choices"],
            "usage": _usage(answer.get("usage")),
            "http_status_code": 200,
            "response_time": int(seconds * 1e9),
        }
    )


def chunk(piece: dict[str, Any]) -> bytes:
    """Encode one piece of a reply as a server-sent event."""
    event: dict[str, Any] = {
        "id": piece["id"],
        "object": "chat.completion.chunk",
        "created": piece["created"],
        "model": piece["model"],
        "choices": piece["choices"],
    }
    if "usage" in piece:
        event["usage"] = _usage(piece["usage"])
    return b"data: " + msgspec.json.encode(event) + b"\n\n"


LAST_CHUNK = b"data: [DONE]\n\n"


def is_progress(piece: dict[str, Any]) -> bool:
    """Return whether a piece only reports prompt processing, which is not sent to clients."""
    return "prompt_progress" in piece


def is_usage(piece: dict[str, Any]) -> bool:
    """Return whether a piece carries the usage, sent after the last one on request."""
    return not piece["choices"]


def is_last(piece: dict[str, Any]) -> bool:
    return any(choice.get("finish_reason") for choice in piece["choices"])


def joined(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the whole reply of a stream of pieces."""
    texts: list[str] = []
    answer: dict[str, Any] = {}
    reason: str | None = None
    for piece in pieces:
        answer.update(piece)
        for choice in piece["choices"]:
            texts.append(choice["delta"].get("content") or "")
            reason = choice.get("finish_reason") or reason
    message = {"role": "assistant", "content": "".join(texts)}
    answer["choices"] = [{"index": 0, "message": message, "finish_reason": reason}]
    return answer


def has_text(piece: dict[str, Any]) -> bool:
    return any(choice["delta"].get("content") for choice in piece["choices"])


def _usage(given: dict[str, Any] | None) -> dict[str, Any]:
    usage = dict(given or {})
    usage["input_tokens"] = usage.get("prompt_tokens", 0)
    usage["output_tokens"] = usage.get("completion_tokens", 0)
    details: dict[str, Any] | None = usage.get("prompt_tokens_details")
    if details is not None:  # the vendor's own client requires both counts
        usage["prompt_tokens_details"] = {"cached_tokens": 0, "audio_tokens": 0, **details}
    return usage


def failure(status: int, message: str, request_id: str) -> bytes:
    """Encode the gateway's error object, which contains OpenAI's."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return msgspec.json.encode(
        {
            "code": status,
            "message": message,
            "request_id": request_id,
            "metadata": {"errors": [message]},
            "error": {"code": status, "message": message, "type": kind},
        }
    )


def catalog(model: str, context: int) -> bytes:
    """Encode the model as an item of OpenAI's list and of the gateway's catalog."""
    free = {"prompt": 0, "completions": 0}
    item: dict[str, Any] = {
        "id": model,
        "object": "model",
        "created": 0,
        "owned_by": "local",
        "name": model,
        "description": "A small language model on this machine.",
        "creator": "local",
        "context_length": context,
        "supported_parameters": ["stream", "max_tokens", "tools", "tool_choice", *SAMPLING],
        "default_parameters": {"temperature": None, "top_p": None, "frequency_penalty": None},
        "top_provider": {
            "is_moderated": False,
            "context_length": context,
            "max_completion_tokens": context,
        },
        "pricing": {"us": free, "global": free, "regional_increase_percent": 0},
        "retirement_date": 0,
        "available_regions": ["us", "eu", "global"],
        "providers": [{"id": "local", "name": "local"}],
        "default_provider": "local",
    }
    return msgspec.json.encode({"object": "list", "data": [item]})
