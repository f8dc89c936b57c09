"""Structured output: parsed while streaming, validated at the end, requested once more."""

import json
import random
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SettingsError
from pipeline.gateway.partial_json import PartialJson
from pipeline.gateway.structured_output import Invalid, Structured, Valid, best_mode
from pipeline.interfaces.llm import CompletionRequest, Message
from tests.gateway.broken_json import CORPUS, CUT_OFF

ANYTHING = Structured({"type": "object"})
CITY = Structured(
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "hour": {"type": "integer"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    name="where is it?",
)
REQUEST = CompletionRequest(
    model="m",
    messages=(Message("system", "Be brief."), Message("user", "Where?")),
    extra={"top_p": 0.5},
)


def holds(shown: Any, later: Any) -> bool:
    """Everything in ``shown`` is in ``later``, unchanged."""
    if isinstance(shown, dict):
        parts = cast("dict[str, Any]", shown).items()
        return isinstance(later, dict) and all(k in later and holds(v, later[k]) for k, v in parts)
    if isinstance(shown, list):
        items = cast("list[object]", shown)
        if not isinstance(later, list) or len(cast("list[object]", later)) < len(items):
            return False
        return all(holds(item, later[n]) for n, item in enumerate(items))
    return type(shown) is type(later) and bool(shown == later)


@pytest.mark.parametrize(("text", "meant"), CORPUS, ids=[text for text, _ in CORPUS])
@pytest.mark.parametrize("seed", range(3))
def test_broken_json_is_understood_however_it_is_cut(text: str, meant: Any, seed: int) -> None:
    dice, reader, shown = random.Random(seed), ANYTHING.reader(), None
    rest = text
    while rest:
        size = dice.randint(1, 6)
        reader.feed(rest[:size])
        rest = rest[size:]
        assert shown is None or holds(shown, reader.value())
        shown = reader.settled()
    verdict = ANYTHING.validate(text, reader)
    assert isinstance(verdict, Valid)
    assert verdict.value == meant
    assert shown is None or holds(shown, verdict.value)


@pytest.mark.parametrize("text", CUT_OFF)
def test_a_text_that_ends_inside_a_value_has_no_value(text: str) -> None:
    assert isinstance(ANYTHING.validate(text), Invalid)


def test_the_corpus_is_large_enough() -> None:
    assert len(CORPUS) >= 40


# --- while it streams ------------------------------------------------------------------------


def values(*parts: str) -> list[Any]:
    reader, seen = PartialJson(), list[Any]()
    for part in parts:
        if reader.feed(part):
            seen.append(reader.value())
    return seen


def test_a_string_shows_while_it_grows() -> None:
    assert values('{"city": "Os', "lo", '"', "}") == [{"city": "Os"}, {"city": "Oslo"}]


def test_a_number_shows_when_nothing_can_be_added_to_it() -> None:
    assert values('{"n": 1', "2", "}") == [{}, {"n": 12}]


def test_half_an_escape_waits_for_the_other_half() -> None:
    assert values('{"a": "x\\', 'n"', "}") == [{"a": "x"}, {"a": "x\n"}]
    assert values('{"a": "\\ud83d', "\\ude00", '"}') == [{"a": ""}, {"a": "😀"}]


def test_what_grows_is_not_settled() -> None:
    reader = PartialJson()
    reader.feed('{"a": "x", "b": ["y", "z')
    assert reader.value() == {"a": "x", "b": ["y", "z"]}
    assert reader.settled() == {"a": "x", "b": ["y"]}


def test_prose_before_the_object_is_passed_over() -> None:
    reader = CITY.reader()
    reader.feed('Here [as asked]: {"a": 1}')
    assert reader.value() == {"a": 1}


def test_a_duplicate_key_keeps_the_published_value() -> None:
    reader = ANYTHING.reader()
    text = '{"a": "x", "a": "y"}'
    reader.feed(text)
    assert reader.frozen
    assert ANYTHING.validate(text, reader) == Valid({"a": "x"})


def test_what_is_nested_without_end_freezes() -> None:
    reader = PartialJson()
    reader.feed("[" * 100_000)
    assert reader.frozen


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON, max_size=4), st.data())
@settings(max_examples=150, deadline=None)
def test_any_object_is_read_whole_and_what_is_settled_stays(
    value: Any, data: st.DataObject
) -> None:
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans()))
    reader, shown, at = PartialJson(), None, 0
    while at < len(text):
        size = data.draw(st.integers(1, 8))
        reader.feed(text[at : at + size])
        at += size
        assert shown is None or holds(shown, reader.value())
        shown = reader.settled()
    assert reader.done
    assert reader.value() == value


