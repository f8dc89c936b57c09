"""Known behaviours of AssemblyAI's LLM Gateway, scripted by the simulator: one row each.

Each row runs the whole service: a turn is typed, the gateway misbehaves, a subscriber reads.
Sources: AssemblyAI docs, LLM Gateway (errors, rate limits, fallback, tool calling, structured
outputs), 2026; `assemblyai` 1.8.2, llm_gateway/v1; live observations of 2026-09.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from websockets.asyncio.client import ClientConnection, connect

from pipeline.config.settings import ToolSettings
from pipeline.errors import SettingsError
from tests.support.service import service
from tests.support.waiting import until

Script = dict[str, Any]
Answer = dict[str, Any]  #: what is asked of a response.done, field by field

ECHO: Answer = {"status": "completed", "text": "You said: turn 1"}
AB: Answer = {"status": "completed", "text": "a b"}
#: two tokens are counted by either name
COUNTED = {"input_tokens": 4, "output_tokens": 2, "estimated": False}


@dataclass(frozen=True)
class Row:
    """One behaviour, and what becomes of it."""

    script: Sequence[Script]
    answers: Sequence[Answer] = (ECHO,)
    asked: Sequence[str] = ("scripted",)  #: the model of each request, in order
    turns: int = 1
    prompt: Mapping[str, Any] = field(default_factory=dict[str, Any])


def refused(code: int, says: str) -> Answer:
    return {"status": "failed", "reason": "refused", "error": {"code": code, "message": says}}


def error(status: int, shape: str) -> Script:
    return {"llm": "error", "status": status, "shape": shape, "message": "nope", "times": 0}


def reply(**fields: Any) -> Script:
    return {"llm": "reply", "text": "a b"} | fields


ROWS = {
    # 1: limits
    "the 31st request of a minute is refused, and asked of the sibling before it leaves": Row(
        [{"llm": "limit", "requests": 30}],
        [{"status": "completed", "text": f"You said: turn {n}"} for n in range(1, 32)],
        [*["scripted"] * 30, "other"],
        turns=31,
        prompt={"siblings": ("other",)},
    ),
    "two requests in a window of two seconds; the third waits for it": Row(
        [{"llm": "limit", "requests": 2, "per_s": 2.0}],
        [{"status": "completed", "text": f"You said: turn {n}"} for n in (1, 2, 3)],
        ["scripted"] * 3,
        turns=3,
    ),
    "429 with retry-after: asked again when it may be": Row(
        [{"llm": "error", "status": 429, "retry_after_s": 0.2, "times": 1}],
        asked=["scripted"] * 2,
    ),
    "429 with a retry-after that is too long: the sibling is asked at once": Row(
        [{"llm": "error", "status": 429, "retry_after_s": 60, "model": "scripted", "times": 0}],
        asked=["scripted", "other"],
        prompt={"siblings": ("other",)},
    ),
    # 2: server-side retries
    "5xx: asked again": Row([{"llm": "error", "status": 503, "times": 1}], asked=["scripted"] * 2),
    "5xx: the server's own retry, which takes a minute, is switched off": Row(
        [{"llm": "error", "status": 503, "times": 1, "internal_retry_ms": 60_000}],
        asked=["scripted"] * 2,
        prompt={"fallback_config": {"retry": False}},
    ),
    # 3: error bodies
    "an error with message and code": Row([error(400, "business")], [refused(400, "nope")]),
    "an error in the shape of OpenAI": Row([error(400, "nested")], [refused(400, "nope")]),
    "an error of the proxy in front": Row([error(400, "text")], [refused(400, "nope")]),
    "a missing key is answered as if it were the account's plan": Row(
        [error(401, "authorization")], [refused(401, "no key was sent")]
    ),
    # 4: what it does not take
    "a parameter that the model does not support": Row(
        [{"llm": "model", "id": "scripted", "supported_parameters": ["temperature"]}],
        [refused(400, "does not support response_format")],
        prompt={"extra": {"response_format": {"type": "json_object"}}},
    ),
    # 5: streams
    "usage in a last chunk of its own": Row([reply(usage="last")], [AB | {"usage": COUNTED}]),
    "usage in every chunk is counted once": Row([reply(usage="each")], [AB | {"usage": COUNTED}]),
    "no usage at all is estimated": Row(
        [reply(usage="none")], [AB | {"usage": {"estimated": True}}]
    ),
    "no [DONE]": Row([reply(done=False)], [AB]),
    "a stream that ends in the middle without an error": Row(
        [reply(cut={"after_tokens": 1})],
        [{"status": "incomplete", "reason": "cut", "text": "a"}],
    ),
    "an error in the middle of a stream": Row(
        [reply(error_event={"message": "overloaded", "code": 529})],
        [{"status": "failed", "reason": "busy", "text": "a b", "error": {"message": "overloaded"}}],
    ),
    "an error in the middle of a stream that does not say which": Row(
        [reply(error_event={"message": "it broke"})],
        [{"status": "failed", "reason": "lost", "text": "a b", "error": {"message": "it broke"}}],
    ),
    "comments for ever end at the deadline": Row(
        [reply(cut={"after_tokens": 1, "by": "keepalive"}, times=0)],
        [{"status": "failed", "text": "a", "error": {"message": "did not finish"}}],
        prompt={"total_timeout": 0.6},
    ),
    "one piece where a stream was asked for": Row([reply(plain=True)], [AB | {"usage": COUNTED}]),
    # 7: namings
    "usage in the names of the body": Row(
        [reply(plain=True, usage_names="input")], [AB | {"usage": COUNTED}]
    ),
    "usage in the names of OpenAI": Row(
        [reply(plain=True, usage_names="prompt")], [AB | {"usage": COUNTED}]
    ),
    "end_turn is an end": Row([reply(finish_reason="end_turn")], [AB]),
    "length is no end": Row(
        [reply(finish_reason="length")],
        [{"status": "incomplete", "reason": "max_tokens", "text": "a b"}],
    ),
    "max_tokens is no end": Row(
        [reply(finish_reason="max_tokens")],
        [{"status": "incomplete", "reason": "max_tokens", "text": "a b"}],
    ),
    "an unknown finish reason": Row([reply(finish_reason="tired")], [AB]),
}


async def answers(url: str, turns: int) -> list[Answer]:
    """Type so many turns and return every ``response.done`` of the session."""
    async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
        await socket.send('{"type":"session.start","audio":null}')
        for n in range(turns):
            await socket.send(json.dumps({"type": "turn.create", "text": f"turn {n + 1}"}))
        await socket.send('{"type":"session.end"}')
        events = [json.loads(frame) async for frame in socket]
    return [event for event in events if event["type"] == "response.done"]


def seen(got: Any, wanted: Any) -> Any:
    """Return of ``got`` what ``wanted`` asks for; a text need only contain it."""
    if isinstance(wanted, str) and isinstance(got, str) and wanted in got:
        return wanted
    if not isinstance(wanted, dict) or not isinstance(got, dict):
        return got
    has, named = cast(Answer, got), cast(Answer, wanted)
    return {key: seen(has.get(key), named[key]) for key in named}


@pytest.mark.parametrize("behaviour", ROWS)
async def test_what_the_gateway_does(behaviour: str) -> None:
    row = ROWS[behaviour]
    prompt: dict[str, Any] = {"policy": "queue", "total_timeout": 6.0, **row.prompt}
    async with service(row.script, **prompt) as (url, sim, _):
        done = await answers(url, row.turns)
        asked = [request.body["model"] for request in sim.llm.requests]
    wanted = list(row.answers)
    assert [seen(*pair) for pair in zip(done, wanted, strict=True)] == wanted
    assert asked == list(row.asked)


# --- 4: what it never gets to see ------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ({"fallback_config": {"depth": 3}}, "fallback_config"),
        ({"model_region": "eu"}, "model_region"),
    ],
)
async def test_what_the_gateway_would_refuse_is_refused_here(
    prompt: dict[str, Any], says: str
) -> None:
    with pytest.raises(SettingsError, match=says):
        async with service([], **prompt):
            pass


async def ask(socket: ClientConnection, text: str) -> None:
    await socket.send(json.dumps({"type": "turn.create", "text": text}))


async def test_a_request_that_was_given_up_still_counts_toward_the_limit() -> None:
    slow = {"llm": "reply", "match": "wait", "first_token_ms": 60_000, "times": 2}
    script = [{"llm": "limit", "requests": 3}, slow]
    async with (
        service(script, siblings=("other",)) as (url, sim, _),
        connect(f"{url}/v1/ingest/raw", proxy=None) as socket,
    ):
        await socket.send('{"type":"session.start","audio":null}')
        await ask(socket, "turn 1")
        async for frame in socket:  # its answer tells the limit
            if "response.done" in str(frame):
                break
        for text in ("wait", "still wait", "turn 2"):
            before = len(sim.llm.requests)
            await ask(socket, text)
            await until(lambda: len(sim.llm.requests) > before)  # noqa: B023 - at once
        await socket.send('{"type":"session.end"}')
        events = [json.loads(frame) async for frame in socket]
    done = [event for event in events if event["type"] == "response.done"]
    assert [(one["status"], one["request"]["model"]) for one in done] == [
        ("cancelled", "scripted"),
        ("cancelled", "scripted"),
        ("completed", "other"),
    ]
    assert [request.was_cancelled for request in sim.llm.requests] == [False, True, True, False]


async def test_the_transcript_is_put_in_by_the_gateway_where_its_tag_is_and_by_us_nowhere() -> None:
    script = [{"llm": "transcript", "id": "t1", "text": "Ann sends the offer."}]
    prompt: dict[str, Any] = {"transcript_id": "t1", "user": "{{turn}}? Over {{ transcript }}"}
    async with service(script, **prompt) as (url, sim, _):
        (done,) = await answers(url, 1)
        (request,) = sim.llm.requests
    assert request.body["transcript_id"] == "t1"
    assert request.body["messages"][-1]["content"].endswith("Over {{ transcript }}")
    assert done["text"].endswith("Over Ann sends the offer.")


# --- 6 and 7: tool calls ---------------------------------------------------------------------

PLACED = {"type": "object", "properties": {"place": {"type": "string"}, "at": {"type": "string"}}}
TIME = ToolSettings(kind="client", description="Tell the time.", schema=PLACED)
IN = {"place": "Oslo", "at": "noon"}


@pytest.mark.parametrize(
    "quirk",
    [
        {"blank_tool_delta": True},
        {"tool_id": "function"},
        {"fragments": 9},
        {"plain": True, "tool_place": "message"},
        {"plain": True, "tool_place": "choice"},
        {"plain": True, "tool_place": "spread"},
        {"plain": True, "tool_id": "function"},
    ],
    ids=lambda quirk: " ".join(f"{key}={value}" for key, value in quirk.items()),
)
async def test_two_tool_calls_are_heard_wherever_they_stand(quirk: dict[str, Any]) -> None:
    calls: list[Script] = [{"name": "time", "arguments": IN}, {"name": "time", "arguments": {}}]
    script: list[Script] = [
        {"llm": "reply", "text": "", "tool_calls": calls, "times": 1, **quirk},
        {"llm": "reply", "text": "Noon."},
    ]
    heard: list[Any] = []
    said = ""
    async with (
        service(script, tools=("time",), tool_table={"time": TIME}) as (url, sim, _),
        connect(f"{url}/v1/ingest/raw", proxy=None) as socket,
    ):
        await socket.send('{"type":"session.start","audio":null}')
        await socket.send('{"type":"turn.create","text":"What time is it?"}')
        async for frame in socket:
            event = json.loads(frame)
            if event["type"] == "response.tool_call":
                heard.append(event["arguments"])
                result = {"type": "tool.result", "call_id": event["call_id"], "result": "12:00"}
                await socket.send(json.dumps(result))
            if event["type"] == "response.done":
                said = event["text"]
                break
        second = sim.llm.requests[1].body["messages"]
    assert heard == [IN, {}]
    assert said == "Noon."
    assert [message["role"] for message in second[-3:]] == ["assistant", "tool", "tool"]
