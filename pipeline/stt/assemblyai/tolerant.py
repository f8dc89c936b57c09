"""Tolerant reading of server messages whose fields are not as documented. Pure.

One odd field costs that field, not the message; one odd message must not cost the session.
"""

import math
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import fields

from pipeline.runtime.json_values import decoded

SHOWN = 200  #: characters of a message that a log line or an error quotes

Read = TypeVar("Read")
Table = Mapping[str, Any]

#: fields of an error message that hold its words, in order of preference
_WORDS = ("error", "message", "reason", "detail", "description", "title", "text")
_CODES = ("error_code", "code", "status")


def beginning(data: bytes | str) -> str:
    """Return the beginning of data that is no JSON object, as one line; else nothing."""
    text = data[: 4 * SHOWN].decode("utf-8", "replace") if isinstance(data, bytes) else data
    return "" if text.lstrip().startswith("{") else _line(text)


def _line(text: str) -> str:
    line = " ".join(text[:SHOWN].split())
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def table(data: bytes | str) -> Table:
    """Return the JSON object in ``data``, with a "?" for what is no text.

    Raises ValueError when there is none, RecursionError when it is nested too deeply.
    """
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    return msgspec.convert(decoded(text), dict[str, Any])


def read(kind: type[Read], given: Table) -> Read:
    """Return a ``kind`` of the fields that can be read; the others have their defaults.

    Raises ``msgspec.ValidationError`` when a required field is missing.
    """
    assert issubclass(kind, Struct)
    values: dict[str, Any] = {}
    for field in fields(kind):
        value = given.get(field.encode_name)
        if value is not None:
            values |= _field(field.name, field.type, value)
    required = [field.name for field in fields(kind) if field.required]
    missing = [name for name in required if name not in values]
    if missing:
        raise msgspec.ValidationError(f"{missing[0]} is missing or cannot be read")
    return kind(**values)


def _field(name: str, kind: Any, value: Any) -> dict[str, Any]:
    """Return the field under its name, or nothing when its value cannot be read."""
    if kind is Raw:
        return {name: Raw(msgspec.json.encode(value))}
    item = _item(kind)
    if item is not None:
        try:
            return {name: _items(item, msgspec.convert(value, list[Any]))}
        except msgspec.ValidationError:
            return {}
    for attempt in (value, str(value) if isinstance(value, int | float) else words_of(value)):
        try:
            read = msgspec.convert(attempt, kind, strict=False)
        except msgspec.ValidationError:
            continue
        if not isinstance(read, float) or math.isfinite(read):
            return {name: read}
    return {}


def _as_table(value: Any) -> Table:
    return typing.cast("Table", value) if isinstance(value, dict) else {}


def _item(kind: Any) -> type[Struct] | None:
    """Return the struct of which ``kind`` is a tuple, if it is one."""
    for each in (kind, *typing.get_args(kind)):
        item = (typing.get_args(each) or (None,))[0]
        if typing.get_origin(each) is tuple and isinstance(item, type):
            return item if issubclass(item, Struct) else None
    return None


def _items(kind: type[Struct], values: list[Any]) -> tuple[Struct, ...]:
    """Return the items that can be read."""
    items: list[Struct] = []
    for value in values:
        try:
            items.append(read(kind, _as_table(value)))
        except msgspec.ValidationError:
            continue
    return tuple(items)


# --- errors --------------------------------------------------------------------------------


def error_text(given: Table) -> str | None:
    """Return the words of an error message of any shape; None for another message."""
    named = str(given.get("type")).lower() == "error"
    if not (named or given.get("error") or given.get("errors")):
        return None
    for name in (*_WORDS, "errors"):
        if text := words_of(given.get(name)):
            return text
    return words_of({name: value for name, value in given.items() if name != "type"})


def error_code(given: Table) -> float | None:
    """Return the code of an error message, where it is a number."""
    for source in (given, _as_table(given.get("error"))):
        for name in _CODES:
            try:
                return msgspec.convert(source[name], float, strict=False)
            except (KeyError, msgspec.ValidationError):
                continue
    return None


def words_of(value: Any) -> str:
    """Return the words in a value: a text itself, a table's message, else it as JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, dict):
        given = typing.cast("Table", value)
        for name in _WORDS:
            if text := words_of(given.get(name)):
                return text
    return _line(msgspec.json.encode(value).decode()) if value else ""
