"""JSON Schema of a Python function, from its signature and its docstring. Pure."""

import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta, Struct

from pipeline.errors import SettingsError

#: a parameter of this name receives the call's idempotency key; the schema does not contain it
KEY = "idempotency_key"

#: ``name: text`` and ``name (type): text``, or ``:param name: text``
_ABOUT = re.compile(r"^\s*(?::param\s+)?(\w+)\s*(?:\([^)]*\))?:[ \t]+(\S.*)$", re.MULTILINE)


class Signature(Struct, frozen=True):
    """Description and schema of a function."""

    description: str
    schema: dict[str, Any]
    arguments: type[Struct]  #: converts valid arguments to the types of the function
    wants_key: bool


def signature_of(name: str, function: Callable[..., Any]) -> Signature:
    """Return the signature of ``function``; raises SettingsError for an unsupported one."""
    text = inspect.getdoc(function) or ""
    descriptions = dict(_ABOUT.findall(text))
    hints = _hints(name, function)
    parameters = inspect.signature(function).parameters
    fields = [
        _field(name, one, hints, descriptions) for one in parameters.values() if one.name != KEY
    ]
    try:
        made = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)
        (top,), parts = msgspec.json.schema_components([made], ref_template="#/$defs/{name}")
    except TypeError as error:
        raise SettingsError(f"{name}: {error}") from error
    schema = parts.pop(top["$ref"].removeprefix("#/$defs/"))
    schema.pop("title", None)
    if parts:
        schema["$defs"] = parts
    return Signature(text.split("\n\n", 1)[0].replace("\n", " "), schema, made, KEY in parameters)


def _hints(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise SettingsError(f"{name}: its type hints cannot be read: {error}") from error


def _field(
    name: str, one: inspect.Parameter, hints: dict[str, Any], descriptions: dict[str, str]
) -> tuple[str, Any] | tuple[str, Any, Any]:
    if one.kind not in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
        raise SettingsError(f"{name}: a tool cannot have the parameter {one}")
    if one.name not in hints:
        raise SettingsError(f"{name}: the parameter {one.name!r} has no type hint")
    kind = hints[one.name]
    if one.name in descriptions:
        kind = Annotated[kind, Meta(description=descriptions[one.name])]
    if one.default is one.empty:
        return one.name, kind
    return one.name, kind, one.default
