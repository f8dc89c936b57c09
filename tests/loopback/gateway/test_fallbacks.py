"""Fallbacks to other models: adapted requests, and targets that are skipped."""

import json
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
from websockets.asyncio.client import connect

from pipeline.app.app import App
from pipeline.config.settings import Fallback
from pipeline.gateway.client import GatewayClient
from pipeline.gateway.fallback import FallbackGateway
from tests.support.service import service
from tests.support.waiting import until

SCHEMA = {
    "type": "object",
    "properties": {"item": {"type": "string"}},
    "required": ["item"],
    "additionalProperties": False,
}
TEA = '{"item": "tea"}'
FAILS = {"llm": "error", "status": 503, "model": "scripted", "times": 0}


def knows(model: str, *parameters: str) -> dict[str, Any]:
    return {"llm": "model", "id": model, "supported_parameters": ["stream", *parameters]}


async def catalog_known(app: App) -> None:
    client = cast(FallbackGateway, app.dependencies.gateway).targets[0].gateway
    await until(lambda: cast(GatewayClient, client).known_catalog)


async def ask(
    script: Sequence[dict[str, Any]],
    chain: Sequence[Fallback] = (),
    on_progress: Callable[[str], None] = lambda line: None,
    **prompt: Any,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the ``response.done`` of one turn, and the bodies of the requests made for it."""
    async with service(script, chain=chain, on_progress=on_progress, **prompt) as (url, sim, app):
        await catalog_known(app)
        async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
            await socket.send('{"type":"session.start","audio":null}')
            await socket.send('{"type":"turn.create","text":"A cup of tea."}')
            await socket.send('{"type":"session.end"}')
            events = [json.loads(frame) async for frame in socket]
        bodies = [request.body for request in sim.llm.requests]
    (done,) = [event for event in events if event["type"] == "response.done"]
    return done, bodies


BY_TOOL = {
    "llm": "reply",
    "text": "",
    "tool_calls": [{"name": "answer", "arguments": {"item": "tea"}}],
}
BY_WORDS = {"llm": "reply", "text": TEA}


@pytest.mark.parametrize(
    ("model", "reply", "has"),
    [
        (knows("other", "response_format"), BY_WORDS, {"response_format"}),
        (knows("other", "tools", "tool_choice"), BY_TOOL, {"tools", "tool_choice"}),
        (knows("other", "temperature"), BY_WORDS, set[str]()),
    ],
    ids=["response_format", "a forced tool", "words"],
)
@pytest.mark.parametrize("how", ["fallback", "sibling"])
async def test_json_is_requested_from_each_model_in_a_mode_that_it_supports(
    model: dict[str, Any], reply: dict[str, Any], has: set[str], how: str
) -> None:
    script = [knows("scripted", "response_format"), model, FAILS, reply]
    done, bodies = await ask(
        script,
        [Fallback(model="other")] if how == "fallback" else (),
        siblings=("other",) if how == "sibling" else (),
        output="json",
        json_schema=SCHEMA,
    )
    assert (done["status"], done.get("json")) == ("completed", {"item": "tea"})
    first, last = bodies[0], bodies[-1]
    assert "response_format" in first
    assert last["model"] == "other"
    assert {"response_format", "tools", "tool_choice"} & last.keys() == has
    asked_in_words = "JSON Schema" in str(last["messages"])
    assert asked_in_words == (not has)


async def test_a_model_that_cannot_stream_gets_a_request_without_stream() -> None:
    """And waited for as long as a whole answer takes, with the same events."""
    lines: list[dict[str, Any]] = [
        {"llm": "model", "id": "scripted", "supported_parameters": ["top_p", "stream_options"]},
        knows("other", "top_p"),
        {"llm": "reply", "text": "In one go.", "headers_ms": 400},
    ]
    warnings: list[str] = []
    extra = {"stream_options": {"include_usage": True}}
    done, (body,) = await ask(
        lines, on_progress=warnings.append, first_token_timeout=0.2, extra=extra
    )
    assert (done["status"], done["text"]) == ("completed", "In one go.")
    assert body.keys() & {"stream", "stream_options"} == set()
    assert warnings == []


async def test_a_fallback_that_cannot_stream_answers_in_one_piece() -> None:
    lines: list[dict[str, Any]] = [
        knows("scripted", "max_tokens"),
        {"llm": "model", "id": "other", "supported_parameters": ["max_tokens"]},
        FAILS,
        {"llm": "reply", "text": "In one go."},
    ]
    done, bodies = await ask(lines, [Fallback(model="other")])
    assert done["text"] == "In one go."
    assert [body.get("stream") for body in bodies] == [True, True, None]


async def test_a_target_that_would_refuse_is_skipped_and_reported_at_the_start() -> None:
    warnings: list[str] = []
    script = [
        knows("scripted", "temperature"),
        knows("small"),
        knows("other", "temperature"),
        FAILS,
        {"llm": "reply", "text": "Tea."},
    ]
    chain = [Fallback(model="small"), Fallback(model="other")]
    done, bodies = await ask(script, chain, warnings.append, temperature=0.5)
    assert (done["status"], done["text"]) == ("completed", "Tea.")
    assert [body["model"] for body in bodies] == ["scripted", "scripted", "other"]
    (line,) = [line for line in warnings if "cannot" in line]
    assert line.startswith("prompts.reply cannot fall back to 127.0.0.1")
    assert line.endswith("small does not support temperature")
