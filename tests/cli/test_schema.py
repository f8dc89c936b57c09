"""``pipeline schema``."""

import json

import jsonschema_rs
import pytest

from pipeline.cli import schema
from pipeline.hub import static_files


@pytest.mark.parametrize("kind", ["asyncapi", "openapi", "json"])
def test_a_document_is_json_of_its_kind(kind: str) -> None:
    document = json.loads(schema.text_of(kind))  # type: ignore[arg-type]
    assert {"asyncapi": "asyncapi", "openapi": "openapi", "json": "$schema"}[kind] in document
    assert document["components"]["schemas"]


def test_every_json_schema_compiles_and_its_references_lead_somewhere() -> None:
    document = json.loads(schema.text_of("json"))
    for name in document["components"]["schemas"]:
        jsonschema_rs.validator_for({**document, "$ref": f"#/components/schemas/{name}"})


def test_the_asyncapi_document_is_the_one_that_a_server_gives() -> None:
    assert json.loads(schema.text_of("asyncapi")) == json.loads(static_files.asyncapi({}).body)


def test_the_types_are_those_of_the_javascript_client() -> None:
    assert "export" in schema.text_of("ts")
