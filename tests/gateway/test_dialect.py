"""Parameters of servers that are not like OpenAI's."""

import json
from typing import Any

import pytest

from pipeline.gateway.dialect import Dialect, family_of, hint
from pipeline.gateway.wire import encode_request
from pipeline.interfaces.llm import CompletionRequest, Message

SCHEMA: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {"name": "a", "schema": {}, "strict": True},
}


def sent(host: str, model: str, dialect: Dialect | None = None, **fields: Any) -> Any:
    request = CompletionRequest(
        model=model, messages=(Message("user", "hi"),), max_tokens=200, temperature=0.5, **fields
    )
    used = dialect or Dialect(request_usage=True)
    body = json.loads(encode_request(used.adapted(request, host)))
    return {name: body[name] for name in body if name not in ("model", "messages", "stream")}


USAGE = {"stream_options": {"include_usage": True}}
ALL = {"max_tokens": 200, "temperature": 0.5, **USAGE}


@pytest.mark.parametrize(
    ("host", "model", "body"),
    [
        ("127.0.0.1:8000", "gpt-5", ALL),
        ("api.openai.com", "gpt-4o", {"max_completion_tokens": 200, "temperature": 0.5, **USAGE}),
        ("api.openai.com:443", "gpt-5-mini", {"max_completion_tokens": 200, **USAGE}),
        ("api.openai.com", "o3", {"max_completion_tokens": 200, **USAGE}),
        ("x.openai.azure.com", "o4-mini", {"max_completion_tokens": 200, **USAGE}),
        ("x.openai.azure.com", "gpt-4o", ALL),
        ("x.services.ai.azure.com", "Mistral-Large-2411", {"max_tokens": 200, "temperature": 0.5}),
        ("api.mistral.ai", "ministral-8b", {"max_tokens": 200, "temperature": 0.5}),
        ("api.deepseek.com", "deepseek-chat", ALL),
        ("evil-api.openai.com.example", "o3", ALL),
    ],
)
def test_known_servers_are_sent_what_they_take(host: str, model: str, body: Any) -> None:
    assert sent(host, model) == body


@pytest.mark.parametrize(
    ("names", "body"),
    [
        ({"max_tokens": "max_completion_tokens"}, {"max_completion_tokens": 200}),
        ({"max_tokens": ""}, {}),
        ({"max_tokens": "num_predict", "top_k": "k"}, {"num_predict": 200, "k": 5}),
    ],
)
def test_settings_rename_a_parameter_or_leave_it_out(names: dict[str, str], body: Any) -> None:
    found = sent("h", "m", Dialect(names=names), extra={"top_k": 5})
    assert found == {"temperature": 0.5, "top_k": 5} | body or found == {"temperature": 0.5} | body


def test_a_prompt_leaves_fields_out_and_an_own_value_wins() -> None:
    omit = ("temperature", "stream_options", "strict")
    found = sent("h", "m", omit=omit, extra={"response_format": SCHEMA})
    schema: dict[str, Any] = {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}
    assert found == {"max_tokens": 200, "response_format": schema}
    renaming = Dialect(names={"max_tokens": "limit"})
    assert sent("h", "m", renaming, extra={"limit": 7}) == {"temperature": 0.5, "limit": 7}


def test_json_modes_by_setting_and_by_family() -> None:
    assert Dialect().mode_of("h", "m") is None
    assert Dialect().mode_of("api.deepseek.com", "deepseek-chat") == "json_object"
    assert Dialect(json_mode="prompt").mode_of("api.deepseek.com", "x") == "prompt"
    assert Dialect(names={"response_format": ""}).mode_of("h", "m") == "prompt"
    assert family_of("api.groq.com", "llama-3.1-8b-instant").json_mode == "json_object"
    assert family_of("api.groq.com", "openai/gpt-oss-20b").json_mode == "response_format"


@pytest.mark.parametrize(
    ("status", "reason", "setting"),
    [
        (400, "Unsupported parameter: 'max_tokens'", 'omit = ["max_tokens"]'),
        (422, "body.stream_options: Extra inputs are not permitted", 'omit = ["stream_options"]'),
        (400, "This response_format type is unavailable now", "llm.json_mode"),
        (400, "Unknown name \"strict\" at 'response.schema'", 'omit = ["strict"]'),
    ],
)
def test_a_refusal_that_names_a_parameter_says_which_setting(
    status: int, reason: str, setting: str
) -> None:
    assert setting in (hint(status, reason) or "")


def test_other_refusals_have_no_hint() -> None:
    assert hint(400, "the content is not allowed") is None
    assert hint(429, "max_tokens per minute reached") is None
    assert hint(None, "max_tokens") is None
