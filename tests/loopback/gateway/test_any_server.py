"""A server that sends anything at all: each response ends once, in time, and says why."""

import itertools
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.settings import LlmSettings, Prompt
from pipeline.gateway.attempts import Target
from pipeline.gateway.client import GatewayClient
from pipeline.gateway.fallback import FallbackGateway
from pipeline.gateway.retry import RetryPolicy
from pipeline.interfaces.turns import TurnEnded
from pipeline.protocol.events import ResponseDone
from pipeline.responses.conversation import ConversationState
from pipeline.responses.dispatch import Dispatch
from pipeline.responses.rate_limit import Budget
from pipeline.responses.scheduler import ResponseScheduler
from tests.loopback.gateway.raw_server import WHOLE, Peer, Script, chunk, saying, serving
from tests.responses.scripted import Listener

TOTAL = 0.6  #: seconds for one response
PATIENCE = 5.0  #: seconds; a machine under load is no failure

_text = st.sampled_from(["", "It is noon.", "\ud83d", "<think>", "{", "\u0000", "٣" * 99])
_reason: st.SearchStrategy[object] = st.sampled_from(
    [None, "", "stop", "length", "content_filter", "error", "SAFETY", "tool_calls", "new", 7, {}]
)
_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _text,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["message", "code", "error", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
_choice = st.fixed_dictionaries(
    {},
    optional={
        "index": st.sampled_from([0, 1, -1, None, "0"]),
        "delta": st.fixed_dictionaries({}, optional={"content": _text, "tool_calls": _anything}),
        "message": st.fixed_dictionaries({"content": _text}),
        "finish_reason": _reason,
        "error": _anything,
    },
)
_chunk = st.fixed_dictionaries(
    {},
    optional={
        "choices": st.lists(_choice, max_size=2) | _anything,
        "usage": st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens"]), _anything)
        | _anything,
        "error": _anything,
        "message": _anything,
        "model": _anything,
    },
).map(lambda value: json.dumps(value).encode())
_line = st.one_of(
    _chunk.map(lambda data: b"data: " + data + b"\n\n"),
    _chunk.map(lambda data: b"event: error\r\ndata: " + data + b"\r\n\r\n"),
    st.sampled_from([b"data: [DONE]\n\n", b": alive\n\n", b"data:\n\n", b"\n", b"data: oops\n\n"]),
    st.binary(max_size=40),
)


def delta_event(text: str, reason: object = None) -> bytes:
    """Return a chunk with ``text`` as an event of the stream."""
    delta = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return b"data: %b\n\n" % json.dumps({"choices": [delta]}).encode()


_fine = st.builds(delta_event, _text, _reason)
_text_only = _text.map(delta_event)
_mixed = st.lists(_fine | _line | _chunk, max_size=6).map(b"".join)
#: as a sound server sends it, but for the text, the finish reason and one more line
_sound = st.tuples(st.lists(_text_only, max_size=3).map(b"".join), _fine, _line).map(b"".join)
_body = _sound | _mixed
_status = st.sampled_from([*[200] * 30, 204, 301, 400, 401, 404, 413, 429, 500, 503, 100, 999])
_header = st.sampled_from(
    [
        b"Content-Type: text/event-stream",
        b"Content-Type: application/json",
        b"Content-Length: 3",
        b"Content-Length: 99999999999999999999",
        b"Content-Encoding: gzip",
        b"Connection: close",
        b"Retry-After: 36000",
        b"Retry-After: Fri, 31 Dec 9999 23:59:59 GMT",
        b"x-ratelimit-remaining: 0",
        b"x-ratelimit-limit: " + b"9" * 400,
        b"x-should-retry: true",
        b": no name",
    ]
)
_end: st.SearchStrategy[Callable[[Peer], None] | None] = st.sampled_from(
    [Peer.close, Peer.close, Peer.reset, None]
)


@st.composite
def replies(draw: st.DrawFn) -> tuple[list[bytes], Callable[[Peer], None] | None]:
    """Return the pieces of one reply, and how the connection ends, if it does."""
    if draw(st.integers(0, 19)) == 19:
        return [draw(st.binary(max_size=200))], draw(_end)
    headers = draw(st.lists(_header, max_size=3)) if draw(st.integers(0, 3)) == 3 else []
    lines = [b"HTTP/1.1 %d Status" % draw(_status), *headers]
    body = draw(_body)
    if body and draw(st.booleans()):
        lines.append(b"Transfer-Encoding: chunked")
        body = chunk(body) + draw(st.sampled_from([b"0\r\n\r\n", b"", b"zz\r\n"]))
    whole = b"\r\n".join([*lines, b"", b""]) + body
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=3)))
    pieces = [whole[a:b] for a, b in itertools.pairwise([0, *cuts, len(whole)])]
    return pieces, draw(_end)


