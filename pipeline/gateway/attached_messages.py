"""Messages in wire format, with the fields that the server attached to them earlier. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from pipeline.interfaces.llm import Attached, Message, ToolCall


def with_attached(
    messages: Sequence[Message], origin: str
) -> Sequence[Message | Mapping[str, Any]]:
    """Return ``messages`` as they are sent to ``origin``: server and model."""
    if all(message.attached is None for message in messages):
        return messages
    return list(_written(messages, origin))


def _written(messages: Sequence[Message], origin: str) -> Iterator[Message | Mapping[str, Any]]:
    ids: dict[str | None, str] = {}  # the server's own, by ours
    for message in messages:
        attached, plain = message.attached, replace(message, attached=None)
        if attached is not None and attached.origin == origin:
            ids |= {ours: call["id"] for ours, call in attached.calls.items() if "id" in call}
            yield _with_fields(plain, attached)
        elif message.tool_call_id in ids:
            yield replace(plain, tool_call_id=ids[message.tool_call_id])
        else:
            yield plain


def _with_fields(message: Message, attached: Attached) -> Mapping[str, Any]:
    written: dict[str, Any] = msgspec.to_builtins(message)
    calls = [_call(call, attached.calls.get(call.id, {})) for call in message.tool_calls]
    return {**attached.fields, **written, **({"tool_calls": calls} if calls else {})}


def _call(call: ToolCall, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    written: dict[str, Any] = msgspec.to_builtins(call)
    function = {**fields.get("function", {}), **written["function"]}
    return {**written, **fields, "function": function}
