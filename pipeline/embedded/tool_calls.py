"""FunctionTool calls for a model without tool training, as replies constrained to a schema. Pure.

The formats are OpenAI's. A first reply, constrained to the names, selects the tool; a second one,
constrained to the tool's schema, gives its arguments. So every call is well formed with any
model, and a reply contains one call at most.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from msgspec import Struct

NONE = "none"
_PICK_TOKENS = 40  #: longer than any name


class FunctionTool(Struct, frozen=True):
    """One offered function."""

    name: str
    description: str
    parameters: dict[str, Any]


Table = Mapping[str, Any]


def offered(fields: Table) -> tuple[tuple[FunctionTool, ...], bool]:
    """Return the tools that may be called, and whether a text reply is allowed too.

    After a tool's result ``auto`` means a text reply: a small model would repeat the call for
    ever. Raises ValueError for an invalid tool or choice.
    """
    tools = _tools(fields.get("tools"))
    choice: object = fields.get("tool_choice") or ("auto" if tools else NONE)
    if choice == NONE:
        return (), True
    if not tools:
        raise ValueError("tool_choice is given without tools")
    if choice == "required":
        return tools, False
    if choice == "auto":
        messages = _tables(fields.get("messages"))
        answered = bool(messages) and messages[-1].get("role") == "tool"
        return ((), True) if answered else (tools, True)
    name = _table(_table(choice).get("function")).get("name")
    chosen = tuple(tool for tool in tools if tool.name == name)
    if not chosen:
        raise ValueError(
            "tool_choice is invalid: expected none, auto, required, or a function of tools"
        )
    return chosen, False


def _tools(given: object) -> tuple[FunctionTool, ...]:
    if given is None:
        return ()
    if not isinstance(given, list):
        raise ValueError("tools is not a list")  # noqa: TRY004 - the request is at fault
    return tuple(_tool(place, tool) for place, tool in enumerate(cast("list[object]", given)))


def _tool(place: int, given: object) -> FunctionTool:
    function = _table(_table(given).get("function"))
    name: object = function.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"tools[{place}].function.name is missing")
    parameters: object = function.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise ValueError(f"tools[{place}].function.parameters is not a schema")  # noqa: TRY004
    schema = cast("dict[str, Any]", parameters)
    nothing: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    # without properties the model would invent some
    schema = schema if schema.get("properties") else nothing
    return FunctionTool(name, str(function.get("description") or ""), schema)


# --- engine requests -----------------------------------------------------------------------


def question(tools: Sequence[FunctionTool], may_decline: bool, text: str) -> dict[str, Any]:
    """Return the request that selects the tool for ``text``.

    A model of 135 million parameters needs examples: with a "none" after each tool's own
    description it was right on 18 of 19 questions, with one before and after all on 12.
    """
    listed = [f"{tool.name}: {tool.description}" for tool in tools]
    shown = [(tool.description, tool.name) for tool in tools if tool.description]
    names = [tool.name for tool in tools]
    if may_decline:
        listed.append(f"{NONE}: for everything else")
        names.append(NONE)
        shown = [example for one in shown for example in (one, ("Hello, who are you?", NONE))]
    head = "Answer with the name of the tool that helps, or none.\n" + "\n".join(listed)
    messages = [{"role": "system", "content": head}]
    for asked, name in shown:
        messages.append({"role": "user", "content": asked})
        messages.append({"role": "assistant", "content": json.dumps(name)})
    return {
        "messages": [*messages, {"role": "user", "content": text}],
        "max_tokens": _PICK_TOKENS,
        "temperature": 0,
        "response_format": _format("tool", {"enum": names}),
    }


def picked(text: str, tools: Sequence[FunctionTool]) -> tuple[FunctionTool, ...]:
    """Return the tool named in the reply to ``question``, if any."""
    try:
        name: object = json.loads(text)
    except ValueError:
        name = text
    return tuple(tool for tool in tools if tool.name == name)


def forced(body: Table, tool: FunctionTool) -> dict[str, Any]:
    """Return ``body``, changed so that the reply is the arguments of ``tool``."""
    messages = [dict(message) for message in body["messages"]]
    what = f" ({tool.description})" if tool.description else ""
    note = f"Write the arguments of {tool.name}{what} as JSON."
    return {
        **body,
        "messages": joined([*messages, {"role": "user", "content": note}]),
        "response_format": _format(tool.name, tool.parameters),
    }


def _format(name: str, schema: Table) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}


def result_text(message: Table, names: Mapping[str, str]) -> str:
    """Return a tool message as text; ``names`` are the tools by call id."""
    name = names.get(str(message.get("tool_call_id"))) or message.get("name") or "the tool"
    return f"{name} says: {message.get('content') or ''}"


def called(messages: object) -> dict[str, str]:
    """Return the names of the tools called in ``messages``, by call id."""
    calls = [call for said in _tables(messages) for call in _tables(_table(said).get("tool_calls"))]
    return {str(call.get("id")): str(_table(call.get("function")).get("name")) for call in calls}


def joined(messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Return ``messages`` with adjacent ones of one role joined: many templates require it."""
    result: list[dict[str, str]] = []
    for message in messages:
        if result and result[-1]["role"] == message["role"]:
            text = f"{result[-1]['content']}\n\n{message['content']}"
            result[-1] = {**message, "content": text}
        else:
            result.append(message)
    return result


# --- client messages -----------------------------------------------------------------------


def delta(choice: Table, tool: FunctionTool, call_id: str, *, is_first: bool) -> dict[str, Any]:
    """Return a choice of a streamed chunk, with its text as a piece of the arguments."""
    text = choice["delta"].get("content")
    said: dict[str, Any] = {}
    if is_first:
        said = {"role": "assistant", "content": None, "tool_calls": [_call(tool, call_id, "", 0)]}
    if text:
        whole: dict[str, Any] = said or {
            "tool_calls": [{"index": 0, "function": {"arguments": ""}}]
        }
        whole["tool_calls"][0]["function"]["arguments"] = text
        said = whole
    return {**choice, "delta": said, "finish_reason": _reason(choice)}


def message(choice: Table, tool: FunctionTool, call_id: str) -> dict[str, Any]:
    """Return the choice of a whole reply, with its text as the arguments."""
    call = _call(tool, call_id, choice["message"]["content"])
    said: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [call]}
    return {**choice, "message": said, "finish_reason": _reason(choice)}


def _call(tool: FunctionTool, call_id: str, text: str, index: int | None = None) -> dict[str, Any]:
    call = {
        "id": call_id,
        "type": "function",
        "function": {"name": tool.name, "arguments": text},
    }
    return call if index is None else {"index": index, **call}


def _reason(choice: Table) -> str | None:
    reason: str | None = choice.get("finish_reason")
    return "tool_calls" if reason == "stop" else reason


def _table(found: object) -> dict[str, Any]:
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _tables(found: object) -> list[dict[str, Any]]:
    items = cast("list[object]", found) if isinstance(found, list) else []
    return [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]
