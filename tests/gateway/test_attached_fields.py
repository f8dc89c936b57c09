"""Fields that a server attaches to its messages and calls: kept for it, and for no other."""

import json
from typing import Any

import pytest

from pipeline.gateway.attached_fields import MAX_ATTACHED
from pipeline.gateway.dialect import Dialect
from pipeline.gateway.stream import ReplyReader
from pipeline.gateway.wire import encode_request
from pipeline.interfaces.llm import (
    Attached,
    CompletionRequest,
    Finished,
    FunctionCall,
    Message,
    Piece,
    ToolCall,
    ToolCallDelta,
)


def read(*deltas: dict[str, Any]) -> list[Piece]:
    reader = ReplyReader("h", {}, origin="h/v1 m")
    events = [f"data: {json.dumps({'choices': [{'delta': delta}]})}\n\n" for delta in deltas]
    finish = 'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
    return reader.feed("".join([*events, finish, "data: [DONE]\n\n"]).encode())


def attached(*deltas: dict[str, Any]) -> Any:
    last = read(*deltas)[-1]
    assert isinstance(last, Finished)
    if last.attached is None:
        return {}
    assert last.attached.origin == "h/v1 m"
    return last.attached.fields


@pytest.mark.parametrize(
    ("deltas", "fields"),
    [
        ([{"reasoning_text": "I "}, {"reasoning_text": "may."}], {"reasoning_text": "I may."}),
        ([{"content": "", "reasoning": "a"}, {"reasoning": "b"}], {"reasoning": "ab"}),
        ([{"content": "Yes.", "provider": "x"}, {"provider": "x"}], {"provider": "x"}),
        ([{"extra_content": {"google": {"s": "Q"}}}], {"extra_content": {"google": {"s": "Q"}}}),
        (
            [{"reasoning_details": [{"type": "text", "index": 0, "text": "a"}]},
             {"reasoning_details": [{"type": "text", "index": 0, "text": "b", "signature": "S"}]},
             {"reasoning_details": [{"type": "encrypted", "index": 1, "data": "D"}]}],
            {"reasoning_details": [{"type": "text", "index": 0, "text": "ab", "signature": "S"},
                                   {"type": "encrypted", "index": 1, "data": "D"}]},
        ),
        (
            [{"thinking_blocks": [{"type": "thinking", "thinking": "a"}]},
             {"thinking_blocks": [{"type": "thinking", "thinking": "b", "signature": "S"}]},
             {"thinking_blocks": [{"type": "redacted_thinking", "data": "D"}]}],
            {"thinking_blocks": [{"type": "thinking", "thinking": "ab", "signature": "S"},
                                 {"type": "redacted_thinking", "data": "D"}]},
        ),
        ([{"role": "assistant", "reasoning": None, "annotations": [{"a": 1}]}], {}),
        ([{"reasoning": "x" * MAX_ATTACHED}], {}),
    ],
)  # fmt: skip
def test_the_fields_of_a_message_are_collected(deltas: list[dict[str, Any]], fields: Any) -> None:
    assert attached(*deltas) == fields


def test_thoughts_beside_the_text_are_reported() -> None:
    for delta in ({"reasoning_content": "a"}, {"reasoning": "a"}, {"thinking_blocks": [{"a": 1}]}):
        last = read(delta)[-1]
        assert isinstance(last, Finished)
        assert last.thought
    plain = read({"content": "Yes.", "reasoning_content": None})[-1]
    assert isinstance(plain, Finished)
    assert not plain.thought


def test_the_fields_of_a_call_come_with_it_also_in_a_later_fragment() -> None:
    signature = {"extra_content": {"google": {"thought_signature": "QQ=="}}}
    function = {"name": "f", "arguments": "{}", "strict": True}
    pieces = read(
        {"tool_calls": [{"index": 0, "id": "a", "function": function, **signature}]},
        {"tool_calls": [{"index": 0, "more": 1}]},
    )
    calls = [piece for piece in pieces if isinstance(piece, ToolCallDelta)]
    assert calls == [
        ToolCallDelta(0, "a", "f", "{}", {**signature, "function": {"strict": True}}),
        ToolCallDelta(0, fields={"more": 1}),
    ]


CALLS = (ToolCall("ours", FunctionCall("f", "{}")), ToolCall("c2", FunctionCall("g", "{}")))
KEPT = Attached(
    "h/v1 m", {"reasoning": "a"}, {"ours": {"id": "theirs" * 40, "sig": 1, "function": {"x": 2}}}
)
TALK = (
    Message("user", "hi"),
    Message("assistant", None, tool_calls=CALLS, attached=KEPT),
    Message("tool", "1", tool_call_id="ours"),
    Message("tool", "2", tool_call_id="c2"),
    Message("assistant", "Yes.", attached=Attached("h/v1 m", {"reasoning": "b"})),
)


def sent(origin: str, *, host: str = "h") -> Any:
    request = Dialect().adapted(CompletionRequest(model="m", messages=TALK), host)
    return json.loads(encode_request(request, origin))["messages"]


def test_the_same_server_and_model_get_everything_back() -> None:
    _, called, first, second, answer = sent("h/v1 m")
    assert called["reasoning"] == "a"
    call = called["tool_calls"][0]
    assert (call["id"], call["sig"], call["function"]["x"]) == ("theirs" * 40, 1, 2)
    assert (call["type"], call["function"]["name"]) == ("function", "f")
    assert called["tool_calls"][1]["id"] == "c2"
    assert (first["tool_call_id"], second["tool_call_id"]) == ("theirs" * 40, "c2")
    assert answer == {"role": "assistant", "content": "Yes.", "reasoning": "b"}


@pytest.mark.parametrize("origin", ["h/v1 other", "other/v1 m", ""])
def test_another_server_or_model_gets_none_of_it(origin: str) -> None:
    plain = [Message(m.role, m.content, None, m.tool_calls, m.tool_call_id) for m in TALK]
    request = CompletionRequest(model="m", messages=tuple(plain))
    assert sent(origin) == json.loads(encode_request(request))["messages"]


def test_deepseek_gets_thoughts_back_beside_tool_calls_only() -> None:
    messages = sent("h/v1 m", host="api.deepseek.com")
    assert messages[1]["reasoning"] == "a"
    assert "reasoning" not in messages[-1]
