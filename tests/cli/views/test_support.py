"""Block for a provider's support: all attempts of a request, and nothing that is private."""

import pytest

from pipeline.cli.views.support import support_block
from pipeline.interfaces.llm import Message
from pipeline.interfaces.request_log import CallRecord, CallTimes

BODY = '{"error": {"message": "out of order",\n "code": "internal"}}'
REFUSED = CallRecord(
    sent=1.5,
    response_id="r_1",
    request_id="q_1",
    model="small",
    host="llm-gateway.eu.assemblyai.com",
    region="eu",
    outcome="failed",
    reason="lost",
    status=500,
    times=CallTimes(total=120.0),
    error="llm-gateway.eu.assemblyai.com returned 500: out of order",
    body=BODY,
)
ANSWERED = CallRecord(
    sent=2.0,
    response_id="r_1",
    why="retry",
    request_id="q_2",
    model="small",
    answered_by="small-0924",
    host="llm-gateway.eu.assemblyai.com",
    outcome="completed",
    status=200,
    times=CallTimes(headers=50.0, first_token=80.0, total=1200.0),
)


def test_every_attempt_is_told_with_its_whole_error_body() -> None:
    text = support_block([REFUSED, ANSWERED], str)
    assert "request       q_1, q_2\n" in text
    assert "attempts      2\n" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for line in (
        "ours r_1",
        "attempt 1 of 2 (first)",
        "time 1970-01-01T00:00:01.500Z",
        "request id q_1",
        "model small",
        "region eu",
        "host llm-gateway.eu.assemblyai.com",
        "status 500",
        "outcome failed (lost)",
        "attempt 2 of 2 (retry)",
        "model small, answered by small-0924",
        "took 1.20 s, first token after 80 ms",
    ):
        assert line in lines
    assert all(f"    {line}\n" in text for line in BODY.splitlines())


def test_a_request_without_a_response_says_so() -> None:
    lost = CallRecord(
        sent=0.0, model="m", host="h", outcome="failed", times=CallTimes(total=1.0), error="refused"
    )
    text = support_block([lost], str)
    assert "no id came back" in text
    assert "none: no response" in text
    assert "body" not in text


@pytest.mark.parametrize(
    "quoted",
    [
        "see https://ann:letmein@h.example/v1?key=letmein#letmein",
        "Authorization: Bearer letmein-0123456789",
        "Incorrect API key provided: sk-letme****6789",
        "the key LETMEIN is not valid",
        "the message 'my PIN is letmein' is not allowed",
    ],
)
def test_no_key_query_user_or_word_is_in_it(quoted: str) -> None:
    call = CallRecord(
        sent=0.0,
        model="m",
        host="ann:letmein@h.example:8000?key=letmein",
        outcome="failed",
        times=CallTimes(total=1.0),
        error=quoted,
        body=quoted,
        messages=(Message("user", "my PIN is letmein"),),
        text="letmein, you said",
    )
    text = support_block([call], lambda line: line.replace("LETMEIN", "***"))
    assert "letme" not in text.lower()
    assert "ann" not in text
    assert "h.example:8000" in text
