"""Adaptation of requests to model families that refuse some valid input. Pure."""

import json
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from pipeline.gateway.gemini_schema import for_gemini
from pipeline.interfaces.llm import CompletionRequest, FunctionCall, Message, ToolCall

#: The gateway drops the empty arguments of a tool call; Claude then refuses this request and
#: all later ones with that call in the history (AssemblyAI CLI, 2026-06)
NO_ARGUMENTS = '{"_":""}'


def adapted(request: CompletionRequest) -> CompletionRequest:
    """Return ``request`` adapted to its model's family; the same object when nothing changes."""
    family = request.model.rpartition("/")[2]  # proxies prefix the provider
    if family.startswith("gemini") and request.extra.get("tools"):
        tools = [_tool(tool) for tool in request.extra["tools"]]
        return msgspec.structs.replace(request, extra={**request.extra, "tools": tools})
    if family.startswith("claude") and any(map(_has_empty_call, request.messages)):
        messages = tuple(map(_with_arguments, request.messages))
        forwarded = tuple(map(_forwarded_with_arguments, request.forwarded))
        return msgspec.structs.replace(request, messages=messages, forwarded=forwarded)
    return request


def _tool(tool: Any) -> Any:
    parts = _mapping(_mapping(tool).get("function"))
    if "parameters" not in parts:
        return tool
    return {**tool, "function": {**parts, "parameters": for_gemini(parts["parameters"])}}


def _mapping(found: object) -> dict[str, Any]:
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _has_empty_call(message: Message) -> bool:
    return any(_is_empty(call.function.arguments) for call in message.tool_calls)


def _with_arguments(message: Message) -> Message:
    if not _has_empty_call(message):
        return message
    calls = tuple(
        ToolCall(call.id, FunctionCall(call.function.name, NO_ARGUMENTS), call.type)
        if _is_empty(call.function.arguments)
        else call
        for call in message.tool_calls
    )
    return msgspec.structs.replace(message, tool_calls=calls)


def _forwarded_with_arguments(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Do the same to a message in wire format."""
    calls: Any = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    return {**message, "tool_calls": [_called(call) for call in cast("list[object]", calls)]}


def _called(call: object) -> object:
    fields = _mapping(call)
    function = _mapping(fields.get("function"))
    arguments = function.get("arguments")
    if not isinstance(arguments, str) or not _is_empty(arguments):
        return call
    return {**fields, "function": {**function, "arguments": NO_ARGUMENTS}}


def _is_empty(arguments: str) -> bool:
    if len(arguments) > 20:
        return False
    try:
        return not json.loads(arguments or "{}")
    except ValueError:
        return False
