"""Fields that a server attaches to its message or its tool calls beside OpenAI's. Pure.

Gemini's thought signatures, ``reasoning_content``, ``reasoning_details``: the server expects them
back in its next requests, unchanged.
"""

import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from msgspec import Raw, Struct

MAX_ATTACHED = 256 * 1024  #: bytes of one reply; more is not sent back

#: fields that are not sent back: known, or not accepted in a request
MESSAGE = frozenset(
    [
        "role",
        "content",
        "refusal",
        "tool_calls",
        "function_call",
        "audio",
        "annotations",
        "images",
        "name",
    ]
)
CALL = frozenset(("index", "id", "type", "function"))
FUNCTION = frozenset(("name", "arguments", "id"))
#: fields whose text comes in pieces; any other text replaces the one before
IN_PIECES = frozenset(
    ["reasoning_content", "reasoning", "reasoning_text", "thinking", "thought", "text", "summary"]
)
#: fields that hold thoughts
THOUGHTS = frozenset(
    [
        "reasoning_content",
        "reasoning",
        "reasoning_details",
        "reasoning_text",
        "thinking",
        "thinking_blocks",
    ]
)
#: a delta of text alone, which most chunks are
_PLAIN = re.compile(
    rb'"delta":\s*\{(?:"role":\s*"assistant",\s*)?"content":\s*"(?:[^"\\]|\\.)*+"'
    rb'(?:,\s*"[a-z_]+":\s*null)*\s*\}'
)
_EMPTY = (b"null", b'""', b"[]", b"{}")


class _Choice(Struct):
    index: int | None = None
    delta: dict[str, Raw] | None = None
    message: dict[str, Raw] | None = None


class _Chunk(Struct):
    choices: list[_Choice] | None = None


_chunk = msgspec.json.Decoder(_Chunk).decode
_calls = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_function = msgspec.json.Decoder(dict[str, Raw]).decode

Fields = Mapping[str, Any]


class AttachedFields(Struct, frozen=True):
    """The additional fields of one chunk's first choice."""

    message: Fields = {}
    calls: tuple[Fields, ...] = ()  #: of each tool call in it


NOTHING = AttachedFields()


def attached_fields(payload: bytes) -> AttachedFields:
    """Return the additional fields of a chunk or body; none of one that is hard to read."""
    if _PLAIN.search(payload) is not None and payload.count(b'"delta"') == 1:
        return NOTHING
    try:
        choices = _chunk(payload).choices
        first = next((each for each in choices or () if not each.index), None)
        fields = None if first is None else first.delta or first.message
        if not fields:
            return NOTHING
        found = _more(fields, MESSAGE)
        raw_calls = fields.get("tool_calls")
        calls = () if raw_calls is None else tuple(map(_of_call, _calls(raw_calls) or ()))
    except (ValueError, RecursionError):
        return NOTHING
    return AttachedFields(found, calls) if found or any(calls) else NOTHING


def _of_call(call: Mapping[str, Raw]) -> Fields:
    found = _more(call, CALL)
    function = call.get("function")
    inside = (
        {}
        if function is None or bytes(function) == b"null"
        else _more(_function(function), FUNCTION)
    )
    return {**found, "function": inside} if inside else found


def _more(fields: Mapping[str, Raw], known: frozenset[str]) -> dict[str, Any]:
    return {
        name: msgspec.json.decode(raw)
        for name, raw in fields.items()
        if name not in known and bytes(raw) not in _EMPTY
    }


def joined(before: Fields, more: Fields) -> dict[str, Any]:
    """Return the fields of successive chunks as those of one message."""
    return {**before, **{name: _joined(name, before.get(name), more[name]) for name in more}}


def _joined(name: str, before: object, more: object) -> object:
    if isinstance(before, str) and isinstance(more, str):
        return before + more if name in IN_PIECES else more
    if isinstance(before, dict) and isinstance(more, dict):
        return joined(cast("Fields", before), cast("Fields", more))
    if isinstance(before, list) and isinstance(more, list):
        items = list(cast("list[object]", before))
        for item in cast("list[object]", more):
            _add(items, item)
        return items
    return more


def _add(items: list[object], item: object) -> None:
    """Add an item of a list: as more of one with its index, or of one whose text goes on."""
    at = next((at for at in reversed(range(len(items))) if _goes_on(items[at], item)), None)
    if at is None:
        items.append(item)
    else:
        items[at] = joined(cast("Fields", items[at]), cast("Fields", item))


def _goes_on(before: object, more: object) -> bool:
    if not isinstance(before, dict) or not isinstance(more, dict):
        return False
    old, new = cast("Fields", before), cast("Fields", more)
    if old.get("type") != new.get("type"):
        return False
    if "index" in new:
        return bool(old.get("index") == new["index"])
    has_text: bool = not IN_PIECES.isdisjoint(old) and "signature" not in old
    return has_text and bool("signature" in new or not IN_PIECES.isdisjoint(new))
