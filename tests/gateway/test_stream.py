"""Stream decoder: framing deviations, truncation, and input split at any byte."""

import json
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import GatewayBusy, GatewayError, GatewayLost, GatewayRefused
from pipeline.gateway.event_stream import MAX_EVENT, EventStream
from pipeline.gateway.stream import MAX_STREAM, ReplyReader, merged
from pipeline.interfaces.llm import (
    CompletionRequest,
    Finished,
    Message,
    Piece,
    TextDelta,
    ToolCallDelta,
    Usage,
)


def delta(text: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    said = {} if text is None else {"content": text}
    return {"id": "c1", "choices": [{"index": 0, "delta": said | more, "finish_reason": finish}]}


def sse(*chunks: Any, done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()


def read(*parts: bytes) -> list[Piece]:
    reader = ReplyReader("h", {})
    pieces = [piece for part in parts for piece in reader.feed(part)]
    return merged([*pieces, *reader.end()])


def feed(reader: EventStream | ReplyReader, parts: Iterable[bytes]) -> None:
    for part in parts:
        reader.feed(part)


def calls(name: str, arguments: str = "", **more: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}} | more


HELLO = sse(delta("Plat"), delta("form 4", finish="stop"))
SAID = TextDelta("Platform 4")


def test_a_stream_becomes_text_and_an_ending() -> None:
    assert read(HELLO) == [SAID, Finished("stop", complete=True, request_id="c1")]


def test_deltas_of_one_read_come_as_one() -> None:
    reader = ReplyReader("h", {})
    assert len(reader.feed(HELLO)) == 2


def test_a_reply_far_past_its_max_tokens_is_ended_at_its_limit() -> None:
    request = CompletionRequest(model="m", messages=(Message("user", "hi"),), max_tokens=100)
    pieces: list[Piece] = []
    reader = ReplyReader("h", {}, request=request)
    for _ in range(1000):
        if not reader.is_finished:
            pieces += reader.feed(sse(delta("word " * 100), done=False))
    assert 100 * 32 < sum(len(piece.text) for piece in pieces if type(piece) is TextDelta) < 10_000
    assert isinstance(pieces[-1], Finished)
    assert (pieces[-1].reason, pieces[-1].complete) == ("length", True)
    assert sum(type(piece) is Finished for piece in pieces) == 1


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_every_line_ending_split_at_every_byte(newline: str) -> None:
    stream = HELLO.replace(b"\n", newline.encode())
    assert read(*(bytes([byte]) for byte in stream)) == read(HELLO)


def test_comments_and_other_fields_say_nothing() -> None:
    noise = b": keep-alive\n\nevent: x\nid: 7\nretry: 5\n\n"
    assert read(noise + HELLO.replace(b"\n\n", b"\n\n" + noise)) == read(HELLO)


def test_one_event_may_have_several_data_lines() -> None:
    pretty = json.dumps(delta("hi", finish="stop"), indent=1)
    event = "".join(f"data: {line}\n" for line in pretty.split("\n")) + "\n"
    assert read(event.encode())[0] == TextDelta("hi")


def test_a_line_end_cut_in_two_is_one_line_end() -> None:
    event = b"data: 1\r\ndata: 2\r\n\r\n"
    events = EventStream()
    assert [e for byte in event for e in events.feed(bytes([byte]))] == [b"1\n2"]


def test_a_server_that_leaves_out_blank_lines_is_understood() -> None:
    assert read(HELLO.replace(b"\n\n", b"\n")) == read(HELLO)


def test_a_finish_reason_completes_a_reply_without_the_end_marker() -> None:
    # Whether Claude and Gemini streams send [DONE] is not documented.
    (*_, last) = read(sse(delta("a", finish="end_turn"), done=False))
    assert last == Finished("end_turn", complete=True, request_id="c1")


@pytest.mark.parametrize("how", [ReplyReader.end, ReplyReader.truncated, ReplyReader.stalled])
def test_a_reply_with_its_finish_reason_is_complete_however_its_connection_ends(
    how: Callable[[ReplyReader], list[Piece]],
) -> None:
    reader = ReplyReader("h", {})
    reader.feed(sse(delta("a", finish="stop"), done=False))
    assert how(reader) == [Finished("stop", complete=True, request_id="c1")]


def test_an_end_marker_without_a_finish_reason_is_no_completion() -> None:
    assert read(sse(delta("a")))[-1] == Finished(None, complete=False, request_id="c1")


def test_a_stream_truncated_inside_a_line_keeps_its_text() -> None:
    assert read(sse(delta("a"), done=False) + b'data: {"choi') == [
        TextDelta("a"),
        Finished(None, complete=False, request_id="c1"),
    ]


def test_a_stream_without_a_token_is_lost() -> None:
    with pytest.raises(GatewayLost, match="before the first token"):
        read(b": hello\n\n")


def test_usage_comes_in_a_last_chunk_without_choices() -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 4, "total_tokens": 24}
    stream = sse(delta("a", finish="stop"), {"model": "m", "choices": [], "usage": usage})
    assert read(stream)[-1] == Finished(
        "stop", complete=True, usage=Usage(20, 4), model="m", request_id="c1"
    )


