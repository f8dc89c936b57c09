"""Gemini's rules for a tool's schema, from its reference and as the gateway applies them."""

from typing import Any, cast

KNOWN = frozenset(
    {
        "type",
        "format",
        "description",
        "nullable",
        "enum",
        "properties",
        "required",
        "items",
        "anyOf",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "pattern",
        "minimum",
        "maximum",
    }
)


def complaint(found: object, at: str = "parameters") -> str | None:
    """Return why a schema is refused, with the place; none if it is taken."""
    if not isinstance(found, dict):
        return f"{at}: no schema"
    schema = cast("dict[str, Any]", found)
    if unknown := sorted(schema.keys() - KNOWN):
        return f'Unknown name "{unknown[0]}" at {at}: Cannot find field.'
    return _of_itself(schema, at) or next(filter(None, _of_its_parts(schema, at)), None)


def _of_itself(schema: dict[str, Any], at: str) -> str | None:
    kind, values = schema.get("type"), schema.get("enum", [])
    if kind is not None and not isinstance(kind, str):
        return f"{at}.type: one word"
    if values and (kind != "string" or not all(isinstance(value, str) for value in values)):
        return f"{at}.enum: only allowed for STRING type"
    if schema.get("format", "date-time") != "date-time":
        return f"{at}.format: only 'enum' and 'date-time' are supported for STRING type"
    if kind == "array" and "items" not in schema:
        return f"{at}.items: missing field."
    if missing := set(schema.get("required", ())) - schema.get("properties", {}).keys():
        return f"{at}.required: property {missing} is not defined"
    return None


def _of_its_parts(schema: dict[str, Any], at: str) -> list[str | None]:
    found = [complaint(one, f"{at}.{name}") for name, one in schema.get("properties", {}).items()]
    found += [complaint(one, f"{at}.any_of") for one in schema.get("anyOf", ())]
    if "items" in schema:
        found.append(complaint(schema["items"], f"{at}.items"))
    return found
