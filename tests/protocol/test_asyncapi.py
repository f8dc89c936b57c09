"""The AsyncAPI document holds the whole protocol, and its own examples keep to it."""

import json
import re
from typing import Any

import jsonschema_rs
import pytest

from pipeline.protocol.asyncapi import document
from pipeline.protocol.commands import decode_command
from pipeline.protocol.events import UnknownEvent, decode_event, encode, type_of
from pipeline.protocol.examples import examples
from pipeline.protocol.json_schema import COMMANDS, EVENTS, type_name

DOCUMENT: dict[str, Any] = json.loads(json.dumps(document("1.2.3")))
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]
TYPES = {type_name(kind) for kind in (*EVENTS, *COMMANDS)}


def schema_of(kind: str) -> dict[str, Any]:
    """Return the schema of a message's payload, with the document for its references."""
    return {**MESSAGES[kind]["payload"], "components": DOCUMENT["components"]}


def test_every_event_and_command_is_in_it() -> None:
    assert set(MESSAGES) == TYPES | {"audio"}
    channels = DOCUMENT["channels"]
    assert set(channels["events"]["messages"]) | set(channels["ingest"]["messages"]) == set(
        MESSAGES
    )


def test_every_reference_leads_somewhere() -> None:
    found = set(re.findall(r'"\$ref": "#/([^"]*)"', json.dumps(DOCUMENT)))
    assert found
    for reference in found:
        place: Any = DOCUMENT
        for step in reference.split("/"):
            place = place[step]


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_an_example_is_valid_and_says_everything_that_must_be_there(kind: str) -> None:
    [example] = MESSAGES[kind]["examples"]
    validator = jsonschema_rs.validator_for(schema_of(kind))
    assert list(validator.iter_errors(example["payload"])) == []
    assert example["payload"]["type"] == kind
    assert not validator.is_valid({**example["payload"], "type": "another"})
    assert not validator.is_valid({})


@pytest.mark.parametrize("one", examples(), ids=type_of)
def test_an_example_is_read_as_what_it_is(one: Any) -> None:
    decode = decode_event if isinstance(one, EVENTS) else decode_command
    assert decode(encode(one)) == one
    assert not isinstance(one, UnknownEvent)


def test_a_number_too_few_is_not_valid() -> None:
    [example] = MESSAGES["turn.updated"]["examples"]
    for field in ("seq", "session_id", "epoch", "ts", "turn"):
        short = {name: value for name, value in example["payload"].items() if name != field}
        assert not jsonschema_rs.is_valid(schema_of("turn.updated"), short), field
