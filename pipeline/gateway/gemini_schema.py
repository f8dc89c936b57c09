"""Conversion of a tool's JSON Schema to the keywords that Gemini supports. Pure.

Gemini accepts a subset of OpenAPI's schemas (Google, reference of ``Schema``, 2026-11) and answers
400 for every other keyword; so does AssemblyAI's gateway in front of it (AssemblyAI CLI, 2026-06).
Constraints removed here still apply: arguments are validated against the complete schema.
"""

from collections.abc import Mapping
from typing import Any, cast

#: keywords copied unchanged. Gemini's reference also has ``title``, ``default``,
#: ``minProperties`` and ``maxProperties``; AssemblyAI's gateway refuses them.
SUPPORTED = (
    *("type", "description", "nullable", "pattern"),
    *("minItems", "maxItems", "minLength", "maxLength", "minimum", "maximum"),
)
FORMATS = frozenset({"date-time"})  #: of strings; "only 'enum' and 'date-time' are supported"
#: limit of subschemas: references may expand exponentially
MAX_SUBSCHEMAS = 1000
ANY_OBJECT: Mapping[str, Any] = {"type": "object"}  #: replaces a circular reference

_TYPES = ((str, "string"), (bool, "boolean"), (int, "integer"), (float, "number"))

Schema = dict[str, Any]


def for_gemini(schema: object) -> Schema:
    """Return the closest schema to ``schema`` that Gemini accepts."""
    return _Converter(_table(schema)).convert(schema, ())


class _Converter:
    """Converter of one schema, whose references point into ``root``."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._left = MAX_SUBSCHEMAS

    def convert(self, found: object, within: tuple[str, ...]) -> Schema:
        """Return one converted (sub)schema; ``within`` are the references followed so far."""
        self._left -= 1
        keywords = _with_single_types(_table(found))
        if self._left < 0:
            return dict(ANY_OBJECT)
        if "$ref" in keywords:
            return _finalised(self._referred(keywords, within))
        parts = [self.convert(part, within) for part in _list(keywords.get("allOf"))]
        result = _merged(
            *parts, {keyword: keywords[keyword] for keyword in SUPPORTED if keyword in keywords}
        )
        self._structure(result, keywords, within)
        _limit_values(result, keywords)
        _limit_format(result, keywords)
        return _finalised(self._alternatives(result, keywords, within))

    def _referred(self, keywords: Schema, within: tuple[str, ...]) -> Schema:
        reference = str(keywords["$ref"])
        beside = {keyword: keywords[keyword] for keyword in keywords if keyword != "$ref"}
        if reference in within:
            return _merged(dict(ANY_OBJECT), self.convert(beside, within))
        target = self.convert(self._find(reference), (*within, reference))
        return _merged(target, self.convert(beside, within))

    def _find(self, reference: str) -> object:
        """Return the target of a reference inside the schema; remote ones are not fetched."""
        found: object = self._root if reference.startswith("#") else None
        for part in reference.split("/")[1:]:
            found = _table(found).get(part.replace("~1", "/").replace("~0", "~"))
        return ANY_OBJECT if found is None else found

    def _structure(self, result: Schema, keywords: Schema, within: tuple[str, ...]) -> None:
        if properties := _table(keywords.get("properties")):
            inside = {name: self.convert(inner, within) for name, inner in properties.items()}
            result["properties"] = result.get("properties", {}) | inside
        if required := _list(keywords.get("required")):
            result["required"] = [*result.get("required", ()), *required]
        item_schemas: list[object] = [*_list(keywords.get("prefixItems")), keywords.get("items")]
        if items := [self.convert(schema, within) for schema in item_schemas if _table(schema)]:
            result["items"] = _any_of(items)

    def _alternatives(self, result: Schema, keywords: Schema, within: tuple[str, ...]) -> Schema:
        """Convert ``anyOf`` and ``oneOf`` to ``anyOf``, a ``null`` alternative to ``nullable``."""
        several = _list(keywords.get("anyOf")) or _list(keywords.get("oneOf"))
        others = [other for other in several if _table(other).get("type") != "null"]
        if len(others) < len(several):
            result["nullable"] = True
        if not others:
            return result
        return _merged(_any_of([self.convert(other, within) for other in others]), result)


def _with_single_types(keywords: Schema) -> Schema:
    """Return ``keywords`` with a list of types converted to ``anyOf``, one type each."""
    several = _list(keywords.get("type"))
    if not several:
        return keywords
    rest = {keyword: keywords[keyword] for keyword in keywords if keyword != "type"}
    kinds = [kind for kind in several if kind != "null"]
    if len(kinds) < len(several):
        rest["nullable"] = True
    if len(kinds) == 1:
        return {**rest, "type": kinds[0]}
    about: Schema = {
        keyword: rest.pop(keyword) for keyword in ("description", "nullable") if keyword in rest
    }
    return {**about, "anyOf": [{**rest, "type": kind} for kind in kinds]}


def _any_of(schemas: list[Schema]) -> Schema:
    different = [one for at, one in enumerate(schemas) if one not in schemas[:at]]
    return different[0] if len(different) == 1 else {"anyOf": different}


def _limit_values(result: Schema, keywords: Schema) -> None:
    values: list[Any] = [keywords["const"]] if "const" in keywords else _list(keywords.get("enum"))
    if None in values:
        result["nullable"] = True
        values = [value for value in values if value is not None]
    kinds = {_type_of(value) for value in values}
    if len(kinds) == 1 and (kind := kinds.pop()) is not None:
        result.setdefault("type", kind)
    if values:
        result["enum"] = values


def _type_of(value: object) -> str | None:
    return next((name for kind, name in _TYPES if isinstance(value, kind)), None)


def _limit_format(result: Schema, keywords: Schema) -> None:
    form = keywords.get("format")
    if result.get("type") != "string" or not isinstance(form, str):
        return
    if form in FORMATS:
        result["format"] = form
    else:
        _describe(result, f"Format: {form}.")


def _finalised(result: Schema) -> Schema:
    """Return ``result``, merged from several schemas, as Gemini accepts it."""
    values = result.get("enum", ())
    if values and (result.get("type") != "string" or not all(isinstance(v, str) for v in values)):
        del result["enum"]  # Gemini supports enum for strings only
        _describe(result, f"One of: {', '.join(map(str, values))}.")
    if result.get("type") == "array":
        result.setdefault("items", {"type": "string"})  # required by Gemini
    if "required" in result:
        known = result.get("properties", {})
        result["required"] = [name for name in dict.fromkeys(result["required"]) if name in known]
    return result


def _describe(result: Schema, more: str) -> None:
    before = result.get("description")
    result["description"] = f"{before} {more}" if before else more


def _merged(*schemas: Schema) -> Schema:
    """Return the union of ``schemas``; a later keyword replaces an earlier one."""
    whole: Schema = {}
    for schema in schemas:
        properties = whole.get("properties", {}) | schema.get("properties", {})
        required = [*whole.get("required", ()), *schema.get("required", ())]
        whole |= schema
        if properties:
            whole["properties"] = properties
        if required:
            whole["required"] = required
    return whole


def _table(found: object) -> Schema:
    return cast("Schema", found) if isinstance(found, dict) else {}


def _list(found: object) -> list[Any]:
    return cast("list[object]", found) if isinstance(found, list) else []
