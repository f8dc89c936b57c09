"""Post-processing step json-repair."""

import json
from collections.abc import Sequence

import pytest

from pipeline.errors import GatewayLost
from pipeline.gateway.repaired_reply import RepairedReply, repaired
from pipeline.interfaces.llm import Accepted, Finished, Piece, TextDelta, ToolCallDelta
from tests.gateway.test_fallback import Line, Scripted, ScriptedReply

DONE = Finished("stop", complete=True)


async def through(*pieces: Piece) -> Sequence[Piece]:
    lines: list[Line] = [(0, piece) for piece in (Accepted(), *pieces, DONE)]
    async with RepairedReply(ScriptedReply(Scripted(lines), lines)) as reply:
        found = await reply.receive()
        assert await reply.receive() == ()
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Sure! ```json\n{"a": 1,}\n```', {"a": 1}),
        ("{'a': 'b'}", {"a": "b"}),
    ],
)
def test_text_becomes_json(text: str, value: object) -> None:
    assert json.loads(repaired(text)) == value


@pytest.mark.parametrize("text", ["{'a': 'b", '{"a": [1, 2', '{"a": 1, "b"'])
def test_a_text_that_ends_inside_a_value_is_left_as_it_is(text: str) -> None:
    assert repaired(text) == text


async def test_a_stream_is_held_back_until_it_is_whole() -> None:
    found = await through(TextDelta('{"a": '), TextDelta("1,}"))
    assert found == [Accepted(), TextDelta('{"a":1}'), DONE]


async def test_the_arguments_of_tool_calls_are_repaired_and_words_beside_them_stay() -> None:
    found = await through(
        TextDelta("Let me see."),
        ToolCallDelta(0, "c1", "look", "{'n': "),
        ToolCallDelta(0, arguments="4}"),
        ToolCallDelta(1, "c2", "stop"),
    )
    assert found == [
        Accepted(),
        TextDelta("Let me see."),
        ToolCallDelta(0, "c1", "look", '{"n":4}'),
        ToolCallDelta(1, "c2", "stop", "{}"),
        DONE,
    ]


async def test_text_without_any_json_is_a_failure() -> None:
    with pytest.raises(GatewayLost, match="json-repair") as lost:
        await through(TextDelta("I cannot."))
    assert lost.value.status == 500
