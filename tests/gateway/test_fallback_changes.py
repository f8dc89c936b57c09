"""Requests to a fallback of the settings: its own messages and parameters."""

import anyio
import pytest

from pipeline.errors import GatewayTimeout
from pipeline.gateway.attempts import Target
from pipeline.gateway.fallback import FallbackGateway
from pipeline.gateway.fallback_changes import FallbackChanges
from pipeline.gateway.structured_output import Structured
from pipeline.interfaces.llm import CompletionRequest, FunctionCall, Message, ToolCall
from tests.gateway.test_fallback import LOST, NEVER, Scripted, ask, fails, says

CALL = ToolCall("c1", FunctionCall("time", "{}"))
ROUND = (Message("assistant", None, tool_calls=(CALL,)), Message("tool", "noon", tool_call_id="c1"))
REQUEST = CompletionRequest(
    model="m",
    messages=(
        Message("system", "Be brief."),
        Message("user", "Hi."),
        Message("assistant", "Hello."),
        Message("user", "What {{turn}} is it?"),
        *ROUND,
    ),
    max_tokens=200,
    extra={"top_p": 0.5},
)


def test_only_what_is_set_changes() -> None:
    changes = FallbackChanges(max_tokens=50, temperature=0.1, extra={"top_p": 1, "seed": 7})
    found = changes.apply(REQUEST)
    assert (found.max_tokens, found.temperature) == (50, 0.1)
    assert found.extra == {"top_p": 1, "seed": 7}
    assert found.messages == REQUEST.messages
    assert FallbackChanges().is_empty
    assert FallbackChanges().apply(REQUEST) == REQUEST


def test_the_system_message_is_replaced_or_added() -> None:
    changes = FallbackChanges(system="Be a pirate.")
    assert changes.apply(REQUEST).messages == (
        Message("system", "Be a pirate."),
        *REQUEST.messages[1:],
    )
    bare = CompletionRequest(model="m", messages=(Message("user", "Hi."),))
    assert changes.apply(bare).messages == (Message("system", "Be a pirate."), *bare.messages)


def test_the_messages_are_replaced_up_to_the_tool_rounds() -> None:
    own = (Message("user", "Answer shortly: {{ turn }}"),)
    changes = FallbackChanges(messages=own)
    assert changes.apply(REQUEST).messages == (
        Message("user", "Answer shortly: What {{turn}} is it?"),
        *ROUND,
    )


@pytest.mark.parametrize(
    "changes",
    [
        FallbackChanges(system="Be a pirate."),
        FallbackChanges(messages=(Message("user", "{{turn}}"),)),
        FallbackChanges(system="x", messages=(Message("user", "{{turn}}"),)),
    ],
)
def test_a_reply_that_must_be_json_is_still_asked_for_as_json(changes: FallbackChanges) -> None:
    request = Structured({"type": "object"}).apply(REQUEST, "prompt")
    system = changes.apply(request).messages[0]
    assert system.role == "system"
    assert (system.content or "").count("JSON Schema") == 1


def test_the_messages_of_an_http_client_stay_its_own() -> None:
    theirs = CompletionRequest(model="m", messages=(), forwarded=({"role": "user"},))
    assert FallbackChanges(system="x", max_tokens=9).apply(theirs).messages == ()


async def test_a_fallback_has_its_own_time_for_the_first_token() -> None:
    one, two, three = Scripted(fails(LOST)), Scripted(NEVER), Scripted(says("hello"))
    targets = [Target(one, "a"), Target(two, "b", first_token=1.5), Target(three, "c")]
    assert (await ask(FallbackGateway(targets)))[0] == "hello"
    began = anyio.current_time()
    with pytest.raises(GatewayTimeout):
        await ask(FallbackGateway([Target(two, "b", first_token=1.5)]))
    assert anyio.current_time() - began == pytest.approx(1.5)
