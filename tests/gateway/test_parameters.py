"""Parameters of a prompt in the request body, and the adaptation to model families."""

from typing import Any

import pytest

from pipeline.gateway.model_quirks import adapted
from pipeline.gateway.parameters import problems
from pipeline.interfaces.llm import CompletionRequest, FunctionCall, Message, ToolCall

FUNCTION: dict[str, Any] = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object"}},
}
SCHEMA: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {"name": "a", "schema": {}, "strict": True},
}


FINE: list[dict[str, Any]] = [
    {},
    {"top_p": 0.9, "top_k": 40, "stop": ["\n"], "seed": 7},
    {"stop": "END"},
    {"tools": [FUNCTION], "tool_choice": "auto"},
    {"tool_choice": {"type": "function", "function": {"name": "look_up"}}},
    {"response_format": SCHEMA},
    {"fallbacks": [{"model": "b", "temperature": 0.1}, {"model": "c", "messages": []}]},
    {"fallback_config": {"depth": 2, "retry": False}},
    {"post_processing_steps": [{"type": "json-repair"}]},
    {"model_region": "global"},
    {"reasoning": {"effort": "low"}},
    {"reasoning": {"max_tokens": 500}},
    {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
    {"stream_options": {"include_usage": True}},
    {"min_p": 0.1, "num_ctx": 4096},
]


@pytest.mark.parametrize("extra", FINE, ids=str)
def test_what_the_gateway_takes_is_fine(extra: dict[str, Any]) -> None:
    assert problems(extra) == []


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": "x"}, "model is set by the prompt itself, not in extra"),
    ({"top_p": 1.5}, "top_p: Expected `float` <= 1.0"),
    ({"temperature": "hot"}, "temperature: Expected `float`, got `str`"),
    ({"fallback_config": {"depth": 3}}, "fallback_config: Expected `int` <= 2 - at `$.depth`"),
    ({"model_region": "eu"}, "model_region: Invalid enum value 'eu'"),
    ({"fallbacks": [{}]}, "fallbacks: Object missing required field `model` - at `$[0]`"),
    ({"post_processing_steps": [{"type": "x"}]}, "post_processing_steps: Invalid enum value"),
    ({"tools": [{"type": "web"}]}, "tools: Invalid enum value 'web' - at `$[0].type`"),
    ({"response_format": {"type": "xml"}}, "response_format: Invalid enum value 'xml'"),
    ({"cache_control": {"type": "ephemeral", "ttl": "2h"}}, "cache_control: Invalid enum"),
    ({"transcript_id": "t"}, "transcript_id is a setting of the prompt itself"),
    ({"prompt": "hi"}, "prompt: a request has either"),
]


@pytest.mark.parametrize(("extra", "message"), WRONG, ids=str)
def test_what_it_refuses_is_reported_with_its_position(extra: dict[str, Any], message: str) -> None:
    (found,) = problems(extra)
    assert found.startswith(message)


def test_only_gemini_s_tools_are_touched() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"title": "T"}}}
    request = CompletionRequest(model="gpt-5", messages=(), extra={"tools": [tool]})
    assert adapted(request) is request
    for model in ("gemini-2.5-flash", "vertex_ai/gemini-2.5-flash"):
        gemini = CompletionRequest(model=model, messages=(), extra={"tools": [tool]})
        assert adapted(gemini).extra["tools"][0]["function"] == {"name": "f", "parameters": {}}
    assert tool["function"] == {"name": "f", "parameters": {"title": "T"}}


@pytest.mark.parametrize("arguments", ["", "{}", " { } "])
def test_claude_is_replayed_no_empty_arguments(arguments: str) -> None:
    calls = (
        ToolCall("a", FunctionCall("f", arguments)),
        ToolCall("b", FunctionCall("f", '{"n":4}')),
    )
    history = (Message("user", "hi"), Message("assistant", None, tool_calls=calls))
    sent = adapted(CompletionRequest(model="claude-haiku-4-5", messages=history)).messages
    assert sent[0] is history[0]
    assert [call.function.arguments for call in sent[1].tool_calls] == ['{"_":""}', '{"n":4}']
