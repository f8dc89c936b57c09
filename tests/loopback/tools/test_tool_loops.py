"""Loops of tool calls over real sockets, up to the answer and into the turns after it."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from aiohttp import web
from websockets.asyncio.client import connect

from pipeline.config.settings import ToolSettings
from pipeline.embedded import weights
from tests.gateway.gemini import complaint
from tests.loopback.tools.test_tools import of, talk
from tests.support.commandline import RECORDING, pipeline
from tests.support.service import service
from tests.support.waiting import until

NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def calls(*named: tuple[str, Any], **more: Any) -> dict[str, Any]:
    """A reply that calls each tool with its arguments, the ids being c0, c1 and so on."""
    written = [
        {"name": name, "arguments": arguments, "id": f"c{at}"}
        for at, (name, arguments) in enumerate(named)
    ]
    return {"llm": "reply", "tool_calls": written, "times": 1, **more}


def says(text: str, **more: Any) -> dict[str, Any]:
    return {"llm": "reply", "text": text, **more}


def answered(messages: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return what a history says that each call gave; fails unless each is answered just once.

    The results stand right behind the message that has their calls, in the same order.
    """
    given: dict[str, str] = {}
    pending: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] == pending.pop(0)
            assert message["tool_call_id"] not in given
            given[message["tool_call_id"]] = message["content"]
        else:
            assert pending == []
            pending = [call["id"] for call in message.get("tool_calls", ())]
    assert pending == []
    return given


