"""Arguments of tool calls: repaired where they are complete, refused where they are cut off."""

import pytest

from pipeline.tools.arguments import CUT_OFF, ArgumentReader

ORDER = ArgumentReader(
    "order", {"type": "object", "properties": {"order": {}, "note": {"type": "string"}}}
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ('{"order": 4711}', {"order": 4711}),
        ("{'order': 4711,}", {"order": 4711}),
        ("```json\n{'order': None}\n```", {"order": None}),
        ('"{\\"order\\": 4711}"', {"order": 4711}),
        ("\"{'order': 4711}\"", {"order": 4711}),
    ],
)
def test_complete_arguments_are_understood(text: str, value: object) -> None:
    assert ORDER.read(text).value == value
    assert ORDER.read(text).error is None


@pytest.mark.parametrize(
    "text",
    [
        '{"order": 47',
        '{"order": 4711',
        '{"order": [1, 2}',
        '{"note": "call the doc',
        '{"note": "call the doctor"',
        '{"note": "call {the} doc}',
        '{"note": "say {"a": "b"} to',
        '{"order": 4711, "no',
        '{"order": 4711}{"no',
        '"{\\"order\\": 47"',
        "{",
    ],
)
def test_arguments_that_end_inside_a_value_are_refused(text: str) -> None:
    assert ORDER.read(text).error == CUT_OFF


@pytest.mark.parametrize("text", ["[1]", "4711", "null", "none", '"order"', "[" * 5000])
def test_what_is_no_object_is_refused(text: str) -> None:
    assert ORDER.read(text).error == "the arguments are not a JSON object"
