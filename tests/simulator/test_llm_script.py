"""Choice, refusal, rate and timing of scripted completions; every clock is a number."""

from typing import Any

import msgspec
import pytest

from pipeline.config.validation import Tree
from pipeline.simulator.llm_script import LlmScript, ParsedRequest, ScriptedReply
from pipeline.simulator.scenario import Line, read

URL = "/v1/chat/completions"


class ScriptClient:
    """Asks one set of answers, and counts."""

    def __init__(self, *lines: Line) -> None:
        self._answers = LlmScript(read(lines))
        self._number = 0

    def __call__(self, text: str = "hello", *, now: float = 0.0, **body: Any) -> ScriptedReply:
        self._number += 1
        messages: list[Tree] = [{"role": "user", "content": text}]
        value: Tree = {"model": "m", "messages": messages, **body}
        return self._answers.answer(ParsedRequest("POST", URL, {}, value, self._number), now)


def content(answer: ScriptedReply) -> str:
    return str(whole(answer)["choices"][0]["message"]["content"])


def whole(answer: ScriptedReply) -> Tree:
    return msgspec.json.decode(b"".join(p.data for p in answer.pieces), type=dict[str, Any])


def token_times(answer: ScriptedReply) -> list[float]:
    return [piece.at for piece in answer.pieces if piece.is_token]


# --- which line answers --------------------------------------------------------------------


def test_an_unmatched_request_gets_an_echo() -> None:
    assert content(ScriptClient()("hi there")) == "You said: hi there"


def test_lines_without_a_match_answer_in_order_once_each() -> None:
    ask = ScriptClient({"llm": "reply", "text": "one"}, {"llm": "reply", "text": "two"})
    assert [content(ask()) for _ in range(3)] == ["one", "two", "You said: hello"]


def test_a_match_is_found_in_the_last_user_message_again_and_again() -> None:
    ask = ScriptClient({"llm": "reply", "match": "TRAIN", "text": "choo"})
    assert [content(ask(text)) for text in ("a train?", "no", "The train!")] == [
        "choo",
        "You said: no",
        "choo",
    ]


def test_uses_can_be_counted_or_without_end() -> None:
    ask = ScriptClient(
        {"llm": "reply", "match": "x", "times": 1, "text": "once"},
        {"llm": "reply", "times": 0, "text": "ever"},
    )
    assert [content(ask("x")) for _ in range(3)] == ["once", "ever", "ever"]


def test_a_line_can_be_for_one_model() -> None:
    ask = ScriptClient({"llm": "reply", "model": "b", "text": "b here"})
    assert [content(ask(model=model)) for model in "ab"] == ["You said: hello", "b here"]


def test_content_lists_and_prompts_are_read_too() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert content(ScriptClient()(messages=[{"role": "user", "content": parts}])) == "You said: a b"
    assert content(ScriptClient()(messages=None, prompt="p")) == "You said: p"


# --- refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"messages": []}, 400, "one of messages or prompt required"),
        ({"model_region": "eu"}, 400, "model_region can only be set to global"),
        ({"fallback_config": {"depth": 3}}, 400, "depth cannot be greater than 2"),
        ({"model": "plain", "tools": []}, 400, "model plain does not support tools"),
        ({"model": "other"}, 400, "model other is not supported"),
        ({"model": "plain", "transcript_id": "no"}, 404, "transcript not found"),
        ({"model": "plain", "transcript_id": "old"}, 404, "transcript deleted"),
    ],
)
def test_what_the_gateway_refuses_is_refused(body: Tree, status: int, text: str) -> None:
    ask = ScriptClient(
        {"llm": "model", "id": "plain", "supported_parameters": ["stream"]},
        {"llm": "transcript", "id": "old", "deleted": True},
    )
    answer = ask(**body)
    assert answer.status == status
    assert text in whole(answer)["message"]


def test_a_failing_provider_gets_two_requests_unless_retry_is_off() -> None:
    ask = ScriptClient({"llm": "error", "status": 502, "internal_retry_ms": 500, "times": 0})
    assert ask().head_at == 0.5
    assert ask(fallback_config={"retry": False}).head_at == 0


def test_a_fallback_model_answers_where_the_first_one_fails() -> None:
    ask = ScriptClient(
        {"llm": "error", "model": "m", "times": 0}, {"llm": "reply", "text": "b here"}
    )
    answer = whole(ask(fallbacks=[{"model": "b"}]))
    assert (answer["model"], answer["choices"][0]["message"]["content"]) == ("b", "b here")
    assert ask().status == 500


# --- rates ---------------------------------------------------------------------------------


def test_the_request_past_the_limit_is_refused_until_the_window_ends() -> None:
    ask = ScriptClient({"llm": "limit", "requests": 30, "per_s": 60})
    statuses = [ask(now=i).status for i in range(31)]
    assert statuses == [200] * 30 + [429]
    refused = ask(now=31)
    assert refused.headers["retry-after"] == "29"
    assert refused.headers["x-ratelimit-remaining"] == "-2"
    assert whole(refused)["message"] == "too many requests for this action"
    assert ask(now=60).status == 200


def test_two_a_minute_and_each_model_for_itself() -> None:
    ask = ScriptClient({"llm": "limit", "requests": 2})
    assert [ask(model=model).status for model in "aabba"] == [200, 200, 200, 200, 429]


def test_every_answer_tells_the_rate() -> None:
    headers = ScriptClient({"llm": "limit", "requests": 2})().headers
    assert headers["x-ratelimit-limit"] == "2"
    assert headers["x-ratelimit-remaining"] == "1"
    assert headers["x-ratelimit-reset"] == "60"


# --- transcripts ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "seen"),
    [
        ("Read {{ transcript }}, {{ transcript }}", "Read THE TEXT, {{ transcript }}"),
        ("Read {{transcript}}", "Read {{transcript}}"),
    ],
)
def test_a_transcript_replaces_its_tag_once_and_only_as_spelled(message: str, seen: str) -> None:
    ask = ScriptClient({"llm": "transcript", "id": "t1", "text": "THE TEXT"})
    assert content(ask(message, transcript_id="t1")) == f"You said: {seen}"


# --- times ---------------------------------------------------------------------------------


def test_tokens_come_at_a_rate() -> None:
    line = {
        "llm": "reply",
        "text": "a b c",
        "headers_ms": 100,
        "first_token_ms": 50,
        "token_ms": 10,
    }
    assert token_times(ScriptClient(line)(stream=True)) == pytest.approx([0.15, 0.16, 0.17])


def test_tokens_come_at_given_times_and_then_at_the_rate() -> None:
    line = {"llm": "reply", "text": "a b c", "token_times_ms": [10, 500], "token_ms": 20}
    assert token_times(ScriptClient(line)(stream=True)) == pytest.approx([0.01, 0.5, 0.52])


def test_a_whole_answer_takes_as_long_as_its_tokens() -> None:
    line = {"llm": "reply", "text": "a b c", "first_token_ms": 50, "token_ms": 10}
    assert token_times(ScriptClient(line)()) == pytest.approx([0.07])