def test_usage_on_every_chunk_counts_once() -> None:
    chunks = [
        delta(c) | {"usage": {"input_tokens": 7, "output_tokens": n}}
        for n, c in enumerate("abc", 1)
    ]
    last = read(sse(*chunks))[-1]
    assert isinstance(last, Finished)
    assert last.usage == Usage(input_tokens=7, output_tokens=3)


def test_one_json_body_although_a_stream_was_asked_for() -> None:
    body = {
        "request_id": "r1",
        "model": "claude",
        "choices": [{"message": {"content": "Closed today."}, "finish_reason": "end_turn"}],
        "usage": {"input_tokens": 88, "output_tokens": 9},
    }
    assert read(b" \n", json.dumps(body).encode()) == [
        TextDelta("Closed today."),
        Finished("end_turn", complete=True, usage=Usage(88, 9), model="claude", request_id="r1"),
    ]


@pytest.mark.parametrize("place", ["message", "choice"])
def test_tool_calls_in_either_place(place: str) -> None:
    found = [calls("f", "{}", id="c7")]
    message: dict[str, Any] = {"content": None}
    choice: dict[str, Any] = {"message": message, "finish_reason": "tool_use"}
    (message if place == "message" else choice)["tool_calls"] = found
    assert read(json.dumps({"choices": [choice]}).encode())[0] == ToolCallDelta(0, "c7", "f", "{}")


def test_tool_calls_spread_over_choices_are_numbered_through() -> None:
    choices = [{"message": {"tool_calls": [calls(name, "{}", id=name)]}} for name in "ab"]
    pieces = read(json.dumps({"choices": choices}).encode())
    assert [piece.index for piece in pieces if isinstance(piece, ToolCallDelta)] == [0, 1]


def test_a_blank_tool_delta_is_no_call() -> None:
    blank = {"index": 0, "id": "", "type": "function", "function": {"name": "", "arguments": ""}}
    assert read(sse(delta(tool_calls=[blank]), delta("hi", finish="stop")))[0] == TextDelta("hi")


def test_the_id_of_a_call_may_sit_in_its_function() -> None:
    first = {"index": 0, "function": {"name": "f", "id": "c9", "arguments": ""}}
    rest = [{"index": 0, "function": {"arguments": part}} for part in ('{"n"', ":4}")]
    pieces = read(sse(*(delta(tool_calls=[call]) for call in [first, *rest])))
    assert pieces[:3] == [
        ToolCallDelta(0, "c9", "f"),
        ToolCallDelta(0, None, None, '{"n"'),
        ToolCallDelta(0, None, None, ":4}"),
    ]


def test_a_call_without_an_id_is_given_one() -> None:
    (call, *_) = read(sse(delta(tool_calls=[calls("f", "{}", index=0)])))
    assert call == ToolCallDelta(0, "call_c1_0", "f", "{}")


def test_two_calls_under_one_index_are_two() -> None:
    both = [calls(name, "{}", index=0, id=name) for name in "ab"]
    pieces = read(sse(delta(tool_calls=both)))
    assert pieces[:2] == [ToolCallDelta(0, "a", "a", "{}"), ToolCallDelta(1, "b", "b", "{}")]


