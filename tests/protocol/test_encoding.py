"""What is encoded can be decoded: whatever values servers, tools and settings put into events."""

import math
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from pipeline.journal.log import SessionLog
from pipeline.protocol import examples
from pipeline.protocol.encoding import MAX_DEPTH, TOO_DEEP, encoded
from pipeline.protocol.events import Event, ResponseToolResult, UnknownEvent, decode_event

ODD_NUMBERS = [math.inf, -math.inf, math.nan, 1e308, -0.0]
ODD_TEXT = ["\ud800", "a\udfffb", "\x00", "null", "[" * 300, "\u2028"]
EVENTS = [each for each in examples.examples() if isinstance(each, Event)]
odd_json = st.recursive(
    st.sampled_from([*ODD_NUMBERS, *ODD_TEXT, None, True, 1 << 63, 1 << 64, -(1 << 200), object()]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(ODD_TEXT), inner, max_size=3)
    ),
    max_leaves=6,
)


def with_odd_values(data: st.DataObject, value: Any, kind: Any) -> Any:
    """Return ``value`` with odd values of the same kind in some places."""
    if isinstance(value, Struct):
        hints = {field.name: field.type for field in msgspec.structs.fields(value)}
        return type(value)(**{
            name: with_odd_values(data, getattr(value, name), hints[name]) for name in hints
        })  # fmt: skip
    if kind is Any:
        return data.draw(odd_json)
    if isinstance(value, tuple):
        items = cast("Sequence[Any]", value)
        return tuple(with_odd_values(data, each, None) for each in items)
    if isinstance(value, float) or "float" in str(kind):
        return data.draw(st.sampled_from([*ODD_NUMBERS, 1.0]))
    if isinstance(value, str) and "Literal" not in str(kind):
        return data.draw(st.sampled_from([*ODD_TEXT, value]))
    return value


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
@settings(max_examples=20)
@given(data=st.data())
def test_every_event_with_odd_values_is_read_back(event: Event, data: st.DataObject) -> None:
    odd = with_odd_values(data, event, None)
    cleaned, text = encoded(odd)
    decoded = decode_event(text)
    assert not isinstance(decoded, UnknownEvent)
    assert decode_event(encoded(decoded)[1]) == decoded
    assert type(cleaned) is type(event)


@pytest.mark.parametrize("depth", [1, MAX_DEPTH, 500, 900, 5000, 100_000])
@pytest.mark.parametrize("in_list", [True, False])
def test_deep_nesting_is_cut_and_read_back(depth: int, in_list: bool) -> None:
    value: Any = "core"
    for _ in range(depth):
        value = [value] if in_list else {"a": value}
    event = ResponseToolResult(response_id="r", call_id="c", name="n", result=value)
    _, text = encoded(event)
    assert isinstance(decode_event(text), ResponseToolResult)
    assert (TOO_DEEP.encode() in text) == (depth >= MAX_DEPTH)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_ordinary_event_is_not_changed(event: Event) -> None:
    same, text = encoded(event)
    assert same is event
    assert text == msgspec.json.encode(event)


def test_the_log_stores_and_applies_what_can_be_read_back() -> None:
    log = SessionLog("s1")
    event = ResponseToolResult(
        response_id="r", call_id="c", name="\ud800", result={"a": math.inf, "b": 1 << 100}
    )
    frame = log.append(event, t=0, ts="")
    decoded = decode_event(frame.data)
    assert isinstance(decoded, ResponseToolResult)
    assert (decoded.name, decoded.result["a"]) == ("?", None)
