"""The OpenAPI document: valid, and true of what the endpoints answer."""

import json
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import validate

from pipeline.http_api.chat_chunks import ChunkEncoder
from pipeline.http_api.chat_completion import CompletionCollector
from pipeline.http_api.errors import ApiError, error_body
from pipeline.http_api.openapi import document
from pipeline.interfaces.llm import Finished, Piece, TextDelta, ToolCallDelta, Usage

DOCUMENT: Any = json.loads(json.dumps(document("1.0")))


def test_it_is_valid() -> None:
    validate(DOCUMENT)


def test_each_operation_has_a_name_of_its_own() -> None:
    names = [
        operation["operationId"]
        for path in DOCUMENT["paths"].values()
        for method, operation in path.items()
        if method != "parameters"
    ]
    assert len(names) == len(set(names))


def validator(name: str) -> jsonschema_rs.Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return jsonschema_rs.validator_for(schema)


PIECES: list[Piece] = [
    TextDelta("Hi"),
    ToolCallDelta(0, "c1", "look", "{}"),
    Finished("stop", complete=True),
]


def test_whole_answers_fit_their_schema() -> None:
    collector = CompletionCollector()
    collector.add(PIECES)
    body = json.loads(collector.body("r1", "m", 7, Usage(1, 2, estimated=True)))
    validator("ChatCompletion").validate(body)


def test_chunks_fit_their_schema() -> None:
    encoder = ChunkEncoder("r1", "m", 7)
    data = encoder.encode(PIECES) + encoder.ending(Finished("stop", complete=True), Usage(1, 2))
    *chunks, _done = [line.removeprefix(b"data: ") for line in data.split(b"\n\n") if line]
    for chunk in chunks:
        validator("ChatCompletionChunk").validate(json.loads(chunk))


def test_errors_fit_their_schema() -> None:
    validator("Error").validate(json.loads(error_body(ApiError(400, "no"), "r1")))


@pytest.mark.parametrize("stream", [True, False])
def test_an_ordinary_request_fits_its_schema(stream: bool) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    body = {"model": "m", "messages": messages, "stream": stream, "seed": 7}
    validator("ChatCompletionRequest").validate(body)
