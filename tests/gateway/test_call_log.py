"""Call records: counted or estimated usage, price, and bounded text."""

from functools import partial

from pipeline.errors import GatewayError, GatewayLost
from pipeline.gateway.call_log import MAX_TEXT, CallInfo, CallLog, CallRecorder, bounded
from pipeline.interfaces.llm import (
    Accepted,
    CompletionRequest,
    Finished,
    Message,
    Piece,
    Prices,
    TextDelta,
    Usage,
)
from pipeline.interfaces.request_log import CallRecord

REQUEST = CompletionRequest(
    id="r1",
    session_id="s1",
    token_name="agent",
    model="m",
    messages=(Message("user", "four" * 10),),
)


def recorded(*pieces: Piece, failure: GatewayError | None = None, text: bool = False) -> CallRecord:
    log: list[CallRecord] = []
    call = CallInfo(
        request=REQUEST,
        host="h",
        sent=5.0,
        sent_at=1e9,
        price=lambda _, model: Prices(1.0, 2.0) if model == "m" else Prices(10.0, 10.0),
    )
    recording = CallRecorder(call, CallLog((log.append,), text=text))
    for at, piece in enumerate(pieces, start=1):
        recording.observe([piece], partial(float, 5.0 + at))
    recording.end(failure, 9.0)
    recording.end(None, 99.0)
    (record,) = log
    return record


def test_a_complete_reply_has_the_servers_counts_and_the_price_of_the_answering_model() -> None:
    done = Finished("stop", complete=True, usage=Usage(1000, 500), model="m", request_id="q")
    record = recorded(Accepted(), TextDelta("hello"), done)
    assert (record.session_id, record.response_id, record.request_id) == ("s1", "r1", "q")
    assert record.token_name == "agent"
    assert (record.outcome, record.reason, record.status) == ("completed", "stop", 200)
    assert (record.times.headers, record.times.first_token, record.times.total) == (1e3, 2e3, 4e3)
    assert record.usage == Usage(1000, 500)
    assert record.cost == 0.002
    assert record.sent == 1e9


def test_a_cancelled_call_has_an_estimate_marked_as_such() -> None:
    record = recorded(Accepted(), TextDelta("12345678"))
    assert record.outcome == "cancelled"
    assert record.usage == Usage(10, 2, estimated=True)


def test_a_refusal_costs_nothing_that_we_know_of() -> None:
    record = recorded(failure=GatewayLost("503", status=503, body="{}"))
    assert (record.outcome, record.usage, record.cost, record.body) == ("failed", None, None, "{}")


def test_texts_are_kept_only_when_that_is_enabled() -> None:
    silent = recorded(Accepted(), TextDelta("hello"))
    assert (silent.messages, silent.text) == (None, None)
    kept = recorded(Accepted(), TextDelta("hel"), TextDelta("lo"), text=True)
    assert (kept.messages, kept.text) == (REQUEST.messages, "hello")


def test_an_error_holds_no_quotation_of_the_request_unless_texts_are_kept() -> None:
    quoted = GatewayLost("no: " + "four" * 10, status=422, body='{"input": "' + "four" * 10 + '"}')
    silent = recorded(failure=quoted)
    assert (silent.error, silent.body) == ("no: [...]", '{"input": "[...]"}')
    kept = recorded(failure=quoted, text=True)
    assert (kept.error, kept.body) == (str(quoted), quoted.body)


def test_of_a_long_conversation_the_newest_messages_are_kept() -> None:
    long = Message("user", "x" * (MAX_TEXT - 10))
    kept = bounded((Message("system", "s"), Message("user", "y" * 40), long))
    assert [len(message.content or "") for message in kept] == [10, MAX_TEXT - 10]
