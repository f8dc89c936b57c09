"""The scripted chat-completions server, seen through a raw socket."""

from typing import Any

import anyio
import pytest

from pipeline.errors import EngineError
from tests.support import simulate
from tests.support.rawhttp import Raw, ask, request

CALL = {"name": "platform", "arguments": {"n": 4}, "id": "call_7"}


async def reply(stream: bool = True, **line: Any) -> Raw:
    """Ask once for the answer that the line describes."""
    async with simulate([{"llm": "reply", "text": "one two three", **line}]) as sim:
        with anyio.fail_after(5):
            return await ask(sim.llm_url, stream=stream)


# --- streams -------------------------------------------------------------------------------


async def test_without_a_scenario_the_request_is_echoed_token_by_token() -> None:
    async with simulate() as sim:
        raw = await ask(sim.llm_url, "hi there")
    assert (raw.status, raw.text) == (200, "You said: hi there")
    deltas = [e["choices"][0]["delta"] for e in raw.events]
    assert deltas[0] == {"role": "assistant", "content": "You"}
    assert [e["choices"][0]["finish_reason"] for e in raw.events] == [None] * 4 + ["stop"]
    assert raw.body.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


async def test_usage_may_come_in_a_last_chunk_without_choices() -> None:
    last = (await reply(usage="last")).events[-1]
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}


async def test_usage_is_sent_when_requested() -> None:
    async with simulate() as sim:
        raw = await ask(sim.llm_url, stream_options={"include_usage": True})
    assert raw.events[-1]["usage"]["completion_tokens"] == 3


async def test_usage_may_be_on_every_chunk() -> None:
    events = (await reply(usage="each")).events
    assert [event["usage"]["completion_tokens"] for event in events] == [1, 2, 3, 3, 3]


async def test_a_stream_may_end_without_done_and_without_a_reason() -> None:
    raw = await reply(done=False, finish_reason=None)
    assert b"[DONE]" not in raw.body
    assert [e["choices"][0]["finish_reason"] for e in raw.events] == [None] * 3


async def test_a_reason_may_be_the_providers_word() -> None:
    assert (await reply(finish_reason="end_turn")).events[-1]["choices"][0][
        "finish_reason"
    ] == "end_turn"


async def test_a_stream_may_have_crlf_and_comments() -> None:
    raw = await reply(newline="crlf", comments=2, framing="close")
    assert raw.body.startswith(b": keep-alive\r\n\r\n" * 2 + b"data: {")
    assert raw.body.endswith(b"data: [DONE]\r\n\r\n")


async def test_an_error_event_may_take_the_place_of_the_end() -> None:
    raw = await reply(error_event={"message": "overloaded"})
    assert raw.events[-1] == {"error": {"message": "overloaded"}}
    assert b"[DONE]" not in raw.body


async def test_one_json_body_may_answer_a_stream_request() -> None:
    raw = await reply(plain=True)
    assert "content-type: application/json" in raw.head
    assert raw.json["choices"][0]["message"]["content"] == "one two three"


async def test_a_tool_call_comes_in_fragments_behind_a_blank_delta() -> None:
    raw = await reply(text="", tool_calls=[CALL], blank_tool_delta=True, fragments=2)
    calls = [e["choices"][0]["delta"].get("tool_calls") for e in raw.events]
    assert calls == [
        [{"index": 0, "id": "", "function": {"name": "", "arguments": ""}}],
        [
            {
                "index": 0,
                "type": "function",
                "function": {"name": "platform", "arguments": ""},
                "id": "call_7",
            }
        ],
        [{"index": 0, "function": {"arguments": '{"n"'}}],
        [{"index": 0, "function": {"arguments": ":4}"}}],
        None,
    ]


async def test_a_tool_calls_id_may_be_under_its_function() -> None:
    raw = await reply(text="", tool_calls=[CALL], tool_id="function")
    opening = raw.events[0]["choices"][0]["delta"]["tool_calls"][0]
    assert "id" not in opening
    assert opening["function"]["id"] == "call_7"


