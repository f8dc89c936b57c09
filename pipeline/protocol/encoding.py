"""Encoding of events so that they can always be decoded again. Pure.

Values come from servers and tools: infinity and NaN are encoded as null, lone surrogates, huge
integers and deep nesting not at all. An event with such a value is stored with the nearest value
that has a JSON form.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
from msgspec import NODEFAULT, Struct

from pipeline.protocol.events import Event, ResponseDelta, TurnUpdated, decode_event, encode

MAX_DEPTH = 100  #: levels of nested objects and lists in an event
TOO_DEEP = "(nested too deeply)"
_MAX_INTEGER = 1 << 63
_UNCHECKED = (ResponseDelta, TurnUpdated)  # many, and of fields that are text or integers


def encoded(event: Event) -> tuple[Event, bytes]:
    """Return ``event`` as it can be decoded, and its JSON."""
    try:
        data = encode(event)
        if isinstance(event, _UNCHECKED) or not _is_suspicious(data):
            return event, data
        decode_event(data)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError):
        return _with_cleaned_values(event)
    return (event, data) if _depth(data) <= MAX_DEPTH else _with_cleaned_values(event)


def _with_cleaned_values(event: Event) -> tuple[Event, bytes]:
    cleaned: Event = _cleaned(event, 0)
    return cleaned, encode(cleaned)


def _is_suspicious(data: bytes) -> bool:
    """Return whether ``data`` may contain a null in place of a number, or may be nested deeply."""
    return b"null" in data or data.count(b"[") + data.count(b"{") > MAX_DEPTH


def _depth(data: bytes) -> int:
    """Return the nesting of JSON text, at least: brackets within strings count as well."""
    depth = deepest = 0
    for byte in data:
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _cleaned(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return TOO_DEEP
    match value:
        case Struct():
            return _cleaned_struct(value, depth)
        case dict():
            pairs = cast("Mapping[Any, Any]", value)
            return {
                str(_cleaned(key, depth + 1)): _cleaned(each, depth + 1)
                for key, each in pairs.items()
            }
        case tuple() | list():
            items = cast("Sequence[Any]", value)
            cleaned = [_cleaned(each, depth + 1) for each in items]
            return tuple(cleaned) if isinstance(value, tuple) else cleaned
        case _:
            return _cleaned_scalar(value)


def _cleaned_scalar(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case None | bool() | msgspec.UNSET:
            return value
        case float():
            return value if math.isfinite(value) else None
        case int():
            return value if -_MAX_INTEGER <= value < _MAX_INTEGER else f"{value:#x}"[:100]
        case _:
            return _cleaned_scalar(repr(value)[:1000])


def _cleaned_struct(struct: Struct, depth: int) -> Struct:
    """Return ``struct`` with its default, or 0, in place of numbers without a JSON form."""
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        cleaned = _cleaned(value, depth + 1)
        if isinstance(value, float) and cleaned is None:
            cleaned = 0.0 if field.default is NODEFAULT else field.default
        fields[field.name] = cleaned
    return type(struct)(**fields)
