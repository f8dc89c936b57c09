"""Error bodies and refusals of many vendors: the server's words, and why it refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import GatewayBusy, GatewayError, GatewayLost, GatewayRefused, RefusalCause
from pipeline.gateway.error_bodies import MAX_REASON, read_error, status_inside
from pipeline.gateway.error_responses import BUSY, refusal
from pipeline.gateway.stream import ReplyReader

WORDS = "model x is not supported"


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"code": 400, "message": WORDS, "request_id": "r1", "metadata": {}}),
        json.dumps({"error": {"code": 400, "message": WORDS, "metadata": {}}}),
        json.dumps({"error": WORDS, "status": "error", "request_id": "r1"}),
        json.dumps([{"error": {"code": 400, "message": WORDS, "status": "INVALID_ARGUMENT"}}]),
        json.dumps({"detail": WORDS}),
        json.dumps({"detail": [{"type": "value_error", "msg": WORDS}]}),
        json.dumps({"object": "error", "message": {"detail": [{"msg": WORDS}]}, "code": 1}),
        json.dumps({"type": "error", "error": {"type": "not_found_error", "message": WORDS}}),
        json.dumps({"error": {"message": json.dumps({"error": {"message": WORDS}})}}),
        json.dumps({"errors": [{"message": WORDS}, {"message": WORDS}]}),
        json.dumps({"title": "Bad Request", "detail": WORDS}),
        json.dumps({"error_code": 336, "error_msg": WORDS}),
        json.dumps({"error": {"errors": [WORDS]}}),
        json.dumps(WORDS),
        f"<!DOCTYPE html>\n<html><head><title>{WORDS}</title></head><body>nginx</body></html>",
        "  <html><body><h1>model&#32;x\n is not supported</h1></body></html>",
        "model x\n is not supported",
    ],
)
def test_the_words_are_found_in_every_format(text: str) -> None:
    assert read_error(text).reason == WORDS


def test_details_that_the_words_lack_are_named() -> None:
    text = '{"message":"invalid","metadata":{"errors":["depth: 3 > 2"]}}'
    assert read_error(text).reason == "invalid (depth: 3 > 2)"
    passed_on = {"message": "Provider returned error", "metadata": {"raw": '{"error":"no GPU"}'}}
    assert read_error(json.dumps({"error": passed_on})).reason == "Provider returned error (no GPU)"
    refused = {"detail": [{"loc": ["body", "x"], "msg": "not permitted"}]}
    assert read_error(json.dumps(refused)).reason == "body.x: not permitted"


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"error": {}}', '{"error": null}', "7"])
def test_an_error_without_words_has_no_reason(text: str) -> None:
    assert read_error(text).reason == ""
    failure = refusal(400, {}, text.encode(), host="h")
    assert failure.cause == "unexplained"
    assert str(failure) == "h answered 400: no reason given"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "detail", "code", "metadata", "errors", "loc", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)


@given(st.integers(300, 599), _json.map(json.dumps) | st.text() | st.just("[" * 9999))
def test_any_body_becomes_one_bounded_error(status: int, text: str) -> None:
    failure = refusal(status, {}, text.encode("utf-8", "surrogatepass"), host="h", key="")
    assert len(str(failure)) < MAX_REASON + 200
    assert "\n" not in str(failure)
    if isinstance(failure, GatewayRefused):
        assert failure.cause is not None
    elif failure.cause is not None:
        assert (status, failure.cause) == (429, "funds")


def body(message: str, **fields: Any) -> bytes:
    return json.dumps({"error": {"message": message, **fields}}).encode()


#: (status, body) as vendors send them
REFUSALS: dict[RefusalCause, list[tuple[int, bytes]]] = {
    "content": [
        (400, body("The prompt triggered Azure's policy.", code="content_filter")),
        (400, body("x", innererror={"code": "ResponsibleAIPolicyViolation"})),
        (400, body("Your request was rejected as a result of our safety system.")),
        (400, body("Content Exists Risk", type="invalid_request_error")),
        (403, body("Your chosen model requires moderation and your input was flagged", code=403)),
        (400, body("Input data may contain inappropriate content.", code="data_inspection_failed")),
        (400, body("litellm.ContentPolicyViolationError: x", code="content_policy_violation")),
        (500, body("Output blocked by content filtering policy")),
        (400, body("System detected potentially unsafe or sensitive content.", code="1301")),
        (403, b'{"code":"x","error":"Content violates usage guidelines. Failed check: X"}'),
        (400, b'{"base_resp":{"status_code":1026,"status_msg":"input new_sensitive"}}'),
        (400, body("the content may contain illegal or harmful content")),
    ],
    "length": [
        (400, body("This model's maximum context length is 512 tokens.")),
        (400, body("x", code="context_length_exceeded", param="messages")),
        (400, body("request (900 tokens) exceeds the available context size (512 tokens)")),
        (500, body("the context size was exceeded", type="exceed_context_size_error")),
        (400, body("prompt is too long: 250000 tokens > 200000 maximum")),
        (413, body("Request exceeds the maximum size", type="request_too_large")),
        (400, body("The input token count (9000) exceeds the maximum number of tokens allowed.")),
        (400, b'{"code":400,"message":"model context limit exceeded","request_id":"r"}'),
        (
            400,
            body("'max_tokens' is too large: 200. The context length is 512", param="max_tokens"),
        ),
        (422, body("Input tokens exceed the configured limit of 272000 tokens.")),
        (400, body("Range of input length should be [1, 30720]")),
        (400, b'{"errors":[{"message":"the number of input tokens 9000 cannot exceed 8192"}]}'),
    ],
    "model": [
        (404, body("The model `m` does not exist.", code="model_not_found")),
        (404, body("x", code="DeploymentNotFound")),
        (404, b'{"error":"model \\"m\\" not found, try pulling it first"}'),
        (400, b'{"code":400,"message":"model m is not supported"}'),
        (400, b'{"message":"Your account does not have access to this LLM Gateway model"}'),
        (400, body("The model `m` has been decommissioned.", code="model_decommissioned")),
        (400, b'{"message":"Invalid model: m","type":"invalid_model","code":"1500"}'),
        (400, b'{"message":"model m does not support tools"}'),
        (400, body("Unsupported parameter: 'max_tokens'", code="unsupported_parameter")),
        (404, body("No endpoints found for m.", code=404)),
        (404, b'{"error":{"type":"not_found_error","message":"model: claude-x"}}'),
        (400, body("a/b is not a valid model ID", code=400)),
        (400, b'{"message":"The provided model identifier is invalid."}'),
        (400, body("Invocation of model m with on-demand throughput isn\u2019t supported.")),
        (400, body("registry.example/library/m:2b does not support tools")),
    ],
    "key": [
        (401, body("Incorrect API key provided.", code="invalid_api_key")),
        (401, b""),
        (400, b'[{"error":{"message":"API key not valid.","status":"INVALID_ARGUMENT"}}]'),
        (403, body("no", type="authentication_error")),
        (403, b'{"message":"The security token included in the request is invalid."}'),
    ],
    "funds": [
        (402, body("Insufficient credits.", code=402)),
        (400, body("Your credit balance is too low to access the API.")),
        (403, body("x", code="insufficient_quota")),
        (400, body("Budget has been exceeded! Current cost: 10", type="budget_exceeded")),
    ],
    "permission": [
        (403, body("Your organization must be verified.")),
        (403, body("x", code="unsupported_country_region_territory")),
        (403, b"<html><title>403 Forbidden</title></html>"),
        (451, b""),
    ],
    "address": [
        (404, b'{"detail":"Not Found"}'),
        (404, b"<html><title>404 Not Found</title></html>"),
        (405, b""),
        (307, b""),
    ],
    "malformed": [
        (400, body("Invalid type for 'messages[0].content': expected a string.")),
        (422, b'{"detail":[{"type":"extra_forbidden","loc":["body","x"],"msg":"not permitted"}]}'),
        (400, body("max_tokens is too large: 5000 tokens.", param="max_tokens")),
        (400, b'{"message":"response_format is invalid","code":400}'),
    ],
}


@pytest.mark.parametrize(
    ("cause", "status", "sent"),
    [(cause, *each) for cause, known in REFUSALS.items() for each in known],
)
def test_the_cause_of_a_refusal_is_recognised(
    cause: RefusalCause, status: int, sent: bytes
) -> None:
    failure = refusal(status, {}, sent, host="h", key="sk-1")
    assert isinstance(failure, GatewayRefused)
    assert failure.cause == cause


@pytest.mark.parametrize("status", [424, 499, 500, 502, 520])
def test_a_failure_that_passes_is_no_refusal(status: int) -> None:
    failure = refusal(status, {}, body("the model failed"), host="h")
    assert isinstance(failure, GatewayLost)
    assert failure.cause is None


@pytest.mark.parametrize("status", sorted(BUSY))
def test_a_busy_server_is_busy_whatever_it_says(status: int) -> None:
    failure = refusal(status, {}, body("the maximum context length was flagged"), host="h")
    assert isinstance(failure, GatewayBusy)
    assert failure.cause is None


def test_a_rate_limit_without_funds_behind_it_is_distinguished() -> None:
    spent = refusal(429, {}, body("check your plan", code="insufficient_quota"), host="h")
    assert isinstance(spent, GatewayBusy)
    assert spent.cause == "funds"


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        ({"code": 429}, 429, GatewayBusy),
        ({"code": "502"}, 502, GatewayLost),
        ({"type": "overloaded_error"}, 529, GatewayBusy),
        ({"code": "rate_limit_exceeded"}, 429, GatewayBusy),
        ({"status": "RESOURCE_EXHAUSTED"}, 429, GatewayBusy),
        ({"type": "authentication_error"}, 401, GatewayRefused),
        ({"type": "not_found_error"}, 404, GatewayRefused),
        ({"type": "invalid_request_error"}, 400, GatewayRefused),
        ({"code": "context_length_exceeded"}, 500, GatewayRefused),
        ({"type": "server_error"}, 500, GatewayLost),
        ({"code": 10**400}, 500, GatewayLost),
        ({}, 500, GatewayLost),
    ],
)
def test_an_error_under_status_200_has_the_status_inside(
    error: dict[str, Any], status: int, kind: type[GatewayError]
) -> None:
    text = json.dumps({"error": error})
    assert status_inside(read_error(text)) == status
    with pytest.raises(kind) as caught:
        ReplyReader("h", {}).feed(b"data: " + text.encode() + b"\n\n")
    assert caught.value.status == status