# --- framing and cuts ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("framing", "header"),
    [
        ("chunked", "transfer-encoding: chunked"),
        ("length", "content-length:"),
        ("close", "connection: close"),
    ],
)
async def test_a_body_is_framed_in_every_way(framing: str, header: str) -> None:
    raw = await reply(framing=framing)
    assert header in raw.head
    assert raw.text == "one two three"


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("by", ["fin", "rst"])
async def test_a_stream_is_cut_after_so_many_tokens(framing: str, by: str) -> None:
    raw = await reply(framing=framing, cut={"after_tokens": 2, "by": by}, token_ms=5)
    assert raw.text == "one two"
    assert raw.was_reset is (by == "rst")
    assert not raw.body.endswith(b"0\r\n\r\n")
    if framing == "length":
        assert int(raw.head.split("content-length: ")[1].split()[0]) > len(raw.body)


async def test_a_cut_past_the_end_cuts_the_end_only() -> None:
    assert (await reply(cut={"after_tokens": 9})).text == "one two three"


async def test_a_stream_is_cut_inside_a_line() -> None:
    raw = await reply(framing="close", cut={"after_bytes": 20})
    assert raw.body == b'data: {"id":"0000000'


async def test_a_stream_stalls_until_the_client_gives_up() -> None:
    async with simulate([{"llm": "reply", "cut": {"after_tokens": 1, "by": "hang"}}]) as sim:
        with anyio.move_on_after(0.1):
            await ask(sim.llm_url)
        stalled = await sim.llm.closed(1)
    assert (stalled.tokens, stalled.was_cancelled) == (1, True)


async def test_comments_trickle_without_a_token() -> None:
    async with (
        simulate(
            [{"llm": "reply", "framing": "close", "cut": {"after_tokens": 0, "by": "keepalive"}}]
        ) as sim,
        await anyio.connect_tcp("127.0.0.1", int(sim.llm_url.split(":")[2][:-3])) as stream,
    ):
        await stream.send(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 28\r\n\r\n")
        await stream.send(b'{"prompt":"a","stream":true}')
        received = b""
        with anyio.fail_after(5):
            while received.count(b": keep-alive\n\n") < 3:
                received += await stream.receive()
    assert b"data:" not in received


async def test_a_body_arrives_in_slices() -> None:
    raw = await reply(slice_bytes=1)
    assert raw.text == "one two three"


async def test_a_request_may_never_be_answered() -> None:
    async with simulate([{"llm": "hang"}]) as sim:
        with anyio.move_on_after(0.05):
            await ask(sim.llm_url)
        hung = await sim.llm.closed(1)
    assert (hung.status, hung.was_cancelled) == (None, True)


@pytest.mark.parametrize("by", ["fin", "rst"])
async def test_a_connection_may_end_before_the_answer(by: str) -> None:
    async with simulate([{"llm": "drop", "by": by}]) as sim:
        raw = await ask(sim.llm_url)
    assert (raw.head, raw.was_reset) == ("", by == "rst")


async def test_any_bytes_can_be_a_body() -> None:
    line = {"llm": "raw", "pieces": ["data: {", "broken\n\n"], "framing": "close"}
    async with simulate([line]) as sim:
        assert (await ask(sim.llm_url)).body == b"data: {broken\n\n"


# --- whole answers and refusals ------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        ("both", {"input_tokens", "output_tokens", "prompt_tokens", "completion_tokens"}),
        ("input", {"input_tokens", "output_tokens"}),
        ("prompt", {"prompt_tokens", "completion_tokens"}),
    ],
)
async def test_usage_has_either_naming(names: str, keys: set[str]) -> None:
    raw = await reply(stream=False, usage_names=names)
    assert set(raw.json["usage"]) == keys | {"total_tokens"}