def test_calls_without_an_index_continue_the_last_one() -> None:
    parts = [calls("f", id="a"), {"function": {"arguments": "{}"}}, calls("g", "{}", id="b")]
    pieces = read(sse(*(delta(tool_calls=[part]) for part in parts)))
    assert [p.index for p in pieces if isinstance(p, ToolCallDelta)] == [0, 0, 1]


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"error": {"code": 429, "message": "slow down"}}, GatewayBusy),
        ({"error": "slow down"}, GatewayLost),
        ({"code": 400, "message": "slow down", "request_id": "r"}, GatewayRefused),
        ({"object": "error", "message": "slow down", "code": "500"}, GatewayLost),
    ],
    ids=["nested", "text", "gateway", "code-as-text"],
)
@pytest.mark.parametrize("shape", ["event", "body"])
def test_an_error_under_status_200(event: Any, kind: type[GatewayError], shape: str) -> None:
    with pytest.raises(kind, match="slow down"):
        read(sse(event) if shape == "event" else json.dumps(event).encode())


def test_text_before_an_error_is_handed_out_first() -> None:
    reader = ReplyReader("h", {})
    assert reader.feed(sse(delta("a"), {"error": "broken"})) == [TextDelta("a")]
    with pytest.raises(GatewayLost, match="broken"):
        reader.end()


def test_a_web_page_is_no_completion() -> None:
    reader = ReplyReader("h", {"content-type": "text/html"})
    reader.feed(b"<!doctype html>")
    with pytest.raises(GatewayLost, match="text/html"):
        reader.end()


def test_an_event_beyond_the_limit_is_refused() -> None:
    with pytest.raises(GatewayLost, match="100 bytes"):
        feed(EventStream(limit=100), [b"data: x"] * 200)


def test_many_lines_of_one_event_count_together() -> None:
    with pytest.raises(GatewayLost, match="100 bytes"):
        feed(EventStream(limit=100), [b"data: x\n"] * 200)


def test_nothing_follows_the_ending() -> None:
    reader = ReplyReader("h", {})
    reader.feed(HELLO)
    assert reader.feed(HELLO) == []
    assert reader.end() == []


def cut_at(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(edges)]


@given(
    texts=st.lists(st.text(min_size=1), min_size=1, max_size=5),
    places=st.lists(st.integers(min_value=0), max_size=12),
    newline=st.sampled_from([b"\n", b"\r\n", b"\r"]),
)
@settings(max_examples=200, deadline=None)
def test_a_reply_is_the_same_however_it_is_cut(
    texts: list[str], places: list[int], newline: bytes
) -> None:
    stream = sse(*(delta(text) for text in texts), delta(finish="stop"))
    said = "".join(texts)
    assert read(*cut_at(stream.replace(b"\n", newline), places)) == [
        TextDelta(said),
        Finished("stop", complete=True, request_id="c1"),
    ]


FRAGMENTS = st.sampled_from(
    [
        *[b"data:", b"data: ", b"\n", b"\r", b"\n\n", b": c\n", b"[DONE]", b"{", b"}", b'"'],
        *[sse(delta("a"), done=False), b'{"choices":[{"delta":', b"null", b"[", b"]", b"\xff"],
    ]
)


@given(st.lists(FRAGMENTS | st.binary(max_size=20), max_size=30))
@settings(max_examples=300, deadline=None)
def test_garbage_ends_in_a_clear_error_or_a_reply(parts: list[bytes]) -> None:
    try:
        pieces = read(*parts)
    except GatewayError:
        return
    assert isinstance(pieces[-1], Finished)


def test_a_stream_without_end_is_ended() -> None:
    much = sse(*[delta("x" * 1000)] * 500, done=False)
    with pytest.raises(GatewayLost, match=f"reply of h is longer than {MAX_STREAM} bytes"):
        feed(ReplyReader("h", {}), [much] * (MAX_STREAM // len(much) + 1))


def test_the_limit_is_that_of_the_class() -> None:
    with pytest.raises(GatewayLost, match=str(MAX_EVENT)):
        feed(ReplyReader("h", {}), [b"data: " + b"x" * 100_000] * 20)
