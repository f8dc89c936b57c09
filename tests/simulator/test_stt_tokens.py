"""Temporary tokens of the scripted speech-to-text server."""

import json

from pipeline.simulator.scenario import TokenLine
from pipeline.simulator.stt_tokens import TokenIssuer


def issued(tokens: TokenIssuer, **query: str) -> str:
    token: str = json.loads(tokens.issue(query, "key", "key", 100.0).body)["token"]
    return token


def test_a_token_opens_sessions_until_it_expires() -> None:
    tokens = TokenIssuer(())
    token = issued(tokens, expires_in_seconds="10")
    assert tokens.refusal(token, "key", 110.0) is None
    assert tokens.refusal(token, "key", 110.1) == "Signature has expired"
    assert tokens.refusal("temporary-9", "key", 100.0) == "Invalid API key"


def test_a_session_lasts_as_long_as_its_token_says() -> None:
    tokens = TokenIssuer(())
    token = tokens.issued(
        issued(tokens, expires_in_seconds="10", max_session_duration_seconds="90")
    )
    assert token is not None
    assert token.duration == 90


def test_a_request_that_is_not_right_is_answered_as_the_vendor_does() -> None:
    tokens = TokenIssuer(())
    assert tokens.issue({"expires_in_seconds": "5"}, "other", "key", 0.0).status == 401
    assert tokens.issue({}, "Bearer key", "key", 0.0).status == 422
    assert tokens.issue({"expires_in_seconds": "601"}, "key", "key", 0.0).status == 422


def test_lines_answer_in_order_and_the_last_one_serves_the_rest() -> None:
    tokens = TokenIssuer((TokenLine(status=500, body="oh"), TokenLine(body="{}", delay_ms=50)))
    answers = [tokens.issue({}, "", None, 0.0) for _ in range(3)]
    assert answers == [(500, "oh", 0.0), (200, "{}", 0.05), (200, "{}", 0.05)]
