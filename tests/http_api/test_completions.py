"""The chat completion endpoint over scripted models, on virtual time."""

from collections.abc import Callable, Sequence
from typing import Any

import anyio
import pytest

from pipeline.errors import GatewayBusy, GatewayError, GatewayLost, GatewayRefused
from pipeline.http_api import completions as module
from pipeline.http_api.completions import CompletionEndpoint, CompletionLimits
from pipeline.http_api.models import ModelsEndpoint
from pipeline.interfaces.completions import Caller, CallerLimits, CompletionCall, ModelEntry
from pipeline.interfaces.llm import Accepted, Finished, Prices, RateLimit, TextDelta, Usage
from tests.gateway.test_fallback import Line, Scripted, ScriptedReply
from tests.support.http_exchange import FakeRequest, read

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
STREAM = {**BODY, "stream": True}
DONE = Finished("stop", complete=True, usage=Usage(3, 4), model="m-1", prices=Prices(1e6, 0))
HEAD = Accepted(request_id="theirs", rate=RateLimit(30, 29, 1.5))
ANSWER: list[Line] = [(0, HEAD), (1, TextDelta("Hi ")), (1, TextDelta("there")), (0, DONE)]


class Models:
    """Satisfies ``interfaces.completions.Completions``."""

    def __init__(self, *script: list[Line]) -> None:
        self.gateway = Scripted(*script)
        self.calls: list[CompletionCall] = []
        self.refusal: GatewayError | None = None

    def open(self, call: CompletionCall) -> ScriptedReply:
        self.calls.append(call)
        if self.refusal is not None:
            raise self.refusal
        return self.gateway.open(call.request)

    async def models(self) -> Sequence[ModelEntry]:
        return [
            ModelEntry(id="gpt-9", owned_by="openai", prices={"": Prices(1, 2)}),
            ModelEntry(id="org/llama", context_length=8192),
        ]


def endpoint(models: Models, **limits: Any) -> CompletionEndpoint:
    return CompletionEndpoint(
        models, CompletionLimits(**limits), wall_clock=lambda: 1000.0, new_id=lambda: "r1"
    )


async def test_an_answer_in_one_piece() -> None:
    models = Models(ANSWER)
    response = await endpoint(models).answer(FakeRequest(BODY))
    body = read(response)
    assert body["choices"][0]["message"]["content"] == "Hi there"
    assert (body["model"], body["request_id"], body["created"]) == ("m-1", "r1", 1000)
    assert response is not None
    assert response.headers["X-Request-Id"] == "r1"
    assert response.headers["X-Provider-Request-Id"] == "theirs"
    assert response.headers["X-RateLimit-Remaining"] == "29"
    assert models.calls[0].request.id == "r1"
    assert models.gateway.open_calls == 0


async def test_a_stream_says_each_piece_as_it_comes() -> None:
    request = FakeRequest({**STREAM, "stream_options": {"include_usage": True}})
    assert await endpoint(Models(ANSWER)).answer(request) is None
    first, one, two, last, usage, done = request.events
    assert first["choices"][0]["delta"]["role"] == "assistant"
    said = [each["choices"][0]["delta"]["content"] for each in (one, two)]
    assert said == ["Hi ", "there"]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert usage["usage"]["total_tokens"] == 7
    assert done == "[DONE]"
    assert request.status == 200
    assert request.response_headers["Content-Type"] == "text/event-stream"
    assert request.streamed.ended


@pytest.mark.parametrize("body", [BODY, STREAM])
async def test_a_failure_before_the_first_token_has_its_status(body: Any) -> None:
    busy = GatewayBusy("slow down", status=429, retry_after=7.0)
    response = await endpoint(Models([(0, busy)])).answer(FakeRequest(body))
    assert response is not None
    assert (response.status, response.headers["Retry-After"]) == (429, "7")
    assert read(response)["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize(
    "ending",
    [
        GatewayLost("cut"),
        Finished(None, complete=False),
        Finished("error", complete=True, ending="failed"),
    ],
    ids=["error", "cut", "failed"],
)
async def test_a_failure_in_the_middle_of_a_stream_ends_it_with_an_error(ending: Any) -> None:
    request = FakeRequest(STREAM)
    await endpoint(Models([(0, HEAD), (0, TextDelta("Hi")), (0, ending)])).answer(request)
    assert request.events[-1]["error"]["code"] == "provider_unavailable"
    assert "[DONE]" not in request.events
    assert request.streamed.ended


async def test_a_whole_answer_that_was_cut_is_an_error() -> None:
    cut: list[Line] = [(0, HEAD), (0, TextDelta("Hi")), (0, Finished(None, complete=False))]
    response = await endpoint(Models(cut)).answer(FakeRequest(BODY))
    assert response is not None
    assert response.status == 502


async def test_a_model_that_says_nothing_is_given_up() -> None:
    models = Models([(0, HEAD), (1e6, DONE)])
    response = await endpoint(models, first_token=20).answer(FakeRequest(STREAM))
    assert response is not None
    assert response.status == 504
    assert anyio.current_time() == pytest.approx(20)
    assert models.gateway.open_calls == 0


