"""AsyncAPI 3 document of the push protocol, generated from its structs. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from pipeline.protocol.close_codes import CloseCode
from pipeline.protocol.commands import ControlCommand, StartCommand, SubscribeCommand
from pipeline.protocol.events import encode
from pipeline.protocol.examples import examples
from pipeline.protocol.json_schema import COMMANDS, EVENTS, REF, Schema, schemas, type_name

MESSAGE = "#/components/messages/"
AUDIO = "audio"
TITLE = "speech-llm-pipeline"  #: also tells this server from others on a port
DEFAULT_HOST = "127.0.0.1:8780"  #: of pipeline serve, with the default settings
GUARANTEE = """\
Events of a session are numbered from 1 without a gap. A frame covers `from_seq` (`seq` if it is
absent) to `seq` and starts directly after the previous frame; a heartbeat covers everything up to
its `head`. A subscriber that reconnects with the `after_seq` it has reached receives everything
after it, or one `session.resync` that states its range. Close codes 1012 and 40xx: reconnect
with `after_seq`. 44xx: do not reconnect. Skip unknown fields and unknown event types."""


#: commands that a subscriber may send
SUBSCRIBER_COMMANDS = [
    kind for kind in COMMANDS if issubclass(kind, SubscribeCommand | ControlCommand)
]


def document(
    version: str, host: str = DEFAULT_HOST, protocol: Literal["ws", "wss"] = "ws"
) -> Mapping[str, Any]:
    """Return the document of this version of the package, for the server at ``host``."""
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": version,
            "description": GUARANTEE,
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "pipeline": {
                "host": host,
                "protocol": protocol,
                "description": "pipeline serve",
                "security": [{"$ref": "#/components/securitySchemes/bearer"}],
            }
        },
        "channels": {"events": _events(), "ingest": _ingest()},
        "operations": _operations(),
        "components": {
            "messages": _messages(),
            "schemas": schemas(),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": (
                        "Required only if the server has tokens. Browsers offer the subprotocols"
                        " `pipeline` and `bearer.TOKEN` instead; with `?auth=message` the token is"
                        ' the first message: `{"type":"session.authenticate","token":"..."}`.'
                    ),
                }
            },
        },
    }


def _events() -> Schema:
    query = {
        "session_id": _text("a session, or * for all; without it, send session.subscribe"),
        "after_seq": {"type": "integer", "minimum": 0, "description": "0: from the start"},
        "epoch": {"type": "integer", "minimum": 0, "description": "of the last event received"},
        "events": _text("globs of event types, separated by commas"),
    }
    description = "A session's events, for any number of subscribers."
    return _channel("/v1/events", description, (*EVENTS, *SUBSCRIBER_COMMANDS), query)


def _ingest() -> Schema:
    query = {"events": _text("globs of the event types to send back, separated by commas")}
    description = (
        "One source: session.start, then binary audio, 50 ms per message, and commands; the server"
        f" sends the session's events back. {_codes()}"
    )
    commands = [kind for kind in COMMANDS if kind is not SubscribeCommand]
    channel = _channel("/v1/ingest/raw", description, (*EVENTS, *commands), query)
    channel["messages"][AUDIO] = {"$ref": MESSAGE + AUDIO}
    return channel


def _codes() -> str:
    codes = ", ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in CloseCode)
    return f"Close codes: {codes}."


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


def _channel(
    address: str, description: str, kinds: Sequence[type[Struct]], query: Mapping[str, Schema]
) -> Schema:
    names = [type_name(kind) for kind in kinds]
    return {
        "address": address,
        "description": description,
        "messages": {name: {"$ref": MESSAGE + name} for name in names},
        "bindings": {"ws": {"method": "GET", "query": {"type": "object", "properties": query}}},
    }


def _operations() -> Schema:
    """Return the operations, as seen from the server."""
    events = [type_name(kind) for kind in EVENTS]
    commands = [type_name(kind) for kind in COMMANDS if kind is not SubscribeCommand]
    return {
        "push": _operation("send", "events", events, "Events sent to subscribers."),
        "subscribe": _operation(
            "receive",
            "events",
            [type_name(kind) for kind in SUBSCRIBER_COMMANDS],
            "Commands of subscribers.",
        ),
        "answer": _operation("send", "ingest", events, "Events sent to a session's source."),
        "feed": _operation("receive", "ingest", [*commands, AUDIO], "Input of a source."),
    }


def _operation(action: str, channel: str, names: Sequence[str], summary: str) -> Schema:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
    }


def _messages() -> Schema:
    shown = {type_name(type(one)): one for one in examples()}
    messages = {
        type_name(kind): {
            "name": type_name(kind),
            "summary": (kind.__doc__ or "").strip(),
            "payload": {"$ref": REF + kind.__name__},
            "examples": [{"payload": msgspec.json.decode(encode(shown[type_name(kind)]))}],
        }
        for kind in (*EVENTS, *COMMANDS)
    }
    default = encode(StartCommand().audio).decode()
    audio = {
        "name": AUDIO,
        "summary": f"Audio in the format given in session.start; by default {default}.",
        "contentType": "application/octet-stream",
        "payload": {"type": "string", "format": "binary"},
    }
    return {**messages, AUDIO: audio}
