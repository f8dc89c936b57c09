"""Answers as OpenAI's clients read them: chunks, whole bodies and errors."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import (
    GatewayBusy,
    GatewayError,
    GatewayLost,
    GatewayRefused,
    GatewayTimeout,
)
from pipeline.http_api.chat_chunks import ChunkEncoder, finish_reason
from pipeline.http_api.chat_completion import CompletionCollector
from pipeline.http_api.errors import ApiError, api_error, error_response
from pipeline.interfaces.llm import Attached, Finished, Piece, TextDelta, ToolCallDelta, Usage

DONE = Finished("end_turn", complete=True)
CALL: Sequence[Piece] = [
    ToolCallDelta(0, "call_1", "look", '{"n":'),
    ToolCallDelta(0, arguments="4}"),
]


def events(data: bytes) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in data.decode().split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def streamed(batches: Sequence[Sequence[Piece]], usage: Usage | None = None) -> list[Any]:
    encoder = ChunkEncoder("r1", "m", 7)
    return events(b"".join(map(encoder.encode, batches)) + encoder.ending(DONE, usage))


def test_a_stream_begins_with_the_role_and_ends_with_the_reason() -> None:
    first, text, last, done = streamed([[TextDelta("Hi")]])
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert first["request_id"] == "r1"
    assert text == {
        "id": "chatcmpl-r1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}],
    }
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert done == "[DONE]"


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4)))
def test_the_texts_of_the_chunks_add_up(batches: list[list[str]]) -> None:
    chunks = streamed([[TextDelta(text) for text in batch] for batch in batches])[:-1]
    joined = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert joined == "".join(text for batch in batches for text in batch)


def test_usage_comes_in_a_chunk_without_choices() -> None:
    *_, counts, _ = streamed([], Usage(input_tokens=3, output_tokens=4, cached_tokens=1))
    assert counts["choices"] == []
    assert counts["usage"]["total_tokens"] == 7
    assert counts["usage"]["prompt_tokens"] == counts["usage"]["input_tokens"] == 3
    assert counts["usage"]["prompt_tokens_details"] == {"cached_tokens": 1}


def test_a_tool_call_is_named_once_and_its_arguments_follow() -> None:
    _, first, second, *_ = streamed([CALL])
    (named,) = first["choices"][0]["delta"]["tool_calls"]
    assert named["function"] == {"arguments": '{"n":', "name": "look"}
    assert (named["id"], named["type"], named["index"]) == ("call_1", "function", 0)
    assert second["choices"][0]["delta"]["tool_calls"] == [
        {"index": 0, "function": {"arguments": "4}"}}
    ]


def whole(pieces: Sequence[Piece]) -> Any:
    collector = CompletionCollector()
    collector.add([*pieces, DONE])
    return json.loads(collector.body("r1", "m", 7, Usage(1, 2)))


def test_a_whole_body_holds_the_text_and_the_request_id() -> None:
    body = whole([TextDelta("Hi "), TextDelta("there")])
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Hi there"}
    assert choice["finish_reason"] == "stop"
    assert (body["object"], body["request_id"]) == ("chat.completion", "r1")


def test_a_whole_body_of_a_tool_call_has_no_text() -> None:
    message = whole(CALL)["choices"][0]["message"]
    assert message["content"] is None
    (call,) = message["tool_calls"]
    assert call["function"] == {"name": "look", "arguments": '{"n":4}'}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (None, "stop"),
        ("end_turn", "stop"),
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("tool_use", "tool_calls"),
        ("SAFETY", "content_filter"),
        ("length", "length"),
    ],
)
def test_finish_reasons_have_openais_names(theirs: str | None, ours: str) -> None:
    assert finish_reason(theirs) == ours


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (GatewayRefused("no", status=400), 400),
        (GatewayRefused("no", status=404), 404),
        (GatewayRefused("no", status=401), 502),
        (GatewayRefused("no", status=403), 502),
        (GatewayRefused("not sent"), 400),
        (GatewayBusy("slow down", status=429, retry_after=2.0), 429),
        (GatewayBusy("full", status=529), 503),
        (GatewayBusy("gave way"), 503),
        (GatewayTimeout("late"), 504),
        (GatewayLost("gone", status=500), 502),
        (GatewayError("odd"), 502),
    ],
)
def test_a_callers_status_never_blames_it_for_our_own_key(
    failure: GatewayError, status: int
) -> None:
    assert api_error(failure).status == status


def test_an_error_has_the_shape_that_the_sdks_read() -> None:
    refused = ApiError(429, "too many", code="budget_exceeded", retry_after=1.25)
    response = error_response(refused, "r1", {"X-RateLimit-Limit": "30"})
    assert json.loads(response.body) == {
        "error": {
            "message": "too many",
            "type": "rate_limit_error",
            "param": None,
            "code": "budget_exceeded",
        },
        "request_id": "r1",
    }
    headers = response.headers
    assert (headers["Retry-After"], headers["Retry-After-Ms"]) == ("2", "1250")
    assert (headers["X-Request-Id"], headers["X-RateLimit-Limit"]) == ("r1", "30")


THOUGHTS = Attached("s", fields={"reasoning_content": "Hm."})
SIGNED = ToolCallDelta(0, "c1", "look", "{}", {"id": "theirs", "extra_content": {"s": "x"}})
OVER = Finished("stop", complete=True, attached=THOUGHTS)


def test_what_a_server_attached_is_in_the_last_delta_and_in_its_tool_calls() -> None:
    encoder = ChunkEncoder("r1", "m", 7)
    _, call, last, _ = events(encoder.encode([SIGNED]) + encoder.ending(OVER, None))
    (signed,) = call["choices"][0]["delta"]["tool_calls"]
    assert (signed["id"], signed["extra_content"]) == ("theirs", {"s": "x"})
    assert signed["function"] == {"name": "look", "arguments": "{}"}
    assert last["choices"][0]["delta"] == {"reasoning_content": "Hm."}


def test_what_a_server_attached_is_in_the_message_of_a_whole_answer() -> None:
    collector = CompletionCollector()
    collector.add([TextDelta("Hi"), SIGNED, OVER])
    message = json.loads(collector.body("r1", "m", 7, Usage()))["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Hm.", "Hi")
    assert message["tool_calls"][0]["id"] == "theirs"
