"""Encoding of requests and decoding of chunks; the tests name the vendors' deviations."""

import json
from typing import Any

import pytest

from pipeline.errors import GatewayRefused
from pipeline.gateway.wire import UsageCounts, decode_chunk, encode_request
from pipeline.interfaces.llm import CompletionRequest, FunctionCall, Message, ToolCall, Usage


def body(**fields: Any) -> Any:
    asked: dict[str, Any] = {"model": "m", "messages": (Message("user", "hi"),)} | fields
    return json.loads(encode_request(CompletionRequest(**asked)))


def test_what_is_not_set_is_left_out() -> None:
    assert body() == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
    }
    assert "stream" not in body(stream=False)


def test_extra_goes_along_in_the_words_of_the_wire() -> None:
    said = body(max_tokens=9, temperature=0.0, extra={"model_region": "global", "top_p": 0.5})
    assert said["max_tokens"] == 9
    assert said["temperature"] == 0.0
    assert said["model_region"] == "global"


@pytest.mark.parametrize("name", ["model", "messages", "stream"])
def test_extra_may_not_say_again_what_the_request_says(name: str) -> None:
    with pytest.raises(GatewayRefused, match=f"extra sets {name}"):
        body(extra={name: 1}, stream=False)


def test_extra_may_set_max_tokens_only_where_the_request_does_not() -> None:
    assert body(extra={"max_tokens": 7})["max_tokens"] == 7
    with pytest.raises(GatewayRefused, match="max_tokens"):
        body(extra={"max_tokens": 7}, max_tokens=8)


def test_what_json_cannot_hold_is_refused_before_sending() -> None:
    with pytest.raises(GatewayRefused, match="cannot be written"):
        body(extra={"stop": object()})
    with pytest.raises(GatewayRefused, match="cannot be written"):
        body(messages=(Message("user", "\ud800"),))


def test_a_tool_round_trip_keeps_the_null_content() -> None:
    call = ToolCall("call_7", FunctionCall("platform_state", '{"n":4}'))
    said = body(
        messages=(
            Message("assistant", None, tool_calls=(call,)),
            Message("tool", '{"open":false}', tool_call_id="call_7"),
        )
    )["messages"]
    assert said[0] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_7",
                "type": "function",
                "function": {"name": "platform_state", "arguments": '{"n":4}'},
            }
        ],
    }
    assert said[1]["tool_call_id"] == "call_7"


@pytest.mark.parametrize(
    "counts",
    [
        {"prompt_tokens": 88, "completion_tokens": 9},
        {"input_tokens": 88, "output_tokens": 9},
        {"input_tokens": 88, "prompt_tokens": 88, "output_tokens": 9, "completion_tokens": 9},
        {"prompt_tokens": 88.0, "completion_tokens": 9, "total_tokens": None},
    ],
    ids=["openai", "claude-june-2026", "both-since-september-2026", "floats"],
)
def test_usage_under_either_naming(counts: dict[str, Any]) -> None:
    counts = counts | {"prompt_tokens_details": {"cached_tokens": 8}}
    usage = decode_chunk(json.dumps({"usage": counts}).encode()).usage
    assert usage is not None
    found = usage.usage(sent=400, received=40)
    assert found == Usage(input_tokens=88, output_tokens=9, cached_tokens=8)


@pytest.mark.parametrize(
    "number", ["-1", "1e12", "1" + "0" * 400, "1" + "0" * 5000, "1e999", '"nine"', "true", "[]"]
)
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
def test_counts_that_cannot_be_true_are_not_believed(name: str, number: str) -> None:
    text = f'{{"usage":{{"prompt_tokens":5,"completion_tokens":5,"{name}":{number}}}}}'
    usage = decode_chunk(text.encode()).usage
    assert usage is not None
    assert usage.usage(sent=400, received=40) is None


def test_a_count_as_text_is_read() -> None:
    chunk = decode_chunk(b'{"usage":{"prompt_tokens":"5","completion_tokens":"9"}}')
    assert chunk.usage is not None
    assert chunk.usage.usage(sent=400, received=40) == Usage(5, 9)


def test_more_tokens_than_bytes_are_believed_up_to_what_may_be_hidden() -> None:
    counts = UsageCounts(prompt_tokens=900, completion_tokens=128_000)
    assert counts.usage(sent=100, received=100) == Usage(900, 128_000)
    counts = UsageCounts(prompt_tokens=900, completion_tokens=300_000)
    assert counts.usage(sent=100, received=100) is None
    assert counts.usage(sent=100, received=400_000) == Usage(900, 300_000)


def test_an_error_with_invalid_text_is_an_error_with_readable_text() -> None:
    chunk = decode_chunk(b'{"error": {"message": "Dienst \xfcberlastet", "code": 503}}')
    assert chunk.is_error
    assert "Dienst �berlastet" in bytes(chunk.error).decode()


@pytest.mark.parametrize(
    "function",
    [
        {"name": "f", "arguments": '{"n":4}'},
        {"name": "f", "arguments": {"n": 4}},
        {"name": "f", "arguments": {"n": 4}, "id": 12},
    ],
    ids=["a JSON string", "an object", "an object beside an odd id"],
)
def test_arguments_come_as_text_whatever_they_were(function: dict[str, Any]) -> None:
    chunk = {"choices": [{"message": {"tool_calls": [{"id": "c", "function": function}]}}]}
    (choice,) = decode_chunk(json.dumps(chunk).encode()).choices or []
    (call,) = choice.calls
    assert json.loads(call.arguments) == {"n": 4}


@pytest.mark.parametrize("choices", ["[]", "null", '[null, 3, "x"]', '"none"'])
def test_a_chunk_without_choices_says_nothing(choices: str) -> None:
    chunk = decode_chunk(f'{{"choices":{choices},"model":"m"}}'.encode())
    assert not chunk.choices
    assert chunk.model == "m"


def test_content_in_parts_is_read_as_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    chunk = decode_chunk(json.dumps({"choices": [{"message": {"content": parts}}]}).encode())
    assert chunk.choices is not None
    assert chunk.choices[0].text == "ab"


def test_broken_utf8_costs_a_character_not_the_reply() -> None:
    chunk = decode_chunk(b'{"choices":[{"delta":{"content":"a\xff"}}]}')
    assert chunk.choices is not None
    assert chunk.choices[0].text == "a�"


def test_half_a_surrogate_pair_costs_a_character_not_the_reply() -> None:
    chunk = decode_chunk(rb'{"choices":[{"delta":{"content":"a\ud83d"}}]}')
    assert chunk.choices is not None
    assert chunk.choices[0].text == "a?"


@pytest.mark.parametrize("payload", [b"", b"[]", b"12", b"{", b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_no_json_object_is_a_value_error(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_chunk(payload)
