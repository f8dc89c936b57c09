"""Error responses: the error per status and per format of the body."""

import pytest

from pipeline.errors import GatewayBusy, GatewayError, GatewayLost, GatewayRefused
from pipeline.gateway.error_responses import refusal

NEW = '{"code":400,"message":"model x is not supported","request_id":"r1","metadata":{}}'


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (307, GatewayRefused),
        (400, GatewayRefused),
        (401, GatewayRefused),
        (404, GatewayRefused),
        (429, GatewayBusy),
        (500, GatewayLost),
        (502, GatewayLost),
        (503, GatewayBusy),
        (529, GatewayBusy),
    ],
)
def test_the_status_decides_what_the_caller_may_do(status: int, kind: type[GatewayError]) -> None:
    failure = refusal(status, {}, NEW.encode(), host="h")
    assert type(failure) is kind
    assert failure.status == status
    assert failure.request_id == "r1"
    assert failure.body == NEW


def test_a_rate_limit_says_when_to_come_back() -> None:
    text = b'{"request_id":"r9","message":"too many requests for this action","code":429}'
    headers = {"retry-after": "17", "x-ratelimit-limit": "30", "x-ratelimit-remaining": "-1"}
    failure = refusal(429, headers, text, host="gateway")
    assert isinstance(failure, GatewayBusy)
    assert failure.retry_after == 17
    assert str(failure) == "gateway answered 429: too many requests for this action"


def test_a_missing_key_is_called_missing() -> None:
    failure = refusal(401, {}, b'{"error":"upgrade to use the gateway"}', host="h")
    assert "no key was sent" in str(failure)


def test_a_key_that_the_server_repeats_is_blotted_out() -> None:
    text = b'{"error":{"message":"Incorrect API key provided: sk-secret"}}'
    failure = refusal(401, {}, text, host="h", key="sk-secret")
    assert "sk-secret" not in f"{failure} {failure.body}"
    assert "ASSEMBLYAI_API_KEY" in str(failure)


def test_a_redirect_is_not_followed_and_named() -> None:
    failure = refusal(301, {"location": "https://elsewhere/v1"}, b"", host="h")
    assert "https://elsewhere/v1" in str(failure)


def test_a_server_may_say_itself_whether_to_ask_again() -> None:
    said = [refusal(500, {"x-should-retry": word}, b"", host="h") for word in ("true", "false", "")]
    assert [error.retryable for error in said] == [True, False, None]


def test_a_long_body_is_cut() -> None:
    failure = refusal(500, {}, b"x" * 1_000_000, host="h")
    assert failure.body is not None
    assert len(failure.body) == 64 * 1024
    assert len(str(failure)) < 600
