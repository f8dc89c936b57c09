"""One body with every field: sent to a provider directly, and through the gateway."""

from typing import Any

import httpx
import pytest

from pipeline.app.completions import endpoints_of
from pipeline.app.gateway import NoSessions
from pipeline.config.settings import GatewaySettings, ServeSettings
from pipeline.gateway.attempts import ProviderState, Target
from pipeline.gateway.call_log import CallLog
from pipeline.gateway.client import GatewayClient
from pipeline.gateway.retry import RetryPolicy
from pipeline.gateway.service import GatewayService
from pipeline.hub.server import serve
from tests.gateway.test_fallback import Scripted
from tests.gateway.test_service import OneProvider, Texts
from tests.support import simulate

OPENAI: dict[str, Any] = {
    "model": "small",
    "messages": [
        {"role": "system", "content": "Be brief.", "cache_control": {"type": "ephemeral"}},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
    ],
    "max_tokens": 50,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 5,
    "stop": ["\n"],
    "seed": 7,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.2,
    "logit_bias": {"50256": -100},
    "reasoning_effort": "low",
    "parallel_tool_calls": False,
    "user": "u1",
    "metadata": {"a": "b"},
    "tools": [{"type": "function", "function": {"name": "look", "parameters": {}}}],
    "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
    "some_field_of_tomorrow": {"deep": [1, None, "x"]},
}
ASSEMBLYAI: dict[str, Any] = {
    "fallbacks": [{"model": "large", "temperature": 0.1, "messages": OPENAI["messages"][:1]}],
    "fallback_config": {"depth": 1, "retry": True},
    "post_processing_steps": [{"type": "json-repair"}],
    "transcript_id": "t1",
    "model_region": "global",
    "reasoning": {"effort": "low"},
    "cache_control": {"type": "ephemeral", "ttl": "5m"},
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "zero_data_retention": True,
    "fail_fast": True,
    "max_timeout": 5.0,
}
CARRIED_OUT = {
    "fallbacks",
    "fallback_config",
    "post_processing_steps",
    "transcript_id",
    "model_region",
}


@pytest.mark.parametrize("is_vendor", [True, False], ids=["assemblyai", "another provider"])
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_provider_gets_the_same_body(is_vendor: bool, streamed: bool) -> None:
    body = {**OPENAI, **ASSEMBLYAI}
    if streamed:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    lines: list[dict[str, Any]] = [
        {"llm": "reply", "text": "{}", "times": 0},
        {"llm": "transcript", "id": "t1"},
    ]
    async with simulate(lines) as sim, httpx.AsyncClient(trust_env=False) as http:
        await http.post(f"{sim.llm_url}/chat/completions", json=body)
        client = GatewayClient(sim.llm_url)
        router = OneProvider(Scripted([]), is_vendor=is_vendor)
        router.target = Target(client, "host", is_vendor=is_vendor)
        state = ProviderState(RetryPolicy(), CallLog(), lambda: 0.5)
        endpoints = endpoints_of(GatewayService(router, state, Texts()), GatewaySettings())
        settings = ServeSettings(port=0)
        async with serve(NoSessions(), settings, adapters={}, endpoints=endpoints) as hub:
            url = f"http://127.0.0.1:{hub.port}/v1/chat/completions"
            assert (await http.post(url, json=body)).status_code == 200
        await client.aclose()
        direct, through = (request.body for request in sim.llm.requests)
    dropped = set[str]() if is_vendor else CARRIED_OUT
    assert through == {name: value for name, value in direct.items() if name not in dropped}
