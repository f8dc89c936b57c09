"""AssemblyAI's extensions, carried out for any provider or left to AssemblyAI's own gateway."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio
import pytest

from pipeline.errors import GatewayError, GatewayLost, GatewayRefused
from pipeline.gateway.attempts import ProviderState, Target
from pipeline.gateway.call_log import CallLog
from pipeline.gateway.retry import RetryPolicy
from pipeline.gateway.service import GatewayService
from pipeline.interfaces.completions import Caller, CompletionCall, ModelEntry
from pipeline.interfaces.llm import CompletionRequest, Message, TextDelta
from tests.gateway.test_fallback import LOST, Line, Scripted, fails, says

USER = {"role": "user", "content": "Sum up: {{ transcript }}"}


class OneProvider:
    """Satisfies ``Router``: every model is at one server."""

    def __init__(self, gateway: Scripted, *, is_vendor: bool) -> None:
        self.target = Target(gateway, "host", is_vendor=is_vendor)

    def targets(self, model: str) -> Sequence[Target]:
        return [replace(self.target, model=model)]

    async def models(self) -> Sequence[ModelEntry]:
        return []


class Texts:
    """Satisfies ``TranscriptLookup``."""

    async def of_session(self, caller: Caller, session_id: str) -> str | None:
        return "ours" if (caller.name, session_id) == ("reader", "s1") else None

    async def stored(self, transcript_id: str) -> str | None:
        return {"t1": "theirs"}.get(transcript_id)


async def ask(
    *script: list[Line], is_vendor: bool = False, name: str = "", stream: bool = True, **extra: Any
) -> tuple[str, list[CompletionRequest]]:
    gateway = Scripted(*script)
    state = ProviderState(RetryPolicy(first_token=0.0), CallLog(), lambda: 0.5)
    service = GatewayService(OneProvider(gateway, is_vendor=is_vendor), state, Texts())
    request = CompletionRequest(
        model="m", messages=(Message("user", "x"),), forwarded=(USER,), stream=stream, extra=extra
    )
    texts: list[str] = []
    try:
        async with service.open(CompletionCall(request=request, caller=Caller(name=name))) as reply:
            while batch := await reply.receive():
                texts += [piece.text for piece in batch if isinstance(piece, TextDelta)]
    except GatewayError as failure:
        texts.append(type(failure).__name__)
    assert gateway.open_calls == 0
    return "".join(texts), [asked for _, asked in gateway.asked]


async def test_a_fallback_changes_model_messages_and_parameters() -> None:
    other = {"model": "b", "messages": [{"role": "user", "content": "Shorter"}], "top_p": 0.1}
    answer, (*_, last) = await ask(
        fails(LOST), fails(LOST), says("from b"), fallbacks=[other], seed=7
    )
    assert answer == "from b"
    assert (last.model, last.extra) == ("b", {"top_p": 0.1, "seed": 7})
    assert list(last.forwarded) == other["messages"]


async def test_without_retry_each_model_is_asked_once() -> None:
    config = {"retry": False}
    answer, asked = await ask(
        fails(LOST), says("from b"), fallbacks=[{"model": "b"}], fallback_config=config
    )
    assert answer == "from b"
    assert [each.model for each in asked] == ["m", "b"]


@pytest.mark.parametrize(("depth", "models"), [(1, ["m", "b"]), (2, ["m", "b", "c"])])
async def test_depth_bounds_how_many_fallbacks_are_asked(depth: int, models: list[str]) -> None:
    config = {"retry": False, "depth": depth}
    listed = [{"model": "b"}, {"model": "c"}, {"model": "d"}]
    answer, asked = await ask(fails(LOST), fallbacks=listed, fallback_config=config)
    assert answer == "GatewayLost"
    assert [each.model for each in asked] == models


async def test_a_failing_server_gets_one_retry() -> None:
    answer, asked = await ask(fails(GatewayLost("500", status=500)), says("again"))
    assert (answer, len(asked)) == ("again", 2)


async def test_a_broken_answer_is_repaired() -> None:
    steps = [{"type": "json-repair"}]
    answer, (asked,) = await ask(says("{'a': 1}"), post_processing_steps=steps)
    assert (answer, asked.extra) == ('{"a":1}', {})


@pytest.mark.parametrize(
    ("name", "transcript_id", "said"),
    [
        ("reader", "s1", "Sum up: ours"),
        ("", "t1", "Sum up: theirs"),
        (
            "",
            "s1",
            "GatewayRefused",
        ),  # a caller without read access to a session gets no text of it
        ("reader", "s2", "GatewayRefused"),
    ],
)
async def test_a_transcript_takes_the_place_of_its_tag(
    name: str, transcript_id: str, said: str
) -> None:
    answer, asked = await ask(says("ok"), name=name, transcript_id=transcript_id)
    assert [each.forwarded[0]["content"] for each in asked] in ([], [said])
    assert answer == (said if said == "GatewayRefused" else "ok")
    assert all("transcript_id" not in each.extra for each in asked)


ALL_FIELDS: dict[str, Any] = {
    "fallbacks": [{"model": "b", "temperature": 0.1}],
    "fallback_config": {"depth": 1, "retry": True},
    "post_processing_steps": [{"type": "json-repair"}],
    "transcript_id": "t1",
    "model_region": "global",
    "reasoning": {"effort": "low"},
}


async def test_assemblyais_own_gateway_gets_its_extensions_as_they_are_and_is_asked_once() -> None:
    answer, asked = await ask(fails(GatewayLost("500", status=500)), is_vendor=True, **ALL_FIELDS)
    assert answer == "GatewayLost"
    assert [each.extra for each in asked] == [ALL_FIELDS]
    assert list(asked[0].forwarded) == [USER]


async def test_a_session_of_ours_is_put_in_for_assemblyais_gateway_too() -> None:
    fields: dict[str, Any] = {**ALL_FIELDS, "transcript_id": "s1"}
    answer, (asked,) = await ask(says("{}"), is_vendor=True, name="reader", **fields)
    assert answer == "{}"
    assert asked.forwarded[0]["content"] == "Sum up: ours"
    assert asked.extra == {"model_region": "global", "reasoning": {"effort": "low"}}


async def test_no_other_provider_is_sent_a_region() -> None:
    _, (asked,) = await ask(says("ok"), model_region="global")
    assert asked.extra == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fallback_config", {"depth": 3}),
        ("fallbacks", []),
        ("fallbacks", [{"temperature": 1}]),
        ("post_processing_steps", [{"type": "uppercase"}]),
        ("model_region", "eu"),
        ("transcript_id", "../etc"),
        ("transcript_id", 5),
        ("top_p", 2),
    ],
)
async def test_what_the_rules_do_not_allow_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(GatewayRefused, match=field) as refused:
        await ask_strictly(**{field: value})
    assert (refused.value.status, refused.value.param) == (400, field)


async def ask_strictly(**extra: Any) -> None:
    state = ProviderState(RetryPolicy(), CallLog(), lambda: 0.5)
    service = GatewayService(OneProvider(Scripted(says("x")), is_vendor=False), state, Texts())
    request = CompletionRequest(model="m", messages=(), extra=extra)
    service.open(CompletionCall(request=request))


async def test_a_whole_answer_is_never_late() -> None:
    gateway = Scripted(says("slow", after=30.0))
    state = ProviderState(RetryPolicy(first_token=4.0), CallLog(), lambda: 0.5)
    service = GatewayService(OneProvider(gateway, is_vendor=False), state, Texts())
    request = CompletionRequest(
        model="m", messages=(), stream=False, extra={"fallbacks": [{"model": "b"}]}
    )
    async with service.open(CompletionCall(request=request)) as reply:
        while await reply.receive():
            pass
    assert [asked.model for _, asked in gateway.asked] == ["m"]
    assert anyio.current_time() == pytest.approx(30)
