"""``pipeline models``, and the effect of the list of models on a run: prices, early refusal."""

import json
import re
from typing import Any

import pytest
from msgspec import UNSET

from pipeline.protocol.events import ResponseDone, SessionEnded, Totals
from tests.loopback.gateway.raw_server import saying, serving
from tests.support import simulate
from tests.support.commandline import RECORDING, Ran, pipeline

FULL = {
    "available_regions": ["us", "eu"],
    "context_length": 200_000,
    "pricing": {"global": {"prompt": 1, "completions": 5}, "regional_increase_percent": 0.1},
}
LINES: list[dict[str, Any]] = [
    {"llm": "model", "id": "big", "supported_parameters": ["temperature", "stream", "max_tokens"],
     "extra": FULL},
    {"llm": "model", "id": "bare", "supported_parameters": ["stream", "max_tokens"]},
    {"llm": "reply", "text": "one two three", "usage": "last", "times": 0, "first_token_ms": 300},
    {"stt": "connection"},
    {"stt": "end", "at_ms": 100, "text": "Good morning."},
]  # fmt: skip


async def test_the_models_of_any_server_are_listed_with_their_properties() -> None:
    async with simulate(LINES) as sim:
        shown = await pipeline("models", "--llm", sim.llm_url)
        listed = await pipeline("models", "ba", "--llm", sim.llm_url, "--json")
    head, bare, big = shown.out.splitlines()
    assert re.split("  +", head) == [
        *("model", "regions", "in / out per M", "context", "retires", "supports")
    ]
    assert bare.split() == ["bare", "max_tokens", "stream"]
    assert big.split()[1:7] == ["us", "eu", "$1", "/", "$5", "200000"]
    assert json.loads(listed.out)["supported"] == ["max_tokens", "stream"]


NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("says", [NOT_FOUND, None], ids=["no such page", "connection refused"])
async def test_a_server_without_a_list_is_named(says: bytes | None) -> None:
    async with serving(saying(says or b"")) as server:
        url = server.url if says else "http://127.0.0.1:9/v1"
        ran = await pipeline("models", "--llm", url)
    assert ran.code == 3
    assert f"{url}/models returns no list of models" in ran.err


async def test_a_run_reports_its_cost_when_the_price_is_known() -> None:
    async with simulate(LINES) as sim:
        words = ("--stt", sim.stt_url, "--llm", sim.llm_url, "--speed", 0)
        priced = await pipeline("run", RECORDING, *words, "--model", "big", "--json")
        silent = await pipeline("run", RECORDING, *words, "--model", "bare", "--json")
    (done,) = (event for event in priced.events if isinstance(event, ResponseDone))
    expected = (done.usage.input_tokens * 1 + done.usage.output_tokens * 5) / 1e6
    assert done.usage.cost == pytest.approx(expected)
    assert totals(priced).cost == pytest.approx(expected)
    assert totals(silent).cost is UNSET
    assert '"cost"' not in silent.out


async def test_a_prompt_that_its_model_does_not_support_is_refused_before_the_request() -> None:
    env = {"PIPELINE_PROMPTS__REPLY__TEMPERATURE": "0.5"}
    async with simulate(LINES) as sim:
        words = ("--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "bare", "--speed", 0)
        refused = await pipeline("run", RECORDING, *words, env=env)
        assert not sim.llm.requests
        warned = await pipeline(
            "run", RECORDING, *words, env={**env, "PIPELINE_LLM__UNSUPPORTED": "warn"}
        )
    assert "prompts.reply cannot be asked: bare does not support temperature" in refused.err
    assert "failed: not sent to" in refused.out
    assert "bare does not support temperature; it gets requests all the same" in warned.err


def totals(ran: Ran) -> Totals:
    (ended,) = (event for event in ran.events if isinstance(event, SessionEnded))
    return ended.totals
