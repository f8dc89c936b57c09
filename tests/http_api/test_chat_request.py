"""Bodies of chat completion requests: what is taken, and how the rest is refused."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.http_api.chat_request import MAX_MESSAGES, MAX_NAME, ParsedBody, parse_body
from pipeline.http_api.errors import ApiError
from pipeline.interfaces.completions import Caller

HELLO: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def parsed(body: object, conversation: str = "") -> ParsedBody:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_body(data, request_id="r1", caller=Caller(), conversation=conversation)


def test_messages_are_forwarded_as_they_came_and_read_as_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]
    messages = [
        {"role": "system", "content": "Be brief.", "cache_control": {"type": "ephemeral"}},
        {"role": "user", "content": parts},
    ]
    request = parsed({"model": "m", "messages": messages}).call.request
    assert list(request.forwarded) == messages
    assert [message.content for message in request.messages] == ["Be brief.", "a"]


def test_fields_without_a_rule_of_ours_stay_in_the_body() -> None:
    request = parsed(
        {**HELLO, "max_tokens": 5, "seed": 7, "reasoning_effort": "low", "user": None}
    ).call.request
    assert request.max_tokens == 5
    assert request.extra == {"seed": 7, "reasoning_effort": "low"}


def test_a_prompt_is_one_user_message() -> None:
    request = parsed({"model": "m", "prompt": "Hello"}).call.request
    assert list(request.forwarded) == [{"role": "user", "content": "Hello"}]


def test_the_gateways_own_fields_do_not_reach_the_provider() -> None:
    own = {
        "conversation": "c1",
        "conversation_policy": "queue",
        "speculative": True,
        "share_identical": True,
    }
    call = parsed({**HELLO, **own}).call
    assert (call.conversation, call.policy, call.speculative, call.share) == (
        "c1",
        "queue",
        True,
        True,
    )
    assert call.request.extra == {}


def test_the_conversation_may_come_in_a_header() -> None:
    assert parsed(HELLO, "call-7").call.conversation == "call-7"
    assert parsed({**HELLO, "conversation": "c1"}, "call-7").call.conversation == "c1"


def test_usage_ends_a_stream_only_if_requested() -> None:
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    assert parsed({**HELLO, **asked}).include_usage
    assert not parsed({**HELLO, "stream": True}).include_usage


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        ({"model": "m" * (MAX_NAME + 1)}, "model"),
        ({"model": "a\nb"}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}] * (MAX_MESSAGES + 1)}, "messages"),
        ({"messages": ["Hello"]}, "messages[0]"),
        ({"messages": [{"role": "caller", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"prompt": "x"}, "prompt"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {}}, "stream_options"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"conversation": "c" * (MAX_NAME + 1)}, "conversation"),
        ({"conversation_policy": "shout"}, "conversation_policy"),
        ({"speculative": 1}, "speculative"),
    ],
)
def test_what_cannot_be_is_refused_by_the_name_of_its_field(
    change: dict[str, Any], param: str
) -> None:
    with pytest.raises(ApiError) as refused:
        parsed({**HELLO, **change})
    assert (refused.value.status, refused.value.param) == (400, param)
    assert str(refused.value).startswith(param)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError, match="the body is not") as refused:
        parsed(body)
    assert refused.value.code == "invalid_json"


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
FIELDS = ["model", "messages", "prompt", "stream", "stream_options", "n", "max_tokens", "tools"]


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON), st.booleans())
def test_no_body_does_more_than_be_refused(fields: dict[str, Any], whole: bool) -> None:
    with suppress(ApiError):
        parsed({**(HELLO if whole else {}), **fields})


@settings(max_examples=60)
@given(st.lists(st.dictionaries(st.sampled_from(["role", "content", "tool_calls"]), JSON)))
def test_no_message_does_more_than_be_refused(messages: list[dict[str, Any]]) -> None:
    with suppress(ApiError):
        parsed({"model": "m", "messages": [{"role": "assistant", **each} for each in messages]})
