"""Tools over real sockets: an HTTP endpoint, a Python function, and the client."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from aiohttp import web
from websockets.asyncio.client import connect

from pipeline import connect as follow
from pipeline.config.settings import ToolSettings
from pipeline.protocol.commands import ToolResultCommand
from pipeline.protocol.events import ErrorEvent, ResponseToolCall
from tests.support.node import as_json, node
from tests.support.service import service
from tests.support.waiting import until

SCHEMA = {"type": "object", "properties": {"order": {"type": "integer"}}, "required": ["order"]}


def asks_for(name: str, arguments: Any) -> list[dict[str, Any]]:
    call = {"name": name, "arguments": arguments, "id": "call_7"}
    quirks = {"blank_tool_delta": True, "tool_id": "function", "fragments": 3}
    return [
        {"llm": "reply", "tool_calls": [call], "times": 1, **quirks},
        {"llm": "reply", "text": "It was shipped."},
    ]


async def talk(url: str, *, answer: Any = None, answers: bool = True) -> list[dict[str, Any]]:
    """Type one turn, answer the tool that waits for the client, and return the events."""
    got: list[dict[str, Any]] = []
    async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
        await socket.send('{"type":"session.start","audio":null}')
        await socket.send('{"type":"turn.create","text":"Where is my order?"}')
        async for frame in socket:
            event = json.loads(frame)
            got.append(event)
            if answers and event["type"] == "response.tool_call" and event.get("awaits_result"):
                for call_id in ("unknown", event["call_id"], event["call_id"]):
                    result = {"type": "tool.result", "call_id": call_id, "result": answer}
                    await socket.send(json.dumps(result))
            if event["type"] == "response.done":
                await socket.send('{"type":"session.end"}')
    return got


def of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == kind]


@asynccontextmanager
async def endpoint(answer: web.Response) -> AsyncGenerator[tuple[str, list[Any]]]:
    """An HTTP server that keeps what it was asked."""
    asked: list[Any] = []

    async def take(request: web.Request) -> web.Response:
        asked.append((await request.json(), dict(request.headers)))
        return answer

    app = web.Application()
    app.router.add_post("/orders", take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/orders", asked
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


async def test_an_http_endpoint_is_called_and_the_model_gets_its_result() -> None:
    async with endpoint(web.json_response({"state": "shipped"})) as (address, asked):
        table = {"lookup": ToolSettings(kind="http", url=address, schema=SCHEMA)}
        lines = asks_for("lookup", {"order": 5})
        async with service(lines, tool_table=table, tools=("lookup",)) as (url, sim, _):
            events = await talk(url)
            bodies: list[Any] = [request.body for request in sim.llm.requests]
    ((arguments, headers),) = asked
    assert arguments == {"order": 5}
    (done,) = of(events, "response.done")
    assert headers["Idempotency-Key"] == f"{done['response_id']}.call_7"
    assert (done["status"], done["text"]) == ("completed", "It was shipped.")
    assert of(events, "response.tool_call")[0]["arguments"] == {"order": 5}
    assert of(events, "response.tool_result")[0]["result"] == {"state": "shipped"}
    assert [m["role"] for m in bodies[1]["messages"]] == ["system", "user", "assistant", "tool"]
    assert bodies[1]["messages"][-1]["content"] == '{"state":"shipped"}'


async def test_an_endpoint_that_redirects_or_fails_is_an_error_for_the_model() -> None:
    away = web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"})
    async with endpoint(away) as (address, _):
        table = {"lookup": ToolSettings(kind="http", url=address)}
        async with service(asks_for("lookup", ""), tool_table=table, tools=("lookup",)) as (
            url,
            *_,
        ):
            events = await talk(url)
    assert "answered 302" in of(events, "response.tool_result")[0]["result"]["error"]
    assert of(events, "response.done")[0]["status"] == "completed"


async def test_a_python_function_named_by_the_prompt_is_called() -> None:
    lines = asks_for("order_status", '{"order": 4711}')
    async with service(lines, tools=("samples.tools:order_status",)) as (url, *_):
        events = await talk(url)
    (result,) = of(events, "response.tool_result")
    assert result["result"] == {"order": 4711, "status": "shipped yesterday"}


async def test_the_client_carries_a_call_out_and_only_its_first_result_counts() -> None:
    table = {"lookup": ToolSettings(kind="client", schema=SCHEMA)}
    lines = asks_for("lookup", {"order": 5})
    async with service(lines, tool_table=table, tools=("lookup",)) as (url, *_):
        events = await talk(url, answer="on its way")
    (result,) = of(events, "response.tool_result")
    assert result["result"] == "on its way"
    assert of(events, "response.done")[0]["status"] == "completed"
    refused = [event["error"]["message"] for event in of(events, "error")]
    assert refused == [
        "tool.result: no call 'unknown' waits for a client",
        "tool.result: no call 'call_7' waits for a client",
    ]


async def test_a_subscriber_carries_a_call_out() -> None:
    table = {"lookup": ToolSettings(kind="client", schema=SCHEMA)}
    lines = asks_for("lookup", {"order": 5})
    heard: list[Any] = []

    async def answer(url: str) -> None:
        async with follow(url, "*", after_seq=0) as events:
            async for event in events:
                heard.append(event)
                if isinstance(event, ResponseToolCall) and event.awaits_result:
                    for result in ("on its way", "too late"):
                        await events.send(
                            ToolResultCommand(
                                session_id=event.session_id, call_id=event.call_id, result=result
                            )
                        )

    async with (
        service(lines, tool_table=table, tools=("lookup",)) as (url, *_),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(answer, url)
        events = await talk(url, answers=False)
        await until(lambda: any(isinstance(event, ErrorEvent) for event in heard))
        tasks.cancel_scope.cancel()
        (result,) = of(events, "response.tool_result")
        assert result["result"] == "on its way"
        assert of(events, "response.done")[0]["status"] == "completed"
        assert of(events, "error") == []  # the second one is the subscriber's own affair
        (refused,) = [event for event in heard if isinstance(event, ErrorEvent)]
        assert "no call 'call_7' waits for a client" in refused.error.message


async def test_a_subscriber_in_javascript_does_so_too() -> None:
    table = {"lookup": ToolSettings(kind="client", schema=SCHEMA)}
    async with (
        service(asks_for("lookup", {"order": 5}), tool_table=table, tools=("lookup",)) as (url, *_),
        node("follow.mjs", url, as_json(session="*", afterSeq=0, answer={"seat": "12A"})) as js,
    ):
        await js.until(state="live")
        events = await talk(url, answers=False)
    assert of(events, "response.tool_result")[0]["result"] == {"seat": "12A"}


async def test_a_tool_that_no_prompt_offers_is_never_carried_out() -> None:
    async with endpoint(web.Response()) as (address, asked):
        table = {
            "lookup": ToolSettings(kind="client", schema=SCHEMA),
            "erase": ToolSettings(kind="http", url=address),
        }
        async with service(asks_for("erase", {}), tool_table=table, tools=("lookup",)) as (url, *_):
            events = await talk(url)
    assert asked == []
    assert "there is no tool 'erase'" in of(events, "response.tool_result")[0]["result"]["error"]
