"""Write ``client.d.ts``, the types of the JavaScript client, from the protocol's structs.

python scripts/generate_types.py [--check]: with it, only say whether the file is as it should be.
"""

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, json

from pipeline.protocol import commands, events
from pipeline.protocol.json_schema import COMMANDS, EVENTS, REF, Schema, schemas

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "pipeline" / "hub" / "web" / "client.d.ts"
API = ROOT / "scripts" / "client_api.d.ts"

HEADER = """\
// The types of client.js, made by scripts/generate_types.py: change them there.

// --- server → client -------------------------------------------------------------------------
"""
ENVELOPE = "Envelope"
IN_ENVELOPE = events.Event.__struct_fields__
PLAIN = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}


def written(schema: Schema) -> str:
    """Return the TypeScript type that ``schema`` is."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(REF)
    if "anyOf" in schema:
        return " | ".join(map(written, schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(json.encode(value).decode() for value in schema["enum"])
    return _of_type(schema)


def _of_type(schema: Schema) -> str:
    match schema.get("type"):
        case "array":
            item = written(schema.get("items", {}))
            return f"({item})[]" if " | " in item else f"{item}[]"
        case "object":
            inner = schema.get("additionalProperties", {})
            return f"Record<string, {written(inner)}>"
        case str(plain):
            return PLAIN[plain]
        case _:
            return "unknown"


def notes(kind: type[Struct]) -> dict[str, str]:
    """Return the comment beside each field in the source, such as its unit."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base.__module__ in (events.__name__, commands.__name__):
            lines = re.findall(r"^    (\w+): .*?#: (.+)$", inspect.getsource(base), re.MULTILINE)
            found |= dict(lines)
    return found


def interface(name: str, schema: Schema, beside: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of one struct; a numbered event has the envelope's fields from there."""
    fields = schema["properties"]
    base = ""
    if name != ENVELOPE and {"type", "seq"} <= set(schema["required"]):
        base = f" extends {ENVELOPE}"
        fields = {field: inner for field, inner in fields.items() if field not in IN_ENVELOPE}
    yield ""
    yield f"/** {schema['description'].strip().replace('``', '`')} */"
    yield f"export interface {name}{base} {{"
    for field, inner in fields.items():
        if field in beside:
            yield f"  /** {beside[field].replace('``', '`')} */"
        mark = "" if field in schema["required"] else "?"
        yield f"  {field}{mark}: {written(inner)};"
    yield "}"


def envelope(numbered: Schema) -> Schema:
    """Return the fields of every numbered event, as ``numbered`` does."""
    return {
        "description": "What every event has that has a place in its session.",
        "properties": {name: numbered["properties"][name] for name in IN_ENVELOPE},
        "required": numbered["required"],
    }


def described(name: str, schema: Schema) -> Iterator[str]:
    kind = getattr(events, name, None) or getattr(commands, name)
    return interface(name, schema, notes(kind))


def union(name: str, kinds: tuple[type[Any], ...]) -> Iterator[str]:
    yield ""
    yield f"export type {name} ="
    *names, last = [kind.__name__ for kind in kinds]
    yield from (f"  | {one}" for one in names)
    yield f"  | {last};"


def generate() -> str:
    """Return the whole file."""
    found = dict(schemas())
    sent = {kind.__name__ for kind in COMMANDS} | {"AudioFormat"}
    lines = [HEADER.rstrip()]
    beside = notes(events.Event) | {"seq": "from 1, without a gap"}
    lines += interface(ENVELOPE, envelope(found[events.TurnUpdated.__name__]), beside)
    for name in [name for name in found if name not in sent]:
        lines += described(name, found[name])
    lines += [*union("ServerEvent", EVENTS), ""]
    lines += [f"// --- client → server {'-' * 73}"]
    for name in [name for name in found if name in sent]:
        lines += described(name, found[name])
    lines += union("ClientCommand", COMMANDS)
    steering = tuple(kind for kind in COMMANDS if issubclass(kind, commands.ControlCommand))
    lines += [*union("ControlCommand", steering), ""]
    return "\n".join([*lines, API.read_text("utf-8")])


def main() -> None:
    text = generate()
    is_current = TARGET.exists() and TARGET.read_text("utf-8") == text
    if "--check" in sys.argv[1:]:
        sys.exit(None if is_current else f"{TARGET} is out of date: run {sys.argv[0]}")
    TARGET.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
