"""The official OpenAI SDK against the gateway in front of a scripted provider."""

from typing import Any, cast

import anyio
import openai
import pytest
from openai.types import CompletionUsage
from pydantic import BaseModel

from pipeline.hub.auth.grants import Grant
from pipeline.interfaces.completions import CallerLimits
from tests.support.gateway_server import gateway

MESSAGES: Any = [{"role": "user", "content": "Is platform 4 open?"}]
FUNCTION: dict[str, Any] = {
    "name": "platform_state",
    "parameters": {"type": "object", "properties": {}},
}
TOOLS: Any = [{"type": "function", "function": FUNCTION}]
CALL = {"llm": "reply", "tool_calls": [{"name": "platform_state", "arguments": {"n": 4}}]}


async def streamed(client: Any, **asked: Any) -> Any:
    """Return what the SDK makes of a whole stream."""
    async with client.chat.completions.stream(**asked) as stream:
        async for _ in stream:
            pass
        return await stream.get_final_completion()


async def test_an_answer_in_one_piece() -> None:
    async with (
        gateway({"llm": "reply", "text": "It is closed."}) as stand,
        stand.client() as client,
    ):
        answer = await client.chat.completions.create(model="small", messages=MESSAGES)
        assert answer.choices[0].message.content == "It is closed."
        assert answer.choices[0].finish_reason == "stop"
        assert answer.object == "chat.completion"
        assert answer.usage is not None
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + 3
        assert cast("Any", answer)._request_id == cast("Any", answer).request_id


async def test_a_stream_with_its_usage() -> None:
    async with (
        gateway({"llm": "reply", "text": "It is closed."}) as stand,
        stand.client() as client,
    ):
        texts: list[str] = []
        usages: list[CompletionUsage] = []
        async for chunk in await client.chat.completions.create(
            model="small", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        ):
            texts += [choice.delta.content for choice in chunk.choices if choice.delta.content]
            usages += [chunk.usage] if chunk.usage else []
        assert "".join(texts) == "It is closed."
        assert len(texts) == 3
        assert [usage.completion_tokens for usage in usages] == [3]


@pytest.mark.parametrize(
    "quirk",
    [
        {},
        {"usage": "each"},
        {"usage": "none", "done": False},
        {"usage_names": "input", "finish_reason": "end_turn", "newline": "crlf"},
        {"comments": 3, "framing": "close", "slice_bytes": 7},
        {"plain": True},
    ],
    ids=str,
)
async def test_a_providers_own_ways_do_not_show(quirk: dict[str, Any]) -> None:
    async with gateway({"llm": "reply", "text": "a b", **quirk}) as stand, stand.client() as client:
        answer = await streamed(client, model="small", messages=MESSAGES)
        assert answer.choices[0].message.content == "a b"
        assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    "quirk", [{}, {"blank_tool_delta": True}, {"tool_id": "function"}, {"tool_place": "spread"}]
)
@pytest.mark.parametrize("streams", [True, False])
async def test_a_tool_call(quirk: dict[str, Any], streams: bool) -> None:
    async with gateway({**CALL, **quirk}) as stand, stand.client() as client:
        asked: Any = {"model": "small", "messages": MESSAGES, "tools": TOOLS}
        if streams:
            answer = await streamed(client, **asked)
        else:
            answer = await cast("Any", client).chat.completions.create(**asked)
        message: Any = answer.choices[0].message
        (call,) = message.tool_calls
        assert (call.type, call.function.name) == ("function", "platform_state")
        assert call.function.arguments.replace(" ", "") == '{"n":4}'
        assert call.id


class Platform(BaseModel):
    number: int
    is_open: bool


async def test_structured_output_is_parsed() -> None:
    said = '{"number": 4, "is_open": false}'
    async with gateway({"llm": "reply", "text": said}) as stand, stand.client() as client:
        answer = await client.chat.completions.parse(
            model="small", messages=MESSAGES, response_format=Platform
        )
        assert answer.choices[0].message.parsed == Platform(number=4, is_open=False)
        asked = (await stand.sim.llm.arrived(1)).body["response_format"]
        assert asked["type"] == "json_schema"


async def test_models_are_listed_and_found() -> None:
    lines = [{"llm": "model", "id": name} for name in ("small", "org/large")]
    async with gateway(*lines) as stand, stand.client() as client:
        assert [model.id async for model in client.models.list()] == ["small", "org/large"]
        assert (await client.models.retrieve("org/large")).id == "org/large"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("none")