@given(st.text(alphabet='{}[]":,\\tfn019ae \n', max_size=60))
@settings(max_examples=300, deadline=None)
def test_anything_at_all_is_read_without_a_crash(text: str) -> None:
    reader = PartialJson()
    for char in text:
        reader.feed(char)
        reader.value()
        reader.settled()
    assert isinstance(ANYTHING.validate(text, reader), Valid | Invalid)


# --- the verdict -----------------------------------------------------------------------------


def test_a_value_that_fits_is_valid_and_a_repair_is_marked() -> None:
    assert CITY.validate('{"city": "Oslo"}') == Valid({"city": "Oslo"})
    assert CITY.validate('{"city": "Oslo",}') == Valid({"city": "Oslo"}, repaired=True)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('{"a": "x\\ud800"}', {"a": "x?"}),
        ('{"\\udc00": 1}', {"?": 1}),
        ('{"a": 1e999, "b": -1e999}', {"a": None, "b": None}),
        ("{'a': NaN}", {"a": "NaN"}),
        ('{"a": 123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
    ],
)
def test_what_json_cannot_say_again_is_not_let_in(text: str, meant: Any) -> None:
    reader = ANYTHING.reader()
    reader.feed(text)
    for shown in (None, reader):
        verdict = ANYTHING.validate(text, shown)
        assert isinstance(verdict, Valid)
        assert verdict.value == meant
        assert msgspec.json.decode(msgspec.json.encode(verdict.value)) == meant


def test_a_number_beyond_all_numbers_is_none() -> None:
    wants = Structured({"type": "object", "properties": {"a": {"type": "number"}}})
    verdict = wants.validate('{"a": 1e999}')
    assert isinstance(verdict, Invalid)
    assert "null" in verdict.error


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("It is in Norway.", "there is no JSON"),
        ("", "there is no JSON"),
        ('{"hour": 1}', '"city" is a required property'),
        ('{"city": 5}', """5 is not of type "string" (at ['city'])"""),
        ('["Oslo"]', 'is not of type "object"'),
        ("x" * 300_000, "longer than"),
    ],
)
def test_what_does_not_fit_says_why(text: str, error: str) -> None:
    verdict = CITY.validate(text)
    assert isinstance(verdict, Invalid)
    assert error in verdict.error


def test_one_more_try_is_made_with_the_error_in_it_and_no_second() -> None:
    wrong = Invalid('"city" is a required property', '{"hour": 1}')
    again = CITY.reask(REQUEST, wrong, tries=1)
    assert again is not None
    assert [message.role for message in again.messages] == ["system", "user", "assistant", "user"]
    assert "required property" in str(again.messages[-1].content)
    assert CITY.reask(REQUEST, wrong, tries=2) is None


def test_a_schema_that_is_none_is_refused_and_nothing_is_fetched() -> None:
    with pytest.raises(SettingsError, match="JSON Schema"):
        Structured({"type": "thing"})
    with pytest.raises(SettingsError, match="fetched"):
        Structured({"$ref": "http://127.0.0.1:9/schema"})


# --- how it is asked for ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("supported", "mode"),
    [
        (["stream", "tools", "response_format"], "response_format"),
        (["stream", "tools"], "tool"),
        (["stream"], "prompt"),
        ([], "prompt"),
    ],
)
def test_the_best_way_that_the_model_knows_is_chosen(supported: list[str], mode: str) -> None:
    assert best_mode(supported) == mode


def test_response_format_carries_the_schema() -> None:
    asked = CITY.apply(REQUEST, "response_format").extra
    assert asked["top_p"] == 0.5
    assert asked["response_format"]["json_schema"] == {
        "name": "where_is_it_",
        "schema": CITY.schema,
        "strict": False,  # for it leaves a choice
    }


def test_a_schema_that_leaves_no_choice_is_asked_for_strictly_and_closed() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    asked = Structured(schema).apply(REQUEST, "response_format").extra["response_format"]
    assert asked["json_schema"]["strict"] is True
    assert asked["json_schema"]["schema"] == {**schema, "additionalProperties": False}


def test_a_model_without_it_is_made_to_call_a_tool() -> None:
    asked = CITY.apply(REQUEST, "tool").extra
    assert asked["tool_choice"]["function"]["name"] == "answer"
    assert asked["tools"][0]["function"]["parameters"] == CITY.schema


def test_a_model_without_tools_gets_the_schema_in_the_prompt() -> None:
    first, *rest = CITY.apply(REQUEST, "prompt").messages
    assert str(first.content).startswith("Be brief.\n\nAnswer with one JSON value")
    assert rest == [REQUEST.messages[1]]
