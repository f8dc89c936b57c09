"""Conversion of a JSON Schema for strict structured output, where possible. Pure.

A strict schema requires every property and allows no others, at each level (AssemblyAI and
OpenAI docs, structured outputs, 2026). A schema with optional properties is sent non-strict.
"""

from typing import Any, cast

#: keywords whose keys are names of properties or definitions, not JSON Schema keywords
NAME_KEYWORDS = ("properties", "$defs", "definitions")


#: keywords that a strict schema may not have (OpenAI docs, structured outputs, 2026)
NEVER_STRICT = frozenset({
    "additionalItems", "allOf", "contains", "dependencies", "dependentRequired", "dependentSchemas",
    "else", "if", "maxContains", "maxProperties", "minContains", "minProperties", "not", "oneOf",
    "patternProperties", "prefixItems", "propertyNames", "then", "unevaluatedItems",
    "unevaluatedProperties", "uniqueItems",
})  # fmt: skip


def closed(schema: Any) -> Any:
    """Return ``schema`` with ``additionalProperties: false`` at each level.

    None when an object has optional or additional properties, or a keyword is not allowed.
    """
    if isinstance(schema, list):
        items = [closed(item) for item in cast("list[object]", schema)]
        return None if any(item is None for item in items) else items
    if not isinstance(schema, dict):
        return schema
    keywords = cast("dict[str, Any]", schema)
    if _is_open(keywords) or not NEVER_STRICT.isdisjoint(keywords):
        return None
    made: dict[str, Any] = {}
    for keyword, value in keywords.items():
        inner = _closed_values(value) if keyword in NAME_KEYWORDS else _closed_value(keyword, value)
        if inner is None and value is not None:
            return None
        made[keyword] = inner
    return {**made, "additionalProperties": False} if _is_object(keywords) else made


def _closed_values(names: Any) -> Any:
    inner = {name: closed(value) for name, value in cast("dict[str, Any]", names).items()}
    return None if any(value is None for value in inner.values()) else inner


def _closed_value(keyword: str, value: Any) -> Any:
    return value if keyword in ("enum", "const", "default", "examples") else closed(value)


def _is_object(keywords: dict[str, Any]) -> bool:
    return "properties" in keywords or keywords.get("type") == "object"


def _is_open(keywords: dict[str, Any]) -> bool:
    if not _is_object(keywords):
        return False
    if keywords.get("additionalProperties", False) is not False:
        return True
    names = keywords.get("properties")
    return not names or set(names) != set(keywords.get("required", ()))
