"""``pipeline schema``: documents that describe the protocol, for generators of clients."""

import sys
from importlib import resources
from typing import Literal

import msgspec

from pipeline.http_api import openapi
from pipeline.protocol import asyncapi
from pipeline.protocol.json_schema import schemas
from pipeline.runtime.version import VERSION


async def schema(kind: Literal["asyncapi", "openapi", "json", "ts"], /) -> None:
    """Print one of the documents; no server is needed.

    Parameters
    ----------
    kind
        asyncapi: the websockets. openapi: the HTTP paths. json: JSON Schemas of the values in
        events and commands. ts: TypeScript declarations of the JavaScript client.
    """
    sys.stdout.write(text_of(kind))


def text_of(kind: Literal["asyncapi", "openapi", "json", "ts"]) -> str:
    """Return the text of a document."""
    match kind:
        case "asyncapi":
            return _formatted(asyncapi.document(VERSION))
        case "openapi":
            return _formatted(openapi.document(VERSION))
        case "json":
            draft = "https://json-schema.org/draft/2020-12/schema"
            return _formatted({"$schema": draft, "components": {"schemas": schemas()}})
        case "ts":
            return (resources.files("pipeline.hub") / "web" / "client.d.ts").read_text("utf-8")


def _formatted(document: object) -> str:
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
