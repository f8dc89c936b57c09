"""Model catalog: parsing, refusal before sending, prices."""

import json
from typing import Any

import pytest

from pipeline.errors import GatewayLost
from pipeline.gateway.catalog import Catalog, Problem, parse
from pipeline.gateway.catalog_gate import CatalogGate
from pipeline.interfaces.llm import CompletionRequest, Usage

HAIKU = {
    "id": "claude-haiku-4-5-20251001",
    "name": "Claude Haiku 4.5",
    "creator": "anthropic",
    "context_length": 200_000,
    "supported_parameters": ["max_tokens", "temperature", "stream", "tools", "response_format"],
    "pricing": {
        "global": {"prompt": 1, "completions": 5, "input_cache_read": 0.1},
        "regional_increase_percent": 0.1,
    },
    "available_regions": ["us", "eu", "global"],
    "retirement_date": 0,
    "providers": [{"id": "bedrock", "name": "Bedrock"}],
}
QWEN = {
    "id": "qwen3.5-4b-32k-fast",
    "supported_parameters": ["max_tokens", "temperature", "stream"],
    "pricing": {"us": {"prompt": 0.1, "completions": 0.5}, "global": None},
    "available_regions": ["us"],
    "providers": None,
}
SILENT = {"id": "gpt-oss-120b", "supported_parameters": ["max_tokens"], "available_regions": None}


def catalog(*entries: Any) -> Catalog:
    return parse(json.dumps({"data": list(entries)}).encode())


ALL = catalog(HAIKU, QWEN, SILENT)


def problems(model: str, region: str = "us", **fields: Any) -> list[str]:
    asked: dict[str, Any] = {"model": model, "messages": (), "stream": False} | fields
    request = CompletionRequest(**asked)
    return [problem.message for problem in ALL.problems(request, region)]


def cost(catalog: Catalog, model: str, region: str, usage: Usage) -> float | None:
    prices = catalog.price(model, region)
    return prices.cost(usage) if prices else None


def test_a_region_costs_the_global_price_and_its_increase() -> None:
    usage = Usage(input_tokens=1_000_000, output_tokens=100_000)
    assert cost(ALL, str(HAIKU["id"]), "global", usage) == pytest.approx(1.5)
    assert cost(ALL, str(HAIKU["id"]), "eu", usage) == pytest.approx(1.65)
    assert cost(ALL, str(QWEN["id"]), "us", usage) == pytest.approx(0.15)
    assert cost(ALL, str(QWEN["id"]), "eu", usage) is None


def test_without_a_region_the_global_price_holds() -> None:
    usage = Usage(input_tokens=1_000_000, output_tokens=100_000)
    assert cost(ALL, str(HAIKU["id"]), "", usage) == pytest.approx(1.5)
    assert cost(ALL, str(QWEN["id"]), "", usage) == pytest.approx(0.15)


def test_a_list_that_is_not_whole_refuses_no_model_that_it_lacks() -> None:
    some = parse(json.dumps({"data": [QWEN]}).encode(), is_whole=False)
    assert some.problems(CompletionRequest(model="llama3", messages=())) == []
    asked = CompletionRequest(model=str(QWEN["id"]), messages=(), extra={"tools": []})
    assert some.problems(asked) == []  # no listed model speaks of tools


def test_cached_tokens_cost_less() -> None:
    usage = Usage(input_tokens=1_000_000, cached_tokens=900_000)
    assert cost(ALL, str(HAIKU["id"]), "global", usage) == pytest.approx(0.1 + 0.09)


def test_prices_per_token_are_read_too() -> None:
    flat = catalog({"id": "m", "pricing": {"prompt": "0.00000075", "completion": "0.000003"}})
    usage = Usage(input_tokens=1000, output_tokens=1000)
    assert cost(flat, "m", "", usage) == pytest.approx(0.00375)
    assert cost(flat, "other", "", usage) is None


def test_a_model_that_is_not_there_is_refused_with_its_neighbours_named() -> None:
    (message,) = problems("claude-haiku-4-5")
    assert message == (
        "'claude-haiku-4-5' is not in the catalog; there is claude-haiku-4-5-20251001"
    )


