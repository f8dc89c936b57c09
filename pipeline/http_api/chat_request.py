"""Bodies of ``POST /v1/chat/completions``: JSON to a checked request. Pure.

Fields that have no rule here go to the model's server as they are; the gateway checks those of
AssemblyAI's extensions.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from pipeline.http_api.errors import ApiError
from pipeline.interfaces.completions import Caller, CompletionCall, ConversationPolicy
from pipeline.interfaces.llm import CompletionRequest, FunctionCall, Message, ToolCall

MAX_MESSAGES = 4096
MAX_NAME = 256  #: characters of a model's name or a conversation's id
MAX_TOKENS = 10_000_000
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
POLICIES: Mapping[str, ConversationPolicy] = {
    "supersede": "supersede",
    "queue": "queue",
    "parallel": "parallel",
    "conflate": "conflate",
}
CONVERSATION_HEADER = "X-Conversation-Id"

_PRINTABLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")

Fields = dict[str, Any]


class ParsedBody(msgspec.Struct, frozen=True):
    """One request, and how its answer is to be written."""

    call: CompletionCall
    include_usage: bool = False  #: a stream ends with a chunk that holds the token counts


def parse_body(
    body: bytes, *, request_id: str, caller: Caller, conversation: str = ""
) -> ParsedBody:
    """Return the request in ``body``. Raises ``ApiError`` for one that cannot be.

    ``conversation`` is the value of the header; the field in the body wins over it.
    """
    fields = _decoded(body)
    model = _text(fields, "model", required=True)
    stream = _flag(fields, "stream")
    messages = _messages(fields)
    include_usage = _include_usage(fields, stream=stream)
    _check_choices(fields)
    own = _own_fields(fields, conversation)
    request = CompletionRequest(
        model=model,
        messages=tuple(map(_message, messages)),
        forwarded=tuple(messages),
        stream=stream,
        max_tokens=_count(fields, "max_tokens"),
        temperature=_number(fields, "temperature", 0, 2),
        id=request_id,
        token_name=caller.name,
        extra={name: value for name, value in fields.items() if value is not None},
    )
    call = msgspec.structs.replace(own, request=request, caller=caller)
    return ParsedBody(call, include_usage)


def _decoded(body: bytes) -> Fields:
    try:
        found: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise ApiError(400, f"the body is not JSON: {cause}", code="invalid_json") from None
    if not isinstance(found, dict):
        raise ApiError(400, "the body is not a JSON object", code="invalid_json")
    return cast("Fields", found)


def _own_fields(fields: Fields, conversation: str) -> CompletionCall:
    """Take the fields that our gateway alone understands out of ``fields``."""
    named = _text(fields, "conversation") or conversation
    if len(named) > MAX_NAME:
        raise _wrong("conversation", f"at most {MAX_NAME} characters; got {len(named)}")
    policy = _text(fields, "conversation_policy") or "supersede"
    if policy not in POLICIES:
        raise _wrong("conversation_policy", f"expected {', '.join(POLICIES)}; got {policy[:40]!r}")
    speculative = _flag(fields, "speculative")
    share = _flag(fields, "share_identical")
    return CompletionCall(
        request=CompletionRequest(model="", messages=()),
        conversation=named,
        policy=POLICIES[policy],
        speculative=speculative,
        share=share,
    )


# --- messages ------------------------------------------------------------------------------------


def _messages(fields: Fields) -> Sequence[Fields]:
    given: Any = fields.pop("messages", None)
    prompt: Any = fields.pop("prompt", None)
    if given is None and isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    if given is None:
        raise _wrong("messages", "one of messages or prompt is required")
    if prompt is not None:
        raise _wrong("prompt", "a request has either messages or prompt")
    if not isinstance(given, list) or not given:
        raise _wrong("messages", "expected a list of at least one message")
    listed = cast("list[object]", given)
    if len(listed) > MAX_MESSAGES:
        raise _wrong("messages", f"at most {MAX_MESSAGES}; got {len(listed)}")
    return [_checked_message(place, message) for place, message in enumerate(listed)]


def _checked_message(place: int, found: object) -> Fields:
    if not isinstance(found, dict):
        raise _wrong(f"messages[{place}]", "expected an object")
    message = cast("Fields", found)
    role: Any = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        shown = str(role)[:40]
        raise _wrong(f"messages[{place}].role", f"expected {_listed(ROLES)}; got {shown!r}")
    content: Any = message.get("content")
    if content is not None and not isinstance(content, str | list):
        raise _wrong(f"messages[{place}].content", "expected text, or a list of parts")
    if content is None and role in ("system", "developer", "user", "tool"):
        raise _wrong(f"messages[{place}].content", f"a {role} message needs it")
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise _wrong(f"messages[{place}].tool_call_id", "a tool message needs it")
    return message


def _message(fields: Fields) -> Message:
    """Return the part of a message that our own layers look at."""
    name: Any = fields.get("name")
    call_id: Any = fields.get("tool_call_id")
    return Message(
        role=fields["role"],
        content=content_text(fields.get("content")),
        name=name if isinstance(name, str) else None,
        tool_calls=tuple(_tool_calls(fields.get("tool_calls"))),
        tool_call_id=call_id if isinstance(call_id, str) else None,
    )


def content_text(content: object) -> str | None:
    """Return the text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str) or content is None:
        return content
    parts = cast("list[object]", content) if isinstance(content, list) else []
    texts = [cast("Fields", part).get("text") for part in parts if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def _tool_calls(found: object) -> Sequence[ToolCall]:
    calls = cast("list[object]", found) if isinstance(found, list) else []
    parsed: list[ToolCall] = []
    for call in calls:
        try:
            parsed.append(msgspec.convert(call, ToolCall))
        except msgspec.ValidationError:
            parsed.append(ToolCall("", FunctionCall("", "")))
    return parsed


# --- single fields -------------------------------------------------------------------------------


def _include_usage(fields: Fields, *, stream: bool) -> bool:
    options: Any = fields.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise _wrong("stream_options", "expected an object")
    if not stream:
        raise _wrong("stream_options", "only together with stream: true")
    return cast("Fields", options).get("include_usage") is True


def _check_choices(fields: Fields) -> None:
    choices: Any = fields.pop("n", None)
    if choices not in (None, 1) or choices is True:
        raise _wrong("n", "one choice for each request; send several requests for several")


def _text(fields: Fields, name: str, *, required: bool = False) -> str:
    value: Any = fields.pop(name, None)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or not value:
        raise _wrong(name, "expected text" if value is not None else "it is required")
    if len(value) > MAX_NAME:
        raise _wrong(name, f"at most {MAX_NAME} characters; got {len(value)}")
    if not _PRINTABLE.fullmatch(value):
        raise _wrong(name, "expected printable ASCII characters")
    return value


def _flag(fields: Fields, name: str) -> bool:
    value: Any = fields.pop(name, None)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise _wrong(name, f"expected true or false; got {str(value)[:40]!r}")


def _count(fields: Fields, name: str) -> int | None:
    value: Any = fields.pop(name, None)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_TOKENS:
        raise _wrong(name, f"expected a whole number from 1; got {str(value)[:40]}")
    return value


def _number(fields: Fields, name: str, least: float, most: float) -> float | None:
    value: Any = fields.pop(name, None)
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:
        raise _wrong(name, f"expected a number from {least:g} to {most:g}; got {str(value)[:40]}")
    return cast("float", value)


def _wrong(param: str, what: str) -> ApiError:
    return ApiError(400, f"{param}: {what}", code="invalid_value", param=param)


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
