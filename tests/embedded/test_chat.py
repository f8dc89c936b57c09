"""Validation of chat completion requests, and the fields of replies."""

import json
from typing import Any

import pytest

from pipeline.embedded import chat

MODEL = "small"
HELLO = [{"role": "user", "content": "hello"}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}


def parse(**fields: Any) -> chat.ChatRequest:
    return chat.parse(json.dumps({"model": MODEL, "messages": HELLO, **fields}).encode(), MODEL)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": "gpt-5"}, "model gpt-5 is not supported"),
        ({"messages": []}, "one of messages or prompt required"),
        ({"messages": ["hi"]}, r"messages\[0\] is not an object"),
        ({"messages": [{"role": "user", "content": None}]}, r"messages\[0\].content is not text"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, r"messages\[0\].role"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]},
            "all of them are empty",
        ),
        ({"functions": [{"name": "f"}]}, "does not support functions"),
        ({"tools": "f", "tool_choice": "auto"}, "tools is not a list"),
        ({"tools": [{"type": "function"}]}, r"tools\[0\].function.name is missing"),
        ({"tool_choice": "auto"}, "tool_choice is given without tools"),
        ({"tools": [{"function": {"name": "f"}}], "tool_choice": "g"}, "tool_choice is invalid"),
        ({"n": 2}, "n: 2"),
        ({"max_tokens": 0}, "max_tokens: 0"),
        ({"response_format": {"type": "json_schema"}}, "response_format is invalid"),
        ({"response_format": "json"}, "response_format is invalid"),
    ],
)
def test_an_unsupported_request_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(chat.RefusedRequest, match=said) as refused:
        parse(**fields)
    assert refused.value.status == 400


def test_a_body_that_is_not_an_object_is_refused() -> None:
    for raw in (b"{", b"[]", b""):
        with pytest.raises(chat.RefusedRequest, match="the body is not"):
            chat.parse(raw, MODEL)


def test_only_known_parameters_reach_the_engine() -> None:
    ask = parse(repeat_penalty=1.2, response_format=SCHEMA, id_slot=0, user="me", stream=True)

    assert ask.stream
    assert ask.body["repeat_penalty"] == 1.2
    assert ask.body["response_format"] == SCHEMA
    assert "id_slot" not in ask.body
    assert "user" not in ask.body


def test_the_gateways_prompt_and_lists_of_texts_are_accepted() -> None:
    prompt = chat.parse(b'{"prompt":"hello"}', MODEL)
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]

    assert prompt.body["messages"] == HELLO
    assert parse(messages=[{"role": "user", "content": parts}]).body["messages"] == HELLO


def test_the_default_length_is_the_gateways() -> None:
    assert parse().body["max_tokens"] == 1000
    assert parse(max_completion_tokens=5).body["max_tokens"] == 5


def piece(content: str | None, reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": reason}
    return {"id": "c", "created": 1, "model": MODEL, "choices": [choice]}


def test_pieces_are_joined_to_a_whole_reply() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    last: dict[str, Any] = {**piece(None), "choices": [], "usage": usage}
    pieces = [piece(None), piece("Hel"), piece("lo"), piece(None, "stop"), last]

    answer = json.loads(chat.completion(chat.joined(pieces), "r-1", 0.5))

    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello"},
            "finish_reason": "stop",
        }
    ]
    assert answer["usage"] == {**usage, "input_tokens": 3, "output_tokens": 2}
    assert answer["request_id"] == "r-1"
    assert answer["response_time"] == 500_000_000


def test_an_error_has_the_fields_of_the_gateway_and_of_openai() -> None:
    error = json.loads(chat.failure(400, "no", "r-1"))

    assert (error["code"], error["message"], error["request_id"]) == (400, "no", "r-1")
    assert error["error"]["message"] == "no"


def test_the_catalog_lists_the_supported_parameters() -> None:
    (item,) = json.loads(chat.catalog(MODEL, 2048))["data"]

    assert item["id"] == MODEL
    assert item["context_length"] == 2048
    assert {"stream", "response_format", "temperature"} <= {*item["supported_parameters"]}
