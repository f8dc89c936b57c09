"""Tool calls in fragments of every shape."""

from typing import Any

import msgspec
import pytest

from pipeline.errors import GatewayLost
from pipeline.gateway.call_numbers import MAX_CALLS, CallNumbers
from pipeline.gateway.wire import decode_chunk
from pipeline.interfaces.llm import ToolCallDelta
from tests.gateway.test_attached_fields import read

Fragment = dict[str, Any]


def part(
    arguments: str, id_: str | None = None, name: str | None = None, index: int | None = None
) -> Fragment:
    fields = {"id": id_, "index": index, "function": {"arguments": arguments, "name": name}}
    return {key: value for key, value in fields.items() if value is not None}


def calls(*chunks: list[Fragment]) -> list[tuple[str | None, str]]:
    """Return name and arguments of each call."""
    found: dict[int, tuple[str | None, str]] = {}
    for piece in read(*({"tool_calls": chunk} for chunk in chunks)):
        if isinstance(piece, ToolCallDelta):
            name, arguments = found.get(piece.index, (None, ""))
            found[piece.index] = (name or piece.name, arguments + piece.arguments)
    return list(found.values())


ONE = [("f", '{"n": 12}')]
TWO = [("f", '{"n": 1}'), ("f", '{"n": 2}')]


@pytest.mark.parametrize(
    "chunks",
    [
        [[part('{"n', "a", "f", 0)], [part('": 12}', None, None, 0)]],
        [[part('{"n', "a", "f", 0)], [part('": 12}', "a", "f", 0)]],
        [[part('{"n', "a", "f", 0)], [part('": 12}', "b", "f", 0)]],
        [[part("", "a", "f", 0)], [part('{"n": 12}', "b", "f", 0)]],
        [[part('{"n', "a", "f", 0)], [part('": 12}', None, "f", 0)]],
        [[part('{"n', "a", "f")], [part('": 12}')]],
        [[part('{"n', "a", "f")], [part('": 12}', "a")]],
        [[part('{"n', "a", "f")], [part('": 12}', "a", "f")]],
        [[part('{"n', "a", "f")], [part('": 12}', "b", "f")]],
        [[part('{"n', None, "f")], [part('": 12}', None, "f")]],
    ],
)  # fmt: skip
def test_the_fragments_of_one_call_are_one_call(chunks: list[list[Fragment]]) -> None:
    assert calls(*chunks) == ONE


@pytest.mark.parametrize(
    "chunks",
    [
        [[part('{"n": 1}', "a", "f", 0), part('{"n": 2}', "b", "f", 1)]],
        [[part('{"n": 1}', "a", "f", 0), part('{"n": 2}', "b", "f", 0)]],
        [[part('{"n": 1}', "a", "f", 0)], [part('{"n": 2}', "b", "f", 0)]],
        [[part('{"n": 1}', "a", "f"), part('{"n": 2}', "b", "f")]],
        [[part('{"n": 1}', "a", "f")], [part('{"n": 2}', "b", "f")]],
        [[part('{"n": 1}', None, "f"), part('{"n": 2}', None, "f")]],
        [[part('{"n": 1}', None, "f")], [part('{"n": 2}', None, "f")]],
        [[part('{"n"', "a", "f", 0)], [part('{"n"', "b", "f", 1)],
         [part(": 1}", None, None, 0)], [part(": 2}", None, None, 1)]],
        [[part('{"n"', "a", "f"), part('{"n"', "b", "f")],
         [part(": 1}", "a"), part(": 2}", "b")]],
    ],
)  # fmt: skip
def test_two_calls_are_two_calls(chunks: list[list[Fragment]]) -> None:
    assert calls(*chunks) == TWO


def test_a_reply_of_too_many_calls_is_lost() -> None:
    numbers = CallNumbers()
    body = msgspec.json.encode({"choices": [{"delta": {"tool_calls": [part("{}", None, "f")]}}]})
    (choice,) = decode_chunk(body).choices or []
    for _ in range(MAX_CALLS):
        numbers.number(choice.calls[0], 0, 0, "c")
    with pytest.raises(GatewayLost, match="tool calls"):
        numbers.number(choice.calls[0], 0, 0, "c")
