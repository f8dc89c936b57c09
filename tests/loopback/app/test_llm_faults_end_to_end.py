"""Rows F21 to F26 of the fault matrix as a subscriber sees them: a typed ending, then it goes on.

Each row breaks the answer to the first turn; the second turn is answered well. A subscriber
behind a slow link of small pieces is held to all that the push protocol promises.
"""

import json
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import anyio
import pytest
from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from pipeline.config.settings import Fallback
from tests.gateway.broken_json import CORPUS
from tests.support import fault_proxy
from tests.support.oracle import hold
from tests.support.service import service

Line = dict[str, Any]
FINE: Line = {"llm": "reply", "match": "second", "text": "All is well."}


class Row(Struct, frozen=True, kw_only=True):
    """What the language model's server does, and how the first answer ends then."""

    does: Sequence[Line]
    status: str = "completed"
    why: str | None = None  #: the error's type, or the reason
    text: str = ""
    calls: int = 1  #: for the first turn
    fallback: bool = False  #: another model is there


def event(text: str) -> str:
    return f'data: {{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}\n\n'


def reply(**more: Any) -> Line:
    return {"llm": "reply", "text": "One two three.", **more}


def cut(after: int, by: str, **more: Any) -> Line:
    return reply(cut={"after_tokens": after, "by": by}, **more)


def raw(body: str, **more: Any) -> Line:
    return {"llm": "raw", "body": body, **more}


def busy(status: int, wait: float | None = None, **more: Any) -> Line:
    return {"llm": "error", "status": status, "retry_after_s": wait, **more}


SPARE: Line = {"llm": "reply", "model": "spare", "text": "From another model."}
INSTEAD: dict[str, Any] = {"text": "From another model.", "calls": 2, "fallback": True}
LOST: dict[str, Any] = {"status": "failed", "why": "lost"}
CUT: dict[str, Any] = {"status": "incomplete", "why": "cut"}

ROWS = {
    "F21 a short wait": Row(
        does=[busy(429, 0, times=1), reply()], text="One two three.", calls=2
    ),
    "F21 a long wait, another model": Row(
        does=[busy(429, 60, model="scripted", times=0), SPARE], **INSTEAD
    ),
    "F21 a wait beyond all patience": Row(does=[busy(429, 0.6)], status="failed", why="busy"),
    "F22 a storm": Row(does=[busy(503, times=2)], status="failed", why="busy", calls=2),
    "F22 a storm, another model": Row(
        does=[busy(503, model="scripted", times=0), SPARE], text="From another model.", calls=3,
        fallback=True,
    ),
    "F23 no head": Row(does=[{"llm": "hang"}], status="failed", why="timeout"),
    "F23 comments only": Row(does=[cut(0, "keepalive")], status="failed", why="timeout"),
    "F23 silence in mid-answer": Row(
        does=[cut(2, "hang")], status="failed", why="timeout", text="One two"
    ),
    "F23 comments in mid-answer": Row(
        does=[cut(2, "keepalive")], status="failed", why="timeout", text="One two"
    ),
    "F24 chunked, closed": Row(does=[cut(2, "fin")], **CUT, text="One two"),
    "F24 chunked, reset": Row(does=[cut(2, "rst")], **CUT, text="One two"),
    "F24 close-delimited, closed": Row(
        does=[cut(2, "fin", framing="close")], **CUT, text="One two"
    ),
    "F24 no finish reason": Row(does=[reply(finish_reason=None)], **CUT, text="One two three."),
    "F24 neither that nor an end marker": Row(
        does=[reply(finish_reason=None, done=False)], **CUT, text="One two three."
    ),
    "F24 before the first token": Row(
        does=[cut(0, "rst", times=1), reply()], text="One two three.", calls=2
    ),
    "F26 an error event first": Row(
        does=[raw('data: {"error":{"message":"overloaded","code":529}}\n\n', times=2)],
        status="failed", why="busy", calls=2,
    ),
    "F26 an error event later": Row(
        does=[raw(event("One") + 'data: {"error":"broken"}\n\n')], **LOST, text="One"
    ),
    "F26 garbage": Row(does=[raw("data: {broken\n\n", times=2)], **LOST, calls=2),
    "F26 garbage later": Row(does=[raw(event("One") + "data: {x\n\n")], **LOST, text="One"),
    "F26 a line without end": Row(
        does=[raw(event("One") + "data: " + "x" * 1_200_000)], **LOST, text="One"
    ),
    "F26 broken UTF-8": Row(
        does=[raw(event("One\\ud800") + "data: [DONE]\n\n")], **CUT, text="One?"
    ),
    "F26 a web page": Row(
        does=[raw("<html>Sign in</html>", content_type="text/html", times=2)], **LOST, calls=2
    ),
    "F26 nothing": Row(does=[raw("", times=2)], **LOST, calls=2),
    "F26 one piece": Row(does=[reply(plain=True)], text="One two three."),
}  # fmt: skip