def failing(status: int, **more: Any) -> dict[str, Any]:
    return {"llm": "error", "status": status, "times": 0, **more}


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (failing(400), openai.BadRequestError),
        (failing(404), openai.NotFoundError),
        (failing(422), openai.UnprocessableEntityError),
        (failing(429, retry_after_s=7.0), openai.RateLimitError),
        (failing(401), openai.InternalServerError),  # our key, not the caller's
        (failing(500), openai.InternalServerError),
        (failing(503), openai.InternalServerError),
        ({"llm": "drop", "times": 0}, openai.InternalServerError),
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [True, False])
async def test_failures_are_the_sdks_own_exceptions(
    line: dict[str, Any], kind: type[openai.APIStatusError], stream: bool
) -> None:
    async with gateway(line) as stand, stand.client() as client:
        with pytest.raises(kind) as raised:
            await client.chat.completions.create(model="small", messages=MESSAGES, stream=stream)
        assert raised.value.request_id
        assert cast("Any", raised.value.body)["message"]
        if isinstance(raised.value, openai.RateLimitError):
            assert raised.value.response.headers["retry-after"] == "7"


async def test_a_stream_that_breaks_off_raises() -> None:
    cut = {"llm": "reply", "text": "a b c d", "cut": {"after_tokens": 2, "by": "rst"}}
    async with gateway(cut) as stand, stand.client() as client:
        texts: list[str] = []

        async def read() -> None:
            async for chunk in await client.chat.completions.create(
                model="small", messages=MESSAGES, stream=True
            ):
                texts.extend(choice.delta.content or "" for choice in chunk.choices)

        with pytest.raises(openai.APIError, match="cut"):
            await read()
        assert "".join(texts).strip() == "a b"


async def test_leaving_a_stream_cancels_it_at_the_provider() -> None:
    slow = {"llm": "reply", "text": "a b c d", "token_ms": 60_000}
    async with gateway(slow) as stand, stand.client() as client:
        stream = await client.chat.completions.create(model="small", messages=MESSAGES, stream=True)
        async for _ in stream:
            break
        await stream.close()
        with anyio.fail_after(5):
            await stand.sim.llm.cancelled(1)


TOKENS = {
    "ask-secret": Grant(frozenset({"complete"}), holder="asker"),
    "narrow-secret": Grant(
        frozenset({"complete"}),
        holder="narrow",
        models=("small",),
        limits=CallerLimits(requests_per_minute=1),
    ),
    "ears-secret": Grant(frozenset({"subscribe"}), holder="ears"),
}


async def test_a_token_needs_the_scope_complete() -> None:
    async with gateway(tokens=TOKENS) as stand:
        for key, kind in (
            ("wrong", openai.AuthenticationError),
            ("ears-secret", openai.PermissionDeniedError),
        ):
            async with stand.client(key) as client:
                with pytest.raises(kind) as refused:
                    await client.chat.completions.create(model="small", messages=MESSAGES)
                assert refused.value.request_id
                with pytest.raises(kind):
                    await client.models.list()
        async with stand.client("ask-secret") as client:
            await client.chat.completions.create(model="small", messages=MESSAGES)
        assert len(stand.sim.llm.requests) == 1
        assert "authorization" not in stand.sim.llm.requests[0].headers


async def test_a_token_has_its_models_and_its_budget() -> None:
    async with gateway(tokens=TOKENS) as stand, stand.client("narrow-secret") as client:
        with pytest.raises(openai.PermissionDeniedError):
            await client.chat.completions.create(model="large", messages=MESSAGES)
        raw = await client.chat.completions.with_raw_response.create(
            model="small", messages=MESSAGES
        )
        assert raw.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.RateLimitError) as refused:
            await client.chat.completions.create(model="small", messages=MESSAGES)
        assert refused.value.code == "budget_exceeded"
        assert 0 < int(refused.value.response.headers["retry-after"]) <= 60


async def test_fallbacks_and_repair_work_through_extra_body() -> None:
    script = (
        {"llm": "error", "status": 500, "model": "small", "times": 0},
        {"llm": "reply", "text": "{'a': 1,}", "model": "large", "times": 0},
    )
    extra = {
        "fallbacks": [{"model": "large", "temperature": 0.1}],
        "fallback_config": {"retry": False},
        "post_processing_steps": [{"type": "json-repair"}],
    }
    async with gateway(*script) as stand, stand.client() as client:
        answer = await client.chat.completions.create(
            model="small", messages=MESSAGES, extra_body=extra
        )
        assert answer.choices[0].message.content == '{"a":1}'
        assert answer.model == "large"
        bodies = [request.body for request in stand.sim.llm.requests]
        assert [body["model"] for body in bodies] == ["small", "large"]
        assert all(extra.keys().isdisjoint(body) for body in bodies)
        assert bodies[1]["temperature"] == 0.1