def sends(pieces: Sequence[bytes], end: Callable[[Peer], None] | None) -> Script:
    async def script(peer: Peer) -> None:
        for piece in pieces:
            peer.send(piece)
            await peer.writer.drain()
            await anyio.lowlevel.checkpoint()
        if end is not None:
            end(peer)

    return script


async def answered(script: Script) -> tuple[ResponseDone, list[str], float]:
    """Return the end of the response to one turn, all events, and the seconds it took."""
    listener, took = Listener(), math.inf
    async with serving(script) as server, anyio.create_task_group() as tasks:
        limits = LlmSettings(stall_timeout=0.2, connect_timeout=0.5)
        client = GatewayClient(server.url, "key", limits)
        ids = itertools.count(1)
        prompt = Prompt(first_token_timeout=0.4, total_timeout=TOTAL)
        state = ConversationState(Budget(0), "model", lambda: f"r{next(ids)}")
        chain = FallbackGateway([Target(client, client.host)], RetryPolicy(backoff=0.01))
        scheduler = ResponseScheduler({"reply": prompt}, state)
        dispatch = Dispatch(scheduler, chain, listener, anyio.current_time)
        tasks.start_soon(dispatch.run, tasks)
        await anyio.lowlevel.checkpoint()
        began = anyio.current_time()
        with anyio.fail_after(TOTAL + PATIENCE):
            dispatch.carry_out(scheduler.heard(TurnEnded(1, "Hi."), began))
            await dispatch.settled()
        took = anyio.current_time() - began
        await anyio.wait_all_tasks_blocked()
        assert client.slots.held == client.slots.waiting == 0
        tasks.cancel_scope.cancel()
        await client.aclose()
    (done,) = [event for event in listener.events if isinstance(event, ResponseDone)]
    return done, [type(event).__name__ for event in listener.events], took


async def with_a_neighbour(script: Script) -> tuple[ResponseDone, list[str]]:
    """Return what became of a response while another session talks to a sound server."""
    found: list[Any] = []

    async def hostile() -> None:
        found.append(await answered(script))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hostile)
        neighbour, _, _ = await answered(saying(WHOLE))
        assert (neighbour.status, neighbour.text) == ("completed", "hello")
    done, events, took = found[0]
    assert took < TOTAL + PATIENCE
    return done, events


@settings(max_examples=60, deadline=None)
@given(replies())
def test_each_response_ends_once_and_says_why(
    reply: tuple[list[bytes], Callable[[Peer], None] | None],
) -> None:
    done, events = anyio.run(with_a_neighbour, sends(*reply))
    assert events.count("ResponseCreated") == events.count("ResponseDone") == 1
    assert (events[0], events[-1]) == ("ResponseCreated", "ResponseDone")
    assert done.status in ("completed", "incomplete", "failed")
    if done.status != "completed" or not done.text:
        assert done.reason
    if done.status == "failed":
        assert done.error is not None
        assert done.error.message
        assert len(done.error.message) < 1000
