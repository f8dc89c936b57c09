"""Finish reasons of many vendors, and what a reply that ends with them becomes."""

import json
from typing import Any

import pytest

from pipeline.errors import GatewayError, GatewayLost, GatewayRefused
from pipeline.gateway.finish_reasons import ending_of
from pipeline.gateway.stream import ReplyReader
from pipeline.interfaces.llm import Ending, Finished, Piece, TextDelta

REASONS: dict[Ending, list[str | None]] = {
    "whole": [
        *(None, "", "stop", "end_turn", "stop_sequence", "tool_calls", "tool_use", "function_call"),
        *("eos", "eos_token", "STOP", "FinishReason.STOP", "COMPLETE", "completed", "eot_id"),
        *("eos_token_id", "stopped_eos", "end_of_turn"),
        *("pause_turn", "unknown", "a word that no vendor has yet"),
    ],
    "limit": [
        *("length", "max_tokens", "MAX_TOKENS", "FINISH_REASON_MAX_TOKENS", "model_length"),
        *("max_output_tokens", "model_context_window_exceeded", "ERROR_LIMIT", "maxTokens"),
        *("max_completion_tokens", "context_length", "token_limit", "LENGTH"),
        "kv_cache_full",
    ],
    "filtered": [
        *("content_filter", "content-filter", "contentFilter", "content_filtered", "SAFETY"),
        *("FinishReason.SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"),
        *("IMAGE_SAFETY", "LANGUAGE", "refusal", "sensitive", "guardrail_intervened"),
        *("ERROR_TOXIC", "moderation", "safety_error", "MODEL_ARMOR"),
    ],
    "failed": [
        *("error", "ERROR", "abort", "cancelled", "network_error", "OTHER", "internal-error"),
        *("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE"),
        *("TOO_MANY_TOOL_CALLS", "insufficient_system_resource", "timeout", "incomplete"),
        *("FINISH_REASON_UNSPECIFIED", "provider_disconnected", "failed"),
        *("server_shutdown", "out_of_memory", "oom", "connection_lost", "quota_exceeded"),
        *("deadline_exceeded", "rejected", "denied", "internal", "unload"),
    ],
}


@pytest.mark.parametrize(
    ("reason", "ending"), [(each, ending) for ending, known in REASONS.items() for each in known]
)
def test_each_finish_reason_has_its_ending(reason: str | None, ending: Ending) -> None:
    assert ending_of(reason) == ending


def read(*events: Any, streamed: bool = True) -> tuple[list[Piece], GatewayError | None]:
    """Return the pieces of a reply and the error that ends it."""
    reader = ReplyReader("h", {}, key="sk-1")
    pieces: list[Piece] = []
    parts = [b"data: %b\n\n" % json.dumps(each).encode() for each in events]
    parts = [*parts, b"data: [DONE]\n\n"] if streamed else [json.dumps(events[0]).encode()]
    try:
        for part in parts:
            pieces += reader.feed(part)
        pieces += reader.end()
    except GatewayError as failure:
        return pieces, failure
    return pieces, reader.failure


def chunk(text: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish, **more}]}


def body(text: str | None, finish: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"content": text}, "finish_reason": finish}]}


@pytest.mark.parametrize("reason", REASONS["failed"])
@pytest.mark.parametrize("text", ["", "It is "])
def test_a_reply_that_ends_by_an_error_fails_after_its_text(text: str, reason: str) -> None:
    pieces, failure = read(chunk(text), chunk("", reason))
    assert isinstance(failure, GatewayLost)
    assert reason in str(failure)
    assert pieces == ([TextDelta(text)] if text else [])


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("reason", REASONS["filtered"])
def test_a_filtered_reply_is_refused_only_when_it_is_empty(reason: str, streamed: bool) -> None:
    make = chunk if streamed else body
    pieces, failure = read(make("", reason), streamed=streamed)
    assert isinstance(failure, GatewayRefused)
    assert not pieces
    pieces, failure = read(make("Half", reason), streamed=streamed)
    assert failure is None
    assert pieces[-1] == Finished(reason, complete=True, ending="filtered")


def test_an_error_inside_a_choice_is_reported_in_the_servers_words() -> None:
    error = {"code": 502, "message": "Provider disconnected"}
    pieces, failure = read(chunk("It is "), chunk("", "error", error=error), chunk("late"))
    assert pieces == [TextDelta("It is ")]
    assert isinstance(failure, GatewayLost)
    assert failure.status == 502
    assert "Provider disconnected" in str(failure)


@pytest.mark.parametrize("nothing", [None, "", {}, [], False, 0])
def test_an_empty_error_field_beside_a_choice_is_no_error(nothing: Any) -> None:
    pieces, failure = read({**chunk("Hi", "stop", error=nothing), "error": nothing})
    assert failure is None
    assert pieces == [TextDelta("Hi"), Finished("stop", complete=True)]


@pytest.mark.parametrize("nothing", ["", {}, []])
def test_an_empty_error_without_a_choice_is_an_error(nothing: Any) -> None:
    _, failure = read({"error": nothing})
    assert isinstance(failure, GatewayLost)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"event: error\ndata: CUDA out of memory\n\n", "CUDA out of memory"),
        (b'event:error\r\ndata: {"detail": "no GPU is left"}\r\n\r\n', "no GPU is left"),
        (b'event: error\ndata: {"message": "busy", "choices": []}\n\n', "busy"),
        (b"data: Internal Server Error\n\n", "Internal Server Error"),
        (b"Internal Server Error", "Internal Server Error"),
        (b"event: error\ndata: the key sk-1 is wrong\n\n", "the key [key] is wrong"),
    ],
    ids=["text", "detail", "message", "unnamed", "no stream", "key"],
)
def test_an_error_in_words_is_reported(sent: bytes, words: str) -> None:
    reader = ReplyReader("h", {}, key="sk-1")

    def receive() -> None:
        reader.feed(sent)
        reader.end()

    with pytest.raises(GatewayLost) as caught:
        receive()
    assert words in str(caught.value)


def test_an_event_after_an_error_event_without_data_is_no_error() -> None:
    reader = ReplyReader("h", {})
    sent = b'event: error\n\ndata: {"choices": [{"delta": {"content": "a"}}]}\n\n'
    assert reader.feed(sent) == [TextDelta("a")]