class ToolServer:
    """An HTTP server with a tool on every path; each call waits until ``open`` is set."""

    def __init__(self) -> None:
        self.open = anyio.Event()
        self.began: list[str] = []
        self.finished: list[str] = []

    async def take(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.began.append(name)
        await self.open.wait()
        self.finished.append(name)
        return web.json_response({"by": name, "n": (await request.json())["n"]})

    @property
    def cancelled(self) -> list[str]:
        return [name for name in self.began if name not in self.finished]


@asynccontextmanager
async def tool_server(
    **settings: dict[str, Any],
) -> AsyncGenerator[tuple[ToolServer, dict[str, ToolSettings]]]:
    """Open one, and give its tools: those in ``settings``."""
    made, app = ToolServer(), web.Application()
    app.router.add_post("/{name}", made.take)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield (
            made,
            {
                name: ToolSettings(kind="http", url=f"{base}/{name}", schema=NUMBER, **more)
                for name, more in settings.items()
            },
        )
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


async def test_calls_of_one_reply_run_at_once_and_each_is_answered_once_in_order() -> None:
    asks = calls(
        ("look", {"n": 1}), ("look", {"n": "seven"}), ("book", "{'n': 2,}"), ("erase", "{}")
    )
    events: list[Any] = []
    bodies: list[Any] = []
    async with (
        tool_server(look={}, book={}) as (server, table),
        service([asks, says("Both.")], tool_table=table, tools=tuple(table)) as (url, sim, _),
        anyio.create_task_group() as tasks,
    ):

        async def open_when_both_have_begun() -> None:
            await until(lambda: sorted(server.began) == ["book", "look"])
            server.open.set()

        tasks.start_soon(open_when_both_have_begun)
        events += await talk(url)
        bodies += [request.body for request in sim.llm.requests]
    said = answered(bodies[1]["messages"])
    assert json.loads(said["c0"]) == {"by": "look", "n": 1}
    assert "do not fit" in json.loads(said["c1"])["error"]
    assert json.loads(said["c2"]) == {"by": "book", "n": 2}
    assert "there is no tool 'erase'" in json.loads(said["c3"])["error"]
    assert [event["call_id"] for event in of(events, "response.tool_call")] == ["c0", "c2"]
    assert len(of(events, "response.tool_result")) == 4
    assert of(events, "response.done")[0]["text"] == "Both."


async def test_a_tool_that_does_not_answer_in_time_is_cancelled_and_the_model_gets_the_error() -> (
    None
):
    async with tool_server(look={"deadline": 0.2}) as (server, table):
        lines = [calls(("look", {"n": 1})), says("It is closed.")]
        async with service(lines, tool_table=table, tools=("look",)) as (url, sim, _):
            events = await talk(url)
            bodies: list[Any] = [request.body for request in sim.llm.requests]
            await until(lambda: server.cancelled == ["look"])
    assert "within 0.2 s" in answered(bodies[1]["messages"])["c0"]
    assert of(events, "response.done")[0]["status"] == "completed"


async def test_a_model_that_never_stops_calling_is_stopped() -> None:
    asks = [calls(("look", {"order": 12})) for _ in range(5)]
    table = {"look": ToolSettings(function="samples.tools:order_status")}
    async with service(asks, tool_table=table, tools=tuple(table), tool_steps=2) as (url, sim, _):
        events = await talk(url)
        assert len(sim.llm.requests) == 3
    (done,) = of(events, "response.done")
    assert (done["status"], done["reason"]) == ("incomplete", "tool_steps")
    assert len(of(events, "response.tool_result")) == 2


async def test_an_interruption_leaves_every_call_answered_once_in_all_that_follows() -> None:
    """One tool may be cancelled, one has side effects and goes on: law 8."""
    asks = calls(("look", {"n": 1}), ("book", {"n": 2}), match="first")
    lines = [asks, says("Second it is.", match="second"), says("Third.", match="third")]
    asked: list[Any] = []
    async with (
        tool_server(look={}, book={"side_effects": True}) as (server, table),
        service(lines, tool_table=table, tools=tuple(table)) as (url, sim, _),
        connect(f"{url}/v1/ingest/raw", proxy=None) as socket,
    ):

        async def say(text: str) -> None:
            await socket.send(json.dumps({"type": "turn.create", "text": text}))

        async def until_answered() -> None:
            async for frame in socket:
                event = json.loads(frame)
                if event["type"] == "response.done" and event["status"] == "completed":
                    return

        await socket.send('{"type":"session.start","audio":null}')
        await say("the first")
        await until(lambda: len(server.began) == 2)
        await say("the second")
        await until_answered()
        server.open.set()
        await until(lambda: server.finished == ["book"])
        await say("the third")
        await until_answered()
        asked += [request.body["messages"] for request in sim.llm.requests]
    assert server.cancelled == ["look"]
    second, third = asked[1:]
    assert list(answered(second)) == ["c1"]
    assert "not ended yet" in answered(second)["c1"]
    assert json.loads(answered(third)["c1"]) == {"by": "book", "n": 2}


async def test_gemini_is_offered_a_function_in_words_that_it_takes() -> None:
    function = "tests.gateway.test_gemini_schema:deliver"
    fits = {"place": {"street": "Elm"}, "size": "small", "day": "2026-11-23", "notes": None}
    lines = [calls(("deliver", fits)), says("On its way.")]
    async with service(lines, model="gemini-2.5-flash", tools=(function,)) as (url, sim, _):
        events = await talk(url)
        offered = [request.body["tools"][0]["function"] for request in sim.llm.requests]
    assert [complaint(tool["parameters"]) for tool in offered] == [None, None]
    assert of(events, "response.tool_result")[0]["result"] is None  # it was called, and took all
    assert of(events, "response.done")[0]["text"] == "On its way."


async def test_claude_is_never_sent_a_call_without_arguments() -> None:
    lines = [calls(("ping", "")), says("It is up.", times=1), says("Still.")]
    table = {"ping": ToolSettings(kind="client")}
    async with (
        service(lines, model="claude-haiku-4-5", tool_table=table, tools=("ping",)) as (
            url,
            sim,
            _,
        ),
        connect(f"{url}/v1/ingest/raw", proxy=None) as socket,
    ):
        await socket.send('{"type":"session.start","audio":null}')
        await socket.send('{"type":"turn.create","text":"Is it up?"}')
        done = 0
        async for frame in socket:
            event = json.loads(frame)
            if event["type"] == "response.tool_call":
                result = {"type": "tool.result", "call_id": event["call_id"], "result": "yes"}
                await socket.send(json.dumps(result))
            if event["type"] == "response.done":
                done += 1
                if done == 2:
                    break
                await socket.send('{"type":"turn.create","text":"And now?"}')
        asked: list[Any] = [request.body["messages"] for request in sim.llm.requests]
    for messages in asked[1:]:  # of the same answer, and of the next turn
        (call,) = (call for message in messages for call in message.get("tool_calls", ()))
        assert json.loads(call["function"]["arguments"]) != {}
        assert answered(messages) == {"c0": "yes"}


async def test_a_json_prompt_may_call_tools_on_its_way() -> None:
    schema = {"type": "object", "properties": {"status": {"type": "string"}}}
    table = {"look": ToolSettings(function="samples.tools:order_status")}
    lines = [
        calls(("look", {"order": 4711})),
        says('{"status": "gone",}', times=1),  # repaired; and shown while it grows
    ]
    form: dict[str, Any] = {"output": "json", "json_schema": schema, "json_partials": True}
    async with service(lines, tool_table=table, tools=("look",), **form) as (url, sim, _):
        events = await talk(url)
        bodies: list[Any] = [request.body for request in sim.llm.requests]
    assert [tool["function"]["name"] for tool in bodies[0]["tools"]] == ["look"]
    assert list(answered(bodies[1]["messages"])) == ["c0"]
    (done,) = of(events, "response.done")
    assert (done["status"], done["json"]) == ("completed", {"status": "gone"})
    shown = of(events, "response.output_json.partial")[-1]["value"]
    assert "gone".startswith(shown.get("status", ""))
    assert of(events, "response.output_text.delta") == []
    assert of(events, "response.tool_result")[0]["result"]["status"] == "shipped yesterday"


@pytest.mark.engines
@pytest.mark.timeout(120)
@pytest.mark.skipif(not weights.installed(), reason="the models are not installed")
async def test_the_embedded_model_calls_a_tool_for_every_turn_of_a_recording() -> None:
    """``samples/tools.toml``, as a person runs it."""
    sample = RECORDING.parents[1] / "tools.toml"
    words = ("--stt", "local", "--llm", "local", "--config", sample, "--speed", 4)
    ran = await pipeline("run", RECORDING, *words, "--json", cwd=sample.parents[1])
    events = [json.loads(line) for line in ran.out.splitlines()]
    assert len(of(events, "response.done")) == len(of(events, "turn.completed")) > 2
    for at, done in enumerate(of(events, "response.done"), 1):
        mine = [event for event in events if event.get("response_id") == done["response_id"]]
        (call,) = of(mine, "response.tool_call")
        (result,) = of(mine, "response.tool_result")
        assert call["arguments"].keys() == {"note"}
        assert 0 < len(call["arguments"]["note"]) <= 60
        assert (result["call_id"], result["result"]) == (call["call_id"], {"notes": at})
        assert done["status"] in ("completed", "incomplete")  # it may write on to its limit
        assert len(of(mine, "response.output_text.delta")) > 3
