"""JSON Schema of the push protocol, generated from its structs. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

import msgspec
from msgspec import Struct

from pipeline.protocol.commands import ClientCommand, Command
from pipeline.protocol.events import (
    AudioAck,
    ErrorEvent,
    Event,
    Heartbeat,
    ServerEvent,
    SessionResync,
)

Schema = dict[str, Any]

EVENTS: tuple[type[Event], ...] = get_args(ServerEvent)
COMMANDS: tuple[type[Command], ...] = get_args(ClientCommand)
REF = "#/components/schemas/"

_UNNUMBERED = (AudioAck, Heartbeat, ErrorEvent, SessionResync)  # events that may have no number
_ENVELOPE = {"seq", "session_id", "epoch", "ts"}  # present in every numbered event


def type_name(kind: type[Struct]) -> str:
    """Return the ``type`` of messages of ``kind`` on the wire."""
    return str(kind.__struct_config__.tag)


def schemas() -> Mapping[str, Schema]:
    """Return the schema of each struct of the protocol, by its name.

    For readers: a field that the server always writes is required, although the server's own
    decoder does not require it.
    """
    _, found = msgspec.json.schema_components(
        (ServerEvent, ClientCommand), ref_template=REF + "{name}"
    )
    for kind in _with_parts(EVENTS):
        found[kind.__name__]["required"] = _required(kind, found[kind.__name__])
    return found


def _with_parts(kinds: Iterable[type[Struct]]) -> Iterator[type[Struct]]:
    """Yield ``kinds`` and the structs in their fields, at any depth."""
    for kind in kinds:
        yield kind
        for field in msgspec.structs.fields(kind):
            yield from _with_parts(_structs_in(field.type))


def _structs_in(annotation: Any) -> Iterator[type[Struct]]:
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        yield annotation
    for part in get_args(annotation):
        yield from _structs_in(part)


def _required(kind: type[Struct], schema: Schema) -> list[str]:
    """Return the names of the fields that the server always writes."""
    if not kind.__struct_config__.omit_defaults:
        fields = msgspec.structs.fields(kind)
        return [one.encode_name for one in fields if one.default is not msgspec.UNSET]
    required: set[str] = set(schema["required"])
    if issubclass(kind, Event) and kind not in _UNNUMBERED:
        required |= _ENVELOPE
    return [name for name in schema["properties"] if name in required]
