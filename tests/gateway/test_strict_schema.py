"""Strict schemas: closed at each level, or not strict."""

from typing import Any

import pytest

from pipeline.gateway.strict_schema import closed

TEXT = {"type": "string"}


def thing(**more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": TEXT}, "required": ["a"], **more}


def test_every_object_is_closed_at_each_level() -> None:
    inner = {"type": "array", "items": thing()}
    schema = {**thing(), "properties": {"a": inner}, "$defs": {"properties": thing()}}
    shut = thing(additionalProperties=False)
    assert closed(schema) == {
        **shut,
        "properties": {"a": {"type": "array", "items": shut}},
        "$defs": {"properties": shut},
    }


@pytest.mark.parametrize(
    "schema",
    [
        thing(required=[]),
        thing(additionalProperties=True),
        thing(additionalProperties=TEXT),
        {"type": "object"},
        {"type": "array", "items": {"type": "object"}},
        {"anyOf": [TEXT, thing(required=[])]},
    ],
)
def test_what_leaves_a_choice_is_not_strict(schema: dict[str, Any]) -> None:
    assert closed(schema) is None


def test_what_is_no_object_stays_as_it_is() -> None:
    schema = {"type": "string", "enum": ["x", None], "default": None}
    assert closed(schema) == schema