@pytest.mark.parametrize("body", [BODY, STREAM])
async def test_an_answer_without_an_end_is_cut(body: Any) -> None:
    models = Models([(0, HEAD), (1, TextDelta("Hi")), (1e6, DONE)])
    request = FakeRequest(body)
    response = await endpoint(models, total=30).answer(request)
    error = read(response) if response else request.events[-1]
    assert error["error"]["code"] == "provider_timeout"
    assert anyio.current_time() == pytest.approx(30)
    assert models.gateway.open_calls == 0


async def test_a_client_that_leaves_cancels_the_call() -> None:
    models = Models([(0, HEAD), (0, TextDelta("Hi")), (1e6, DONE)])
    one = endpoint(models)
    with anyio.move_on_after(5):
        await one.answer(FakeRequest(STREAM))
    assert (models.gateway.open_calls, one.in_flight) == (0, 0)


async def test_a_refusal_names_the_field() -> None:
    models = Models(ANSWER)
    models.refusal = GatewayRefused("top_p: Expected `float` <= 1.0", status=400)
    models.refusal.param = "top_p"
    response = await endpoint(models).answer(FakeRequest({**BODY, "top_p": 3}))
    assert read(response)["error"]["param"] == "top_p"


async def test_a_token_for_some_models_may_request_no_other() -> None:
    models = Models(ANSWER)
    caller = Caller(name="one", models=("gpt-*", "m"))
    for body, status in (
        (BODY, 200),
        ({**BODY, "model": "claude-9"}, 403),
        ({**BODY, "fallbacks": [{"model": "claude-9"}]}, 403),
    ):
        response = await endpoint(models).answer(FakeRequest(body, caller=caller))
        assert response is not None
        assert response.status == status
    assert len(models.calls) == 1


async def test_a_budget_of_tokens_is_spent_by_answers() -> None:
    caller = Caller(name="one", limits=CallerLimits(tokens_per_minute=7))
    one = endpoint(Models(ANSWER))
    first = await one.answer(FakeRequest(BODY, caller=caller))
    assert first is not None
    assert (first.status, first.headers["X-RateLimit-Remaining-Tokens"]) == (200, "7")
    second = await one.answer(FakeRequest(BODY, caller=caller))
    assert second is not None
    assert (second.status, read(second)["error"]["code"]) == (429, "budget_exceeded")


async def test_a_budget_of_money_is_spent_by_streams() -> None:
    caller = Caller(name="one", limits=CallerLimits(usd_per_day=3.0))
    one = endpoint(Models(ANSWER))
    await one.answer(FakeRequest(STREAM, caller=caller))  # three tokens of a dollar each
    second = await one.answer(FakeRequest(STREAM, caller=caller))
    assert second is not None
    assert second.status == 429


async def test_a_call_that_is_cancelled_costs_an_estimate() -> None:
    caller = Caller(name="one", limits=CallerLimits(tokens_per_minute=2))
    one = endpoint(Models([(0, HEAD), (0, TextDelta("Hi")), (1e6, DONE)]))
    with anyio.move_on_after(5):
        await one.answer(FakeRequest(STREAM, caller=caller))
    second = await one.answer(FakeRequest(STREAM, caller=caller))
    assert second is not None
    assert second.status == 429


async def test_only_so_many_calls_are_under_way() -> None:
    one = endpoint(Models([(0, HEAD), (9, TextDelta("Hi")), (0, DONE)]), in_flight=2)
    statuses: list[int] = []

    async def call() -> None:
        response = await one.answer(FakeRequest(BODY))
        assert response is not None
        statuses.append(response.status)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(call)
    assert sorted(statuses) == [200, 200, 503]


async def test_a_body_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BODY", 10)
    response = await endpoint(Models(ANSWER)).answer(FakeRequest(BODY))
    assert response is not None
    assert response.status == 413


Ask = Callable[[FakeRequest], Any]


async def test_the_models_that_a_token_may_request_are_listed() -> None:
    models = ModelsEndpoint(Models(ANSWER), new_id=lambda: "r1")
    listed = read(await models.answer(FakeRequest(path="/v1/models")))
    assert [entry["id"] for entry in listed["data"]] == ["gpt-9", "org/llama"]
    assert listed["data"][0]["pricing"] == {"default": {"prompt": 1, "completions": 2}}
    caller = Caller(name="one", models=("org/*",))
    narrow = read(await models.answer(FakeRequest(path="/v1/models", caller=caller)))
    assert [entry["id"] for entry in narrow["data"]] == ["org/llama"]


async def test_one_model_is_found_by_its_id_with_a_slash_or_not_at_all() -> None:
    models = ModelsEndpoint(Models(ANSWER), new_id=lambda: "r1")
    found = read(await models.answer(FakeRequest(path="/v1/models/org/llama")))
    assert (found["object"], found["context_length"]) == ("model", 8192)
    missing = await models.answer(FakeRequest(path="/v1/models/none"))
    assert (missing.status, read(missing)["error"]["code"]) == (404, "model_not_found")