def test_a_model_of_another_region_is_refused_with_those_of_this_one() -> None:
    (message,) = problems(str(QWEN["id"]), "eu")
    assert message.startswith("qwen3.5-4b-32k-fast is not offered in eu, only in us; there is ")
    assert "gpt-oss-120b" in message


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        (QWEN, {"extra": {"tools": []}}, "qwen3.5-4b-32k-fast does not support tools"),
        (
            QWEN,
            {"extra": {"response_format": {}}},
            "qwen3.5-4b-32k-fast does not support response_format",
        ),
        (SILENT, {"stream": True}, "gpt-oss-120b does not support stream"),
        (SILENT, {"temperature": 0.5}, "gpt-oss-120b does not support temperature"),
    ],
)
def test_what_a_model_does_not_support_is_reported_before_sending(
    model: dict[str, Any], fields: dict[str, Any], message: str
) -> None:
    assert problems(model["id"], **fields) == [message]


def test_parameters_of_which_the_catalog_does_not_speak_pass() -> None:
    assert problems(str(QWEN["id"]), extra={"transcript_id": "t", "fallbacks": []}) == []


def test_a_server_that_only_lists_ids_refuses_only_other_ids() -> None:
    plain = parse(b'{"object":"list","data":[{"id":"llama3.2","owned_by":"library"}]}')
    request = CompletionRequest(model="llama3.2", messages=(), extra={"tools": []})
    assert plain.problems(request, "") == []
    other = CompletionRequest(model="llama3", messages=())
    assert plain.problems(other, "") == [
        Problem("model", "'llama3' is not in the catalog; there is llama3.2")
    ]


@pytest.mark.parametrize("body", [b'{"data":null}', b'{"data":[null,1,{"id":3}]}', b"[]", b"{}"])
def test_an_empty_catalog_refuses_nothing(body: bytes) -> None:
    assert parse(body).problems(CompletionRequest(model="any", messages=()), "us") == []


def test_what_is_no_json_is_an_error() -> None:
    with pytest.raises(GatewayLost, match="not JSON"):
        parse(b"<html>")


# --- the gate --------------------------------------------------------------------------------


def asking(model: str, **extra: Any) -> CompletionRequest:
    return CompletionRequest(model=model, messages=(), stream=False, extra=extra)


def test_the_gate_is_open_until_the_catalog_is_known() -> None:
    assert CatalogGate(lambda: None)(asking("anything")) is None


def test_the_gate_names_all_that_is_wrong() -> None:
    gate = CatalogGate(lambda: ALL, "us")
    assert gate(asking(str(QWEN["id"]))) is None
    said = gate(asking(str(QWEN["id"]), tools=[], response_format={}))
    assert said == (
        "qwen3.5-4b-32k-fast does not support response_format;"
        " qwen3.5-4b-32k-fast does not support tools"
    )


def test_a_parameter_may_be_warned_of_once_but_a_model_may_not() -> None:
    warned: list[str] = []
    gate = CatalogGate(lambda: ALL, "us", warn=warned.append)
    for _ in range(3):
        assert gate(asking(str(QWEN["id"]), tools=[])) is None
    assert warned == ["qwen3.5-4b-32k-fast does not support tools"]
    assert gate(asking("qwen4")) is not None


def test_a_request_may_ask_for_the_global_region() -> None:
    gate = CatalogGate(lambda: ALL, "eu")
    assert gate(asking(str(HAIKU["id"]), model_region="global")) is None
    assert "not offered in global" in str(gate(asking(str(QWEN["id"]), model_region="global")))


def test_a_new_catalog_brings_a_new_verdict() -> None:
    seen = [catalog(HAIKU)]
    gate = CatalogGate(lambda: seen[-1], "us")
    assert gate(asking(str(QWEN["id"]))) is not None
    seen.append(parse(json.dumps({"data": [QWEN]}).encode(), read_at=600.0))
    assert gate(asking(str(QWEN["id"]))) is None


@pytest.mark.parametrize(
    "number", ["1" + "0" * 400, "-1", "1e305", '"NaN"', '"Infinity"', '"dear"', "[]", "null"]
)
def test_a_number_that_cannot_be_true_counts_as_unknown(number: str) -> None:
    text = f"""{{"data": [{{"id": "m", "context_length": {number}, "retirement_date": {number},
        "pricing": {{"prompt": {number}, "completion": 1e-6}}}}]}}"""
    model = parse(text.encode()).models["m"]
    assert (model.context_length, model.retires, model.prices) == (None, 0, {})
