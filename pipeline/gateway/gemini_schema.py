"""A tool's JSON Schema in the few words that Gemini knows. Pure.

Gemini takes a subset of OpenAPI's schemas (Google, reference of ``Schema``, 2026-11) and answers
every other word with 400, and so does AssemblyAI's gateway in front of it (AssemblyAI CLI,
2026-06). What is left out here still holds: arguments are checked against the whole schema.
"""

from collections.abc import Mapping
from typing import Any, cast

#: what is kept as it is. Gemini's reference has ``title``, ``default``, ``minProperties`` and
#: ``maxProperties``, too; through AssemblyAI's gateway they are refused.
KEPT = (
    *("type", "description", "nullable", "pattern"),
    *("minItems", "maxItems", "minLength", "maxLength", "minimum", "maximum"),
)
FORMATS = frozenset({"date-time"})  #: of strings; "only 'enum' and 'date-time' are supported"
#: subschemas; one whose references multiply without end is cut off there
MOST = 1000
ANYTHING: Mapping[str, Any] = {"type": "object"}  #: in place of what goes round in circles

_TYPES = ((str, "string"), (bool, "boolean"), (int, "integer"), (float, "number"))

Schema = dict[str, Any]


def cleaned(schema: object) -> Schema:
    """Return ``schema`` without what Gemini refuses, as near to it as can be said."""
    return _Cleaning(_table(schema)).of(schema, ())


class _Cleaning:
    """The cleaning of one schema, whose references point into ``root``."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._left = MOST

    def of(self, found: object, within: tuple[str, ...]) -> Schema:
        """Return one (sub)schema, cleaned; ``within`` are the references that led here."""
        self._left -= 1
        words = _with_one_type(_table(found))
        if self._left < 0:
            return dict(ANYTHING)
        if "$ref" in words:
            return _settled(self._referred(words, within))
        parts = [self.of(part, within) for part in _list(words.get("allOf"))]
        kept = _merged(*parts, {word: words[word] for word in KEPT if word in words})
        self._structure(kept, words, within)
        _limit_values(kept, words)
        _limit_format(kept, words)
        return _settled(self._alternatives(kept, words, within))

    def _referred(self, words: Schema, within: tuple[str, ...]) -> Schema:
        where = str(words["$ref"])
        beside = {word: words[word] for word in words if word != "$ref"}
        if where in within:
            return _merged(dict(ANYTHING), self.of(beside, within))
        target = self.of(self._find(where), (*within, where))
        return _merged(target, self.of(beside, within))

    def _find(self, where: str) -> object:
        """Return what a reference points at; nothing is fetched from elsewhere."""
        found: object = self._root if where.startswith("#") else None
        for part in where.split("/")[1:]:
            found = _table(found).get(part.replace("~1", "/").replace("~0", "~"))
        return ANYTHING if found is None else found

    def _structure(self, kept: Schema, words: Schema, within: tuple[str, ...]) -> None:
        if properties := _table(words.get("properties")):
            inside = {name: self.of(inner, within) for name, inner in properties.items()}
            kept["properties"] = kept.get("properties", {}) | inside
        if required := _list(words.get("required")):
            kept["required"] = [*kept.get("required", ()), *required]
        places: list[object] = [*_list(words.get("prefixItems")), words.get("items")]
        if told := [self.of(place, within) for place in places if _table(place)]:
            kept["items"] = _any_of(told)

    def _alternatives(self, kept: Schema, words: Schema, within: tuple[str, ...]) -> Schema:
        """Say ``null`` among several as Gemini does, and one of several always as ``anyOf``."""
        several = _list(words.get("anyOf")) or _list(words.get("oneOf"))
        others = [other for other in several if _table(other).get("type") != "null"]
        if len(others) < len(several):
            kept["nullable"] = True
        if not others:
            return kept
        return _merged(_any_of([self.of(other, within) for other in others]), kept)


def _with_one_type(words: Schema) -> Schema:
    """Return ``words`` with several types told apart, as Gemini wants it."""
    several = _list(words.get("type"))
    if not several:
        return words
    rest = {word: words[word] for word in words if word != "type"}
    kinds = [kind for kind in several if kind != "null"]
    if len(kinds) < len(several):
        rest["nullable"] = True
    if len(kinds) == 1:
        return {**rest, "type": kinds[0]}
    about: Schema = {word: rest.pop(word) for word in ("description", "nullable") if word in rest}
    return {**about, "anyOf": [{**rest, "type": kind} for kind in kinds]}


def _any_of(schemas: list[Schema]) -> Schema:
    different = [one for at, one in enumerate(schemas) if one not in schemas[:at]]
    return different[0] if len(different) == 1 else {"anyOf": different}


def _limit_values(kept: Schema, words: Schema) -> None:
    values: list[Any] = [words["const"]] if "const" in words else _list(words.get("enum"))
    if None in values:
        kept["nullable"] = True
        values = [value for value in values if value is not None]
    kinds = {_type_of(value) for value in values}
    if len(kinds) == 1 and (kind := kinds.pop()) is not None:
        kept.setdefault("type", kind)
    if values:
        kept["enum"] = values


def _type_of(value: object) -> str | None:
    return next((name for kind, name in _TYPES if isinstance(value, kind)), None)


def _limit_format(kept: Schema, words: Schema) -> None:
    form = words.get("format")
    if kept.get("type") != "string" or not isinstance(form, str):
        return
    if form in FORMATS:
        kept["format"] = form
    else:
        _describe(kept, f"Format: {form}.")


def _settled(kept: Schema) -> Schema:
    """Return ``kept``, put together from several, as Gemini takes it."""
    values = kept.get("enum", ())
    if values and (kept.get("type") != "string" or not all(isinstance(v, str) for v in values)):
        del kept["enum"]  # only texts can be enumerated
        _describe(kept, f"One of: {', '.join(map(str, values))}.")
    if kept.get("type") == "array":
        kept.setdefault("items", {"type": "string"})  # it must say what it holds
    if "required" in kept:
        known = kept.get("properties", {})
        kept["required"] = [name for name in dict.fromkeys(kept["required"]) if name in known]
    return kept


def _describe(kept: Schema, more: str) -> None:
    before = kept.get("description")
    kept["description"] = f"{before} {more}" if before else more


def _merged(*schemas: Schema) -> Schema:
    """Return one schema that says what all do; of two that differ in a word, the later."""
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