class Source:
    """Types turns, one after another, and keeps every event that comes of them."""

    def __init__(self, socket: ClientConnection, frames: list[bytes]) -> None:
        self._socket = socket
        self.frames = frames

    async def answer_to(self, text: str) -> dict[str, Any]:
        await self._socket.send(json.dumps({"type": "turn.create", "text": text}))
        return await self.until("response.done")

    async def until(self, kind: str) -> dict[str, Any]:
        while True:
            self.frames.append(str(await self._socket.recv()).encode())
            found: dict[str, Any] = json.loads(self.frames[-1])
            if found["type"] == "heartbeat":
                self.frames.pop()
            if found["type"] == kind:
                return found


async def follow(url: str, frames: list[bytes]) -> None:
    query = "/v1/events?session_id=call&after_seq=0"
    async with connect(url + query, proxy=None) as subscriber:
        try:
            async for frame in subscriber:
                frames.append(str(frame).encode())
                if b'"session.ended"' in frames[-1]:
                    return
        except ConnectionClosed:
            return


@pytest.mark.parametrize("name", ROWS)
async def test_what_goes_wrong_with_one_answer_ends_it_alone(name: str) -> None:
    row = ROWS[name]
    chain = [Fallback(model="spare")] if row.fallback else []
    frames: list[bytes] = []
    seen: list[bytes] = []
    endings: list[tuple[dict[str, Any], int]] = []
    patience: dict[str, Any] = {"first_token_timeout": 0.4, "stall_timeout": 0.4}
    async with (
        service([FINE, *row.does], chain=chain, **patience) as (url, sim, _),
        fault_proxy(url) as proxy,
        anyio.create_task_group() as tasks,
    ):
        proxy.slice_bytes = 700
        async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
            source = Source(socket, frames)
            await socket.send('{"type":"session.start","session_id":"call","audio":null}')
            await source.until("session.created")
            tasks.start_soon(follow, proxy.url, seen)
            for text in ("the first", "the second"):
                done = await source.answer_to(text)
                endings.append((done, len(sim.llm.requests)))
            await socket.send('{"type":"session.end"}')
            await source.until("session.ended")
    (first, calls), (second, _) = endings
    assert (first["status"], first["text"], calls) == (row.status, row.text, row.calls)
    assert first.get("error", {}).get("type", first.get("reason")) == row.why
    if row.why == "busy":  # as the request log has it: what is refused costs nothing
        assert first["usage"] == {"input_tokens": 0, "output_tokens": 0, "estimated": False}
    if row.status == "failed":
        assert "127.0.0.1" in first["error"]["message"] or "scripted" in first["error"]["message"]
    assert (second["status"], second["text"]) == ("completed", "All is well.")
    hold(seen, frames)


async def test_broken_json_is_repaired_and_what_was_shown_of_it_stays_however_it_comes() -> None:
    """F26: the whole corpus, each answer streamed in pieces that a die has cut."""
    dice = random.Random(4)
    lines = [
        {"llm": "reply", "match": f"number {n:03}", "text": text, "tokens": pieces(text, dice)}
        for n, (text, _) in enumerate(CORPUS)
    ]
    form: dict[str, Any] = {"output": "json", "json_schema": {"type": "object"}}
    frames: list[bytes] = []
    async with (
        service(lines, **form, json_partials=True, history=0) as (url, sim, _),
        connect(f"{url}/v1/ingest/raw", proxy=None) as socket,
    ):
        source = Source(socket, frames)
        await socket.send('{"type":"session.start","audio":null}')
        for n, (text, meant) in enumerate(CORPUS):
            done = await source.answer_to(f"number {n:03}")
            assert (done["status"], done["json"]) == ("completed", meant), text
        assert len(sim.llm.requests) == len(CORPUS)  # none was asked again
    events = [json.loads(frame) for frame in frames]
    assert not [one for one in events if one["type"] == "response.output_text.delta"]
    shown = [one for one in events if one["type"] == "response.output_json.partial"]
    final = {one["response_id"]: one["json"] for one in events if one["type"] == "response.done"}
    assert len(shown) > len(CORPUS) // 2
    for partial in shown:
        assert begins(partial["value"], final[partial["response_id"]])


def pieces(text: str, dice: random.Random) -> list[str]:
    cuts = sorted(dice.randrange(len(text) + 1) for _ in range(len(text) // 3))
    edges = [0, *cuts, len(text)]
    return [text[a:b] for a, b in pairwise(edges) if a < b]


def begins(shown: Any, final: Any) -> bool:
    """Whether ``final`` can have come of ``shown``: texts and lists grow, nothing changes."""
    match shown, final:
        case str(), str():
            return final.startswith(shown)
        case dict(), dict():
            before, after = cast("dict[str, Any]", shown), cast("dict[str, Any]", final)
            return all(key in after and begins(before[key], after[key]) for key in before)
        case list(), list():
            old, new = cast("list[object]", shown), cast("list[object]", final)
            pairs = zip(old, new, strict=False)
            return len(old) <= len(new) and all(begins(one, other) for one, other in pairs)
        case _:
            return type(shown) is type(final) and bool(shown == final)
