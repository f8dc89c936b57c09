"""Validation messages for settings: path, value, allowed values. Pure."""

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import msgspec
from msgspec import inspect
from msgspec.structs import asdict

from pipeline.runtime.hosts import shown

Tree = dict[str, Any]


def is_table(value: object) -> TypeGuard[Tree]:
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, (list, tuple))


def problems(kind: inspect.Type, value: object, path: str = "") -> Iterator[str]:
    """Yield one message for each part of ``value`` that is not valid for ``kind``."""
    match kind:
        case inspect.StructType() if is_table(value):
            yield from _in_table(kind, value, path)
        case inspect.DictType() if is_table(value):
            for name, item in value.items():
                yield from problems(kind.value_type, item, join(path, name))
        case inspect.VarTupleType() if is_list(value):
            for index, item in enumerate(value):
                yield from problems(kind.item_type, item, f"{path}[{index}]")
        case _ if not fits(kind, value):
            got = "another value" if is_secret(kind) else formatted(value)
            yield f"{path}: expected {allowed(kind)}; got {got}"
        case _:
            pass


def _in_table(kind: inspect.StructType, value: Tree, path: str) -> Iterator[str]:
    fields = {field.name: field for field in kind.fields}
    for name, item in value.items():
        if field := fields.get(name):
            yield from problems(field.type, item, join(path, name))
        else:
            yield f"{join(path, name)}: no such setting{suggestion(name, fields, path)}"
    for name, field in fields.items():
        if field.required and name not in value:
            yield f"{join(path, name)}: missing; expected {allowed(field.type)}"


def suggestion(name: str, known: Mapping[str, object] | Sequence[str], path: str = "") -> str:
    """Return ``; did you mean …?``, or the known names when none is similar."""
    near = difflib.get_close_matches(name, list(known), n=1)
    if near:
        return f"; did you mean {join(path, near[0])}?"
    return f"; expected one of {', '.join(known)}"


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def fits(kind: inspect.Type, value: object) -> bool:
    """Return whether a plain value is valid for ``kind``."""
    match kind:
        case inspect.AnyType():
            return True
        case inspect.Metadata():
            return fits(kind.type, value)
        case inspect.UnionType():
            return any(fits(each, value) for each in kind.types)
        case inspect.NoneType():
            return value is None
        case inspect.LiteralType():
            return isinstance(value, (str, int)) and value in kind.values
        case _:
            return _fits_plain(kind, value)


def _fits_plain(kind: inspect.Type, value: object) -> bool:
    match kind:
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.StrType():
            return isinstance(value, str) and bool(re.search(kind.pattern or "", value))
        case inspect.IntType():
            return type(value) is int and _in_range(kind, value)
        case inspect.FloatType():
            return (
                isinstance(value, (int, float))
                and not isinstance(value, bool)
                and math.isfinite(value)
                and _in_range(kind, value)
            )
        case _:
            return False  # a table or a list is required


def _in_range(kind: inspect.IntType | inspect.FloatType, value: float) -> bool:
    return (kind.ge is None or value >= kind.ge) and (kind.le is None or value <= kind.le)


def allowed(kind: inspect.Type) -> str:
    """Describe the values that ``kind`` allows."""
    match kind:
        case inspect.Metadata():
            return _annotation(kind, "extra_json_schema", "description") or allowed(kind.type)
        case inspect.UnionType():
            return " or ".join(
                allowed(each) for each in kind.types if not isinstance(each, inspect.NoneType)
            )
        case inspect.LiteralType():
            return f"one of {', '.join(str(value) for value in kind.values)}"
        case inspect.IntType():
            return f"a whole number{_range(kind)}"
        case inspect.FloatType():
            return f"a number{_range(kind)}"
        case _:
            return _PLAIN.get(type(kind), "another type")


_PLAIN: dict[type[inspect.Type], str] = {
    inspect.StrType: "text",
    inspect.BoolType: "true or false",
    inspect.StructType: "a table",
    inspect.DictType: "a table",
    inspect.VarTupleType: "a list",
}


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f" from {kind.ge:g} to {kind.le:g}"
    return "" if kind.ge is None else f" of at least {kind.ge:g}"


def is_secret(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.Metadata) and bool(_annotation(kind, "extra", "secret"))


def _annotation(kind: inspect.Metadata, part: str, name: str) -> str:
    """Return the annotation ``name``; empty if it is not set."""
    notes: Tree = asdict(kind)[part] or {}
    return str(notes.get(name, ""))


def formatted(value: object) -> str:
    """Return ``value`` as TOML or JSON text, cut to 80 characters, addresses without secrets."""
    if isinstance(value, float):
        return repr(value)  # JSON cannot represent nan
    text = shown(msgspec.json.encode(value, enc_hook=str).decode())
    return text if len(text) <= 80 else f"{text[:77]}..."


def kind_at(kind: inspect.Type, path: Sequence[str]) -> inspect.Type | None:
    """Return the type at ``path``; none if no setting has that name."""
    for name in path:
        match kind:
            case inspect.StructType():
                found = next((field for field in kind.fields if field.name == name), None)
                if found is None:
                    return None
                kind = found.type
            case inspect.DictType():
                kind = kind.value_type
            case inspect.AnyType():
                return kind
            case _:
                return None
    return kind


def read_text(kind: inspect.Type, text: str) -> object:
    """Convert the text of a variable or flag to the type ``kind``, if possible."""
    match kind:
        case inspect.StrType() | inspect.LiteralType():
            return text
        case inspect.Metadata():
            return read_text(kind.type, text)
        case inspect.UnionType() if any(isinstance(each, inspect.StrType) for each in kind.types):
            return text
        case inspect.BoolType() if text.lower() in _BOOLS:
            return _BOOLS[text.lower()]
        case _:
            try:
                return msgspec.json.decode(text)
            except msgspec.DecodeError:
                return text


_BOOLS: dict[str, bool] = {"true": True, "yes": True, "on": True, "1": True}
_BOOLS.update({"false": False, "no": False, "off": False, "0": False})


def set_at(tree: Tree, path: Sequence[str], value: object) -> None:
    """Set ``value`` at ``path``, creating the tables above it."""
    *tables, name = path
    for table in tables:
        tree = tree.setdefault(table, {})
    tree[name] = value


def merge(under: Tree, over: Tree) -> Tree:
    """Return both trees merged; ``over`` wins where both have a value."""
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = merge(below, value) if is_table(below) and is_table(value) else value
    return merged