@pytest.mark.parametrize("place", ["message", "choice", "spread"])
async def test_tool_calls_are_in_every_place(place: str) -> None:
    raw = await reply(stream=False, text="", tool_calls=[CALL, CALL], tool_place=place)
    choices = raw.json["choices"]
    calls = [(c if place == "choice" else c["message"])["tool_calls"] for c in choices]
    assert [len(group) for group in calls] == ([1, 1] if place == "spread" else [2])
    assert calls[0][0]["function"] == {"name": "platform", "arguments": '{"n":4}'}


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        ("business", b'{"code":503,"message":"no","request_id":"00000000'),
        ("nested", b'{"error":{"code":503,"message":"no","metadata":{}}}'),
        ("authorization", b'{"error":"no","status":"error","request_id":"0000'),
        ("text", b"no"),
    ],
)
async def test_an_error_has_every_shape(shape: str, body: bytes) -> None:
    line = {"llm": "error", "status": 503, "message": "no", "shape": shape, "retry_after_s": 2}
    async with simulate([line]) as sim:
        raw = await ask(sim.llm_url)
    assert raw.status == 503
    assert raw.body.startswith(body)
    assert "retry-after: 2" in raw.head


async def test_a_missing_key_and_a_wrong_one_are_refused_with_different_texts() -> None:
    async with simulate([{"llm": "server", "key": "k"}]) as sim:
        missing, wrong, bare, bearer = [
            await ask(sim.llm_url, stream=False, key=key) for key in (None, "x", "k", "Bearer k")
        ]
    assert [raw.status for raw in (missing, wrong, bare, bearer)] == [401, 401, 200, 200]
    assert "upgrade" in missing.json["error"]
    assert "token" in wrong.json["error"]


async def test_models_are_listed() -> None:
    line = {"llm": "model", "id": "m1", "extra": {"context_length": 9}}
    async with simulate([line]) as sim:
        raw = await request(sim.llm_url, "GET", "/models")
        lost = await request(sim.llm_url, "GET", "/nowhere")
    assert [(m["id"], m["context_length"]) for m in raw.json["data"]] == [("m1", 9)]
    assert lost.status == 404


# --- what is recorded ----------------------------------------------------------------------


async def test_a_request_is_recorded_with_body_and_times() -> None:
    async with simulate([{"llm": "reply", "text": "a b", "token_ms": 50}]) as sim:
        await ask(sim.llm_url, "hello", key="k", temperature=0.5)
        seen = await sim.llm.closed(1)
    assert (seen.text, seen.model, seen.body["temperature"]) == ("hello", "m", 0.5)
    assert seen.headers["authorization"] == "k"
    assert (seen.status, seen.tokens, seen.was_cancelled) == (200, 2, False)
    assert seen.first_token_at is not None
    assert seen.done_at is not None
    assert seen.at <= seen.first_token_at < seen.at + 0.045 < seen.done_at


async def test_nothing_more_is_written_to_a_client_that_has_gone() -> None:
    async with simulate([{"llm": "reply", "text": "a b c d e", "token_ms": 10, "times": 2}]) as sim:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, sim.llm_url)
            await sim.llm.token(1)
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            await sim.llm.cancelled(1)
        await ask(sim.llm_url)  # as long as the first one would have gone on
        gone, whole = sim.llm.requests
    assert gone.tokens < whole.tokens == 5
    assert (gone.was_cancelled, whole.was_cancelled) == (True, False)


async def test_many_clients_can_leave_at_once() -> None:
    async with simulate([{"llm": "hang", "times": 0}]) as sim:
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(ask, sim.llm_url)
            await sim.llm.arrived(100)
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            await sim.llm.cancelled(100)
            await sim.llm.idle()
        assert (sim.llm.connections_open, sim.llm.connections_opened) == (0, 100)


async def test_a_dropped_request_counts_toward_the_limit() -> None:
    async with simulate([{"llm": "limit", "requests": 1}, {"llm": "hang"}]) as sim:
        with anyio.move_on_after(0.05):
            await ask(sim.llm_url)
        await sim.llm.closed(1)
        assert (await ask(sim.llm_url)).status == 429


async def test_a_taken_port_is_a_clear_error() -> None:
    async with simulate() as sim:
        port = int(sim.llm_url.split(":")[2].removesuffix("/v1"))
        with pytest.raises(EngineError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with simulate(llm_port=port):
                pass
