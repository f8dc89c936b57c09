"""Schemas converted for Gemini use only keywords that it accepts."""

import enum
from datetime import date
from typing import Annotated, Any, Literal

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from pipeline.gateway.gemini_schema import MAX_SUBSCHEMAS, for_gemini
from pipeline.tools.signature import signature_of
from tests.gateway.gemini import complaint


@pytest.mark.parametrize(
    ("schema", "converted"),
    [
        ({"$schema": "x", "title": "Order", "type": "object"}, {"type": "object"}),
        ({"type": "string", "default": "", "minLength": 1}, {"type": "string", "minLength": 1}),
        ({"type": "integer", "multipleOf": 2, "minimum": 0}, {"type": "integer", "minimum": 0}),
        ({"const": "a"}, {"type": "string", "enum": ["a"]}),
        ({"enum": ["a", "b", None]}, {"nullable": True, "type": "string", "enum": ["a", "b"]}),
        ({"enum": [1, 2]}, {"type": "integer", "description": "One of: 1, 2."}),
        ({"enum": [1, "a"]}, {"description": "One of: 1, a."}),
        ({"type": "string", "format": "date-time"}, {"type": "string", "format": "date-time"}),
        (
            {"type": "string", "format": "date", "description": "When."},
            {"type": "string", "description": "When. Format: date."},
        ),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": "string", "nullable": True}),
        (
            {"type": ["array", "null"], "items": {"type": "integer"}},
            {"type": "array", "nullable": True, "items": {"type": "integer"}},
        ),
        (
            {"type": ["integer", "string"], "description": "Which."},
            {"description": "Which.", "anyOf": [{"type": "integer"}, {"type": "string"}]},
        ),
        (
            {"oneOf": [{"type": "integer"}, {"type": "string"}]},
            {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        ),
        ({"type": "array"}, {"type": "array", "items": {"type": "string"}}),
        (
            {"type": "array", "prefixItems": [{"type": "number"}] * 2, "items": False},
            {"type": "array", "items": {"type": "number"}},
        ),
        (
            {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]},
            {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]},
        ),
        ({"type": "object", "required": ["gone"]}, {"type": "object", "required": []}),
    ],
    ids=str,
)
def test_what_gemini_does_not_support_is_converted_or_removed(
    schema: dict[str, Any], converted: dict[str, Any]
) -> None:
    assert for_gemini(schema) == converted


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Place(Struct):
    street: str
    inside: "Place | None" = None


def deliver(
    place: Place,
    size: Size,
    day: date,
    how: Literal["post", "courier"] = "post",
    floors: Annotated[int, Meta(gt=0, multiple_of=2)] = 2,
    at: tuple[float, float] = (0, 0),
    notes: dict[str, str] | None = None,
) -> None:
    """Deliver an order."""


def test_a_python_function_of_any_kind_can_be_offered_to_gemini() -> None:
    schema = signature_of("deliver", deliver).schema
    assert complaint(schema) is not None
    converted = for_gemini(schema)
    assert complaint(converted) is None
    assert converted["properties"]["size"] == {"type": "string", "enum": ["large", "small"]}
    inside = converted["properties"]["place"]["properties"]["inside"]
    assert inside == {"type": "object", "nullable": True}  # it would go on for ever
    fits = {"place": {"street": "Elm"}, "size": "small", "day": "2026-11-23", "how": "courier"}
    assert jsonschema_rs.validator_for(schema).is_valid(fits)
    assert jsonschema_rs.validator_for(converted).is_valid(fits)


def test_references_that_multiply_come_to_an_end() -> None:
    twice = {
        f"L{n}": {
            "type": "object",
            "properties": {key: {"$ref": f"#/$defs/L{n + 1}"} for key in "ab"},
        }
        for n in range(60)
    }
    converted = for_gemini({"$ref": "#/$defs/L0", "$defs": twice})
    assert complaint(converted) is None
    assert str(converted).count("object") <= 2 * MAX_SUBSCHEMAS


@pytest.mark.parametrize("where", ["#/nowhere", "https://example.com/properties", "x"])
def test_a_reference_that_leads_nowhere_is_an_object(where: str) -> None:
    converted = for_gemini({"description": "Whole.", "properties": {"it": {"$ref": where}}})
    assert converted["properties"]["it"] == {"type": "object"}


def test_a_recursive_schema_is_expanded_once() -> None:
    converted = for_gemini({"description": "A tree.", "properties": {"inner": {"$ref": "#"}}})
    inner = converted["properties"]["inner"]
    assert inner == {"description": "A tree.", "properties": {"inner": {"type": "object"}}}


NAMES = st.sampled_from(["a", "title", "default", "$ref"])
KINDS = st.sampled_from(["object", "array", "string", "integer", "number", "boolean", "null"])
VALUES: list[Any] = ["x", 1, None, True]
LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.fixed_dictionaries({"type": KINDS}),
    st.fixed_dictionaries({"type": st.lists(KINDS, min_size=1, max_size=3, unique=True)}),
    st.fixed_dictionaries({"enum": st.lists(st.sampled_from(VALUES))}),
    st.fixed_dictionaries({"$ref": NAMES.map("#/$defs/{}".format)}),
    st.just(True),
)


def _branches(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": KINDS,
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "required": st.lists(NAMES, max_size=2, unique=True),
            "items": inner,
            "anyOf": several,
            "allOf": several,
            "prefixItems": several,
            "$defs": st.dictionaries(NAMES, inner, max_size=2),
            "additionalProperties": inner,
            "const": st.sampled_from(["x", 1, None]),
            "format": st.sampled_from(["date", "date-time"]),
            "title": st.text(max_size=3),
        },
    )


@given(st.recursive(LEAVES, _branches, max_leaves=12))
def test_whatever_is_cleaned_is_taken(schema: object) -> None:
    assert complaint(for_gemini(schema)) is None
