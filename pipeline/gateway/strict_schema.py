"""Whether a JSON Schema can be asked for strictly, and how it is written then. Pure.

Strict schemas name every property as required and allow no others, at each level (AssemblyAI and
OpenAI docs, structured outputs, 2026); one that leaves a choice is asked for without strictness.
"""

from typing import Any, cast

#: where the keys are names that somebody chose, and not words of JSON Schema
NAMED = ("properties", "$defs", "definitions")


def closed(schema: Any) -> Any:
    """Return ``schema`` with every object closed; None when an object is meant to be open."""
    if isinstance(schema, list):
        items = [closed(item) for item in cast("list[object]", schema)]
        return None if any(item is None for item in items) else items
    if not isinstance(schema, dict):
        return schema
    words = cast("dict[str, Any]", schema)
    if _is_open(words):
        return None
    made: dict[str, Any] = {}
    for word, value in words.items():
        inner = _names(value) if word in NAMED else _plain(word, value)
        if inner is None and value is not None:
            return None
        made[word] = inner
    return {**made, "additionalProperties": False} if _is_object(words) else made


def _names(named: Any) -> Any:
    inner = {name: closed(value) for name, value in cast("dict[str, Any]", named).items()}
    return None if any(value is None for value in inner.values()) else inner


def _plain(word: str, value: Any) -> Any:
    return value if word in ("enum", "const", "default", "examples") else closed(value)


def _is_object(words: dict[str, Any]) -> bool:
    return "properties" in words or words.get("type") == "object"


def _is_open(words: dict[str, Any]) -> bool:
    if not _is_object(words):
        return False
    if words.get("additionalProperties", False) is not False:
        return True
    named = words.get("properties")
    return not named or set(named) != set(words.get("required", ()))
