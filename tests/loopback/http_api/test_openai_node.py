"""The official OpenAI client for Node against the gateway in front of a scripted provider."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.gateway_server import gateway
from tests.support.node import NODE

#: made by scripts/test
INSTALLED = Path(__file__).parents[3] / ".venvs" / "node"
SCRIPT = Path(__file__).with_name("openai_client.mjs")

PROVIDER: list[dict[str, Any]] = [
    {"llm": "reply", "match": "whole", "text": "All of it."},
    {"llm": "reply", "match": "stream", "text": "one two three"},
    {"llm": "reply", "match": "tool", "tool_calls": [{"name": "look", "arguments": {"n": 4}}]},
    {"llm": "reply", "match": "parse", "text": '{"n": 4}'},
    {"llm": "error", "match": "refused", "status": 429, "retry_after_s": 7.0},
    {"llm": "reply", "match": "slow", "text": "one two", "token_ms": 60_000},
    {"llm": "model", "id": "small"},
]


async def test_it_completes_streams_calls_parses_lists_fails_and_leaves() -> None:
    if not (INSTALLED / ".ready").exists():
        pytest.skip("OpenAI's client for Node is not installed: scripts/test makes .venvs/node")
    async with gateway(*PROVIDER) as stand:
        with anyio.fail_after(40):
            ran = await anyio.run_process([NODE, SCRIPT, INSTALLED, stand.url])
            await stand.sim.llm.cancelled(1)
        said = json.loads(ran.stdout)
    assert said["error"].pop("id")
    assert said == {
        "whole": "All of it.",
        "requestId": True,
        "pieces": ["one", " two", " three"],
        "tokens": 3,
        "called": {"name": "look", "arguments": {"n": 4}},
        "parsed": {"n": 4},
        "models": ["small"],
        "error": {"kind": "RateLimitError", "status": 429},
    }
