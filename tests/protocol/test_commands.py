"""What clients may send: exactly what is listed, of the types that are, and not too deep."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.protocol.commands import MAX_DEPTH, AudioFormat, ClientCommand, decode_command
from pipeline.protocol.events import encode
from pipeline.protocol.examples import examples

COMMANDS = [one for one in examples() if isinstance(one, get_args(ClientCommand))]
WHOLE = [encode(one) for one in COMMANDS]


def test_every_command_refuses_what_it_does_not_know() -> None:
    kinds = [*get_args(ClientCommand), AudioFormat]
    assert [kind for kind in kinds if not kind.__struct_config__.forbid_unknown_fields] == []
    assert {type(one) for one in COMMANDS} == set(get_args(ClientCommand))
    for text in WHOLE:
        decode_command(text)
        with pytest.raises(msgspec.ValidationError, match="unknown field `admin`"):
            decode_command(text[:-1] + b',"admin":true}')


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"session.subscribe","session_id":"s1","after_seq":"1"}',
        '{"type":"session.subscribe","session_id":7}',
        '{"type":"session.start","resume":1}',
        '{"type":"session.start","audio":{"sample_rate":16000.5}}',
        '{"type":"turn.create","text":null}',
        '{"type":"playback.report","response_id":"r","characters":true}',
        '{"type":"session.destroy"}',
        '{"type":["turn.commit"]}',
        "{}",
        "[]",
        "",
    ],
)
def test_a_value_of_another_type_is_not_bent_into_the_right_one(text: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_command(text)


AROUND = pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"type":"tool.result","call_id":"c","result":', "}"),
        ('{"type":"session.update","stt":{"a":', "}}"),
    ],
    ids=["tool.result", "session.update"],
)
LEVEL = pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])


@AROUND
@LEVEL
def test_what_is_nested_as_data_is_may_pass(
    before: str, after: str, opening: str, closing: str
) -> None:
    depth = MAX_DEPTH - 2
    decode_command(before + opening * depth + "1" + closing * depth + after)


@pytest.mark.parametrize("depth", [MAX_DEPTH, 900, 5000])
@AROUND
@LEVEL
def test_what_is_nested_too_deep_is_refused(
    before: str, after: str, opening: str, closing: str, depth: int
) -> None:
    with pytest.raises((msgspec.ValidationError, RecursionError)):
        decode_command(before + opening * depth + "1" + closing * depth + after)


@given(st.sampled_from(WHOLE), st.data())
def test_mutilated_commands_are_refused_or_read_but_nothing_else_happens(
    text: bytes, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    broken = text[:start] + data.draw(st.binary(max_size=8)) + text[end:]
    try:
        command = decode_command(broken)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return
    assert isinstance(command, get_args(ClientCommand))
