"""JSON as servers write it: one odd value costs itself alone."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.runtime.json_values import decoded


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("17", 17),
        ("-17", -17),
        ("1" + "0" * 300, 10**300),
        ("1" + "0" * 5000, None),
        ("-1" + "0" * 5000, None),
        ("1e999", None),
        ("NaN", None),
        ('"\\ud800"', "?"),
        ('"a\nb"', "a\nb"),
    ],
)
def test_a_value_out_of_range_is_null_and_its_neighbour_is_kept(text: str, value: Any) -> None:
    assert decoded(f'{{"odd": {text}, "next": 1}}') == {"odd": value, "next": 1}


@pytest.mark.parametrize("text", ["", "{", "garbage{", '{"a": 1} {"b": 2}'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decoded(text)


@given(st.integers(-(10**1000), 10**1000))
def test_an_integer_of_any_size_is_decoded(number: int) -> None:
    assert decoded(json.dumps([number])) in ([number], [None])
