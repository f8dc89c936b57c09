"""Removal of a request's words from the errors of servers that quote them."""

import json

import pytest

from pipeline.gateway.quoted_words import OMITTED, QuotedWords, request_words
from pipeline.interfaces.llm import CompletionRequest, FunctionCall, Message, ToolCall

SAID = 'My "secret" number is 4711, señor;\nplease keep it to yourself.'


def without_words(text: str, words: list[str]) -> str:
    return QuotedWords(words).remove(text)


@pytest.mark.parametrize(
    "quoted",
    [
        SAID,
        SAID[:20] + "...",
        "..." + SAID[-25:],
        " ".join(SAID.split()),
        json.dumps(SAID),
        json.dumps(SAID, ensure_ascii=False),
        json.dumps({"detail": json.dumps({"input": SAID})}),
    ],
)
def test_no_quotation_of_a_message_is_left(quoted: str) -> None:
    cleaned = without_words(f'{{"error": {{"message": "not valid: {quoted}"}}}}', [SAID])
    assert cleaned.startswith('{"error": {"message": "not valid: ')
    assert OMITTED in cleaned
    assert not any(word in cleaned for word in ("secret", "4711", "yourself"))


@pytest.mark.parametrize("said", ["My PIN is 12", "hi", "oui", "こんにちは"])
def test_a_short_message_is_found_as_a_whole(said: str) -> None:
    assert without_words(f'{{"input": "{said}", "x": "this"}}', [said]) == (
        f'{{"input": "{OMITTED}", "x": "this"}}'
    )


def test_what_is_no_quotation_stays_whole() -> None:
    body = '{"error": {"message": "The model does not support max_tokens", "code": "bad_value"}}'
    assert without_words(body, ["error", "Which model is best?", "a", ""]) == body
    assert without_words(body, []) == body
    assert without_words("", [SAID]) == ""


def test_of_a_long_request_the_newest_words_are_found() -> None:
    older = ["word " * 20_000, "other words " * 9_000]
    assert without_words(f"bad: {SAID}", [*older, SAID]) == f"bad: {OMITTED}"


def test_the_words_of_a_request_include_its_parts_and_tool_arguments() -> None:
    call = ToolCall("c", FunctionCall("f", '{"name": "Ann"}'))
    request = CompletionRequest(
        model="m",
        messages=(Message("user", "one"), Message("assistant", None, tool_calls=(call,))),
        forwarded=(
            {"role": "user", "content": [{"type": "text", "text": "two"}, {"image_url": {}}, 3]},
            {"role": "user", "content": "one"},
            {"role": "assistant"},
        ),
    )
    assert list(request_words(request)) == ["one", '{"name": "Ann"}', "two"]
