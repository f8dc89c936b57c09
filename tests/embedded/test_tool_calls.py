"""Tool calls of a model without tool training: engine requests and client messages."""

import json
from typing import Any

import pytest

from pipeline.embedded import chat
from pipeline.embedded.chat import ChatRequest, ReplyEncoder

MODEL = "small"
NUMBER: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}}
LOOK_UP = {"type": "function", "function": {"name": "look_up", "parameters": NUMBER}}
STOP = {"type": "function", "function": {"name": "stop", "description": "Stop it."}}
ASKS = {"role": "user", "content": "Where is order 5?"}
CALLS = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "a", "function": {"name": "look_up", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "tool_call_id": "a", "content": "on its way"}


def parse(*messages: dict[str, Any], **fields: Any) -> ChatRequest:
    body = {"model": MODEL, "messages": list(messages) or [ASKS], "tools": [LOOK_UP, STOP]}
    return chat.parse(json.dumps({**body, **fields}).encode(), MODEL)


def form(body: dict[str, Any]) -> Any:
    return body["response_format"]["json_schema"]["schema"]


def test_a_named_tool_makes_the_reply_its_arguments() -> None:
    ask = parse(tool_choice={"type": "function", "function": {"name": "look_up"}})

    assert ask.is_settled
    body = ask.engine_body()
    assert form(body) == NUMBER
    assert body["messages"][-1]["content"].startswith("Where is order 5?\n\nWrite the arguments of")


def test_a_tool_without_parameters_takes_none() -> None:
    ask = parse(tools=[STOP], tool_choice="required")

    assert ask.is_settled
    assert form(ask.engine_body()) == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }


def test_a_choice_among_tools_is_requested_first() -> None:
    required = parse(tool_choice="required")
    auto = parse()

    assert not required.is_settled
    assert form(required.question()) == {"enum": ["look_up", "stop"]}
    assert form(auto.question()) == {"enum": ["look_up", "stop", "none"]}
    assert auto.question()["messages"][-1] == ASKS
    settled = auto.settled('"look_up"')
    assert settled.is_settled
    assert form(settled.engine_body()) == NUMBER


@pytest.mark.parametrize("said", ['"none"', "nonsense", ""])
def test_a_reply_that_names_no_tool_leads_to_text_unless_a_call_is_required(said: str) -> None:
    assert "response_format" not in parse().settled(said).engine_body()
    assert form(parse(tool_choice="required").settled(said).engine_body()) == NUMBER


def test_tools_that_may_not_be_called_change_nothing() -> None:
    assert parse(tool_choice="none").engine_body() == parse(tools=None).engine_body()


def test_calls_and_results_in_the_history_become_text() -> None:
    ask = parse(ASKS, CALLS, RESULT)

    assert ask.is_settled  # after a result the reply is text
    assert ask.engine_body()["messages"] == [
        {"role": "user", "content": "Where is order 5?\n\nlook_up says: on its way"}
    ]


def choice(reason: str | None = None, **said: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, **said, "finish_reason": reason}]}


def test_a_streamed_reply_becomes_a_call_in_pieces() -> None:
    shape = ReplyEncoder(parse(tool_choice="required").settled('"look_up"'), "1-2-3")
    pieces = [choice(delta={"content": text}) for text in (None, '{"n"', ":5}")]
    chunks = [shape.piece(piece) for piece in [*pieces, choice("stop", delta={})]]

    deltas = [piece["choices"][0]["delta"] for piece in chunks]
    first = deltas[0]["tool_calls"][0]
    assert (first["id"], first["function"]["name"]) == ("call_123", "look_up")
    texts = [c["function"]["arguments"] for d in deltas for c in d.get("tool_calls", ())]
    assert "".join(texts) == '{"n":5}'
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    usage: dict[str, Any] = {"choices": [], "usage": {}}
    assert shape.piece(usage) == usage


def test_arguments_cut_at_the_limit_have_that_finish_reason() -> None:
    shape = ReplyEncoder(parse(tools=[STOP], tool_choice="required"), "1")
    whole = shape.whole(choice("length", message={"role": "assistant", "content": "{"}))

    (only,) = whole["choices"]
    assert only["finish_reason"] == "length"
    assert only["message"]["content"] is None
    assert only["message"]["tool_calls"][0]["function"]["arguments"] == "{"
