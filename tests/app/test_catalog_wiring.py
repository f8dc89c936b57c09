"""What the list of models is good for in a running service: refusals, warnings, prices."""

import json
from typing import Any

import pytest

from pipeline.app.llm_clients import LanguageModel
from pipeline.app.plan import plan
from pipeline.config.settings import LlmSettings, Settings
from pipeline.errors import GatewayRefused
from pipeline.gateway.call_log import CallLog
from pipeline.gateway.catalog import parse
from pipeline.gateway.client import GatewayClient
from pipeline.interfaces.llm import CompletionRequest

HAIKU = {
    "id": "claude-haiku-4-5",
    "supported_parameters": ["max_tokens", "temperature"],
    "pricing": {"global": {"prompt": 1, "completions": 5}, "regional_increase_percent": 0.1},
    "available_regions": ["us", "eu", "global"],
}
GPT = {
    "id": "gpt-5-mini",
    "supported_parameters": ["max_tokens"],
    "available_regions": ["us"],
    "pricing": {"us": {"prompt": 2, "completions": 4}},
}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """AssemblyAI's hosts are out of reach here; their catalog is known all the same."""
    catalog = parse(json.dumps({"data": [HAIKU, GPT]}).encode())
    monkeypatch.setattr(GatewayClient, "known_catalog", catalog)


def vendor(warnings: list[str], **settings: Any) -> LanguageModel:
    made = Settings(llm=LlmSettings(engine="assemblyai", model="m", **settings))
    planned = plan(made, {"ASSEMBLYAI_API_KEY": "secret"})
    return LanguageModel(made, planned, None, CallLog(), warnings.append)


def request(model: str, **extra: Any) -> CompletionRequest:
    temperature = extra.pop("temperature", None)
    return CompletionRequest(
        model=model, messages=(), stream=False, temperature=temperature, extra=extra
    )


@pytest.mark.parametrize(
    ("region", "asked", "said"),
    [
        ("us", request("claude-haiku-4.5"), "not in the catalog; there is claude-haiku-4-5"),
        ("eu", request("gpt-5-mini"), "not offered in eu, only in us; there is claude-haiku-4-5"),
        ("us", request("gpt-5-mini", model_region="global"), "not offered in global"),
        ("us", request("gpt-5-mini", temperature=0.5), "does not support temperature"),
    ],
)
async def test_what_the_region_does_not_offer_is_refused_before_it_is_sent(
    region: str, asked: CompletionRequest, said: str
) -> None:
    llm = vendor([], region=region)
    with pytest.raises(GatewayRefused, match=said):
        async with llm.gateway.open(asked):
            pass
    await llm.aclose()


async def test_an_option_makes_a_warning_of_an_unsupported_parameter() -> None:
    warnings: list[str] = []
    gate = vendor(warnings, unsupported="warn").gateway.targets[0].refuses
    assert gate is not None
    for _ in range(3):
        assert gate(request("gpt-5-mini", temperature=0.5)) is None
    (line,) = warnings
    assert "gpt-5-mini does not support temperature" in line
    assert gate(request("gpt-6")) is not None


@pytest.mark.parametrize(
    ("asked", "answered_by", "prompt_price"),
    [
        (request("claude-haiku-4-5"), None, 1.1),
        (request("claude-haiku-4-5", model_region="global"), None, 1.0),
        (request("claude-haiku-4-5"), "gpt-5-mini", 2.0),  # the server fell back
        (request("claude-haiku-4-5"), "bedrock-internal-name", 1.1),
    ],
)
async def test_the_price_is_that_of_who_answered_in_the_region(
    asked: CompletionRequest, answered_by: str | None, prompt_price: float
) -> None:
    price = vendor([]).gateway.targets[0].price
    assert price is not None
    found = price(asked, answered_by)
    assert found is not None
    assert found.prompt == pytest.approx(prompt_price)


async def test_a_price_that_is_not_known_is_none() -> None:
    price = vendor([]).gateway.targets[0].price
    assert price is not None
    assert price(request("other"), None) is None
