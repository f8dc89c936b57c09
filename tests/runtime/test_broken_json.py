"""Repair of JSON: never of a text that ends inside a value, and in linear time."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.runtime.broken_json import MAX_REPAIR, CutOff, enclosed, repaired

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
CONTAINER = st.lists(JSON, min_size=1) | st.dictionaries(st.text(), JSON, min_size=1)


@given(CONTAINER, st.booleans(), st.data())
def test_no_beginning_of_a_text_is_repaired(
    value: Any, is_ascii: bool, data: st.DataObject
) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii)
    cut = text[: data.draw(st.integers(1, len(text) - 1))]
    with pytest.raises(CutOff):
        repaired(cut)


@given(CONTAINER, st.sampled_from(["", " ", "\n```", " That is all."]))
def test_the_end_of_a_whole_text_is_found(value: Any, more: str) -> None:
    text = json.dumps(value)
    assert enclosed(f"Here: {text}{more}") == (6, 6 + len(text))


def test_arguments_stand_alone() -> None:
    assert repaired("```json\n{'n': 1,}\n```", alone=True) == {"n": 1}
    assert repaired('{"n": 1}}', alone=True) == {"n": 1}
    with pytest.raises(CutOff):  # quotes inside a string look like its end
        repaired('{"code": "use {"a": "b"} to', alone=True)


@pytest.mark.parametrize(
    "text",
    [
        "{'a': 1}" + " " * 300_000,
        '{"a": "' + '" ' * 150_000,
        '{"a": ' + "/*" * 150_000,
        "{'a': [" + "{'k': 'v', n: [1,2]}," * 12_000 + "]}",
        '{"a": "' + '"' + " " * 150_000 + '"' + " " * 150_000,
        "[" * 300_000,
        "{'a': '" + "x" * 300_000 + "'}",
    ],
)
def test_a_long_text_is_decided_on_at_once(text: str) -> None:
    began = time.process_time()
    try:
        repaired(text)
    except ValueError:
        assert len(text) > MAX_REPAIR
    assert time.process_time() - began < 0.5
