"""Errors that a reply carries in shapes of their own, and end markers in other spellings."""

import pytest

from pipeline.errors import GatewayError
from pipeline.gateway.stream import ReplyReader
from pipeline.interfaces.llm import Finished, Piece, TextDelta

HI = b'data: {"id":"c","choices":[{"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
REASON = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'


def read(body: bytes) -> tuple[list[Piece], GatewayError | None]:
    """Return the pieces of a reply and the error that ends it."""
    reader = ReplyReader("h", {})
    pieces: list[Piece] = []
    try:
        pieces += reader.feed(body)
        pieces += reader.end()
    except GatewayError as failure:
        return pieces, failure
    return pieces, reader.failure


ERRORS = [
    b'{"detail":"no memory"}',
    b'{"errors":[{"message":"no memory"}]}',
    b'{"object":"error","message":"no memory","code":500}',
    b'{"modelStreamErrorException":{"message":"no memory","originalStatusCode":500}}',
    b'{"base_resp":{"status_code":1013,"status_msg":"no memory"}}',
    b'{"success":false,"msg":"no memory"}',
    b'{"error":"no memory"}',
]


@pytest.mark.parametrize("error", ERRORS)
def test_an_object_that_is_no_completion_ends_the_reply_with_its_words(error: bytes) -> None:
    for body in (error, b"data: " + error + b"\n\n"):
        pieces, failure = read(body)
        assert not pieces
        assert "no memory" in str(failure)
    pieces, failure = read(HI + b"data: " + error + b"\n\ndata: [DONE]\n\n")
    assert pieces == [TextDelta("Hi")]
    assert "no memory" in str(failure)


@pytest.mark.parametrize(
    "line", [b'{"error":"no memory"}\n', b'error: {"code":500,"message":"no memory"}\n\n']
)
def test_an_error_in_a_line_of_its_own_is_told_after_content(line: bytes) -> None:
    pieces, failure = read(HI + line)
    assert pieces in ([TextDelta("Hi")], [])
    assert "no memory" in str(failure)
    assert read(HI + REASON + line)[1] is None


@pytest.mark.parametrize(
    "event",
    [
        b'{"choices":[],"prompt_filter_results":[{"content_filter_results":{}}]}',
        b'{"type":"ping"}',
        b'{"id":"c","detail":"queued"}',
    ],
)
def test_an_event_that_says_nothing_of_an_error_is_skipped(event: bytes) -> None:
    pieces, failure = read(b"data: " + event + b"\n\n" + HI + REASON)
    assert failure is None
    assert TextDelta("Hi") in pieces


@pytest.mark.parametrize(
    "marker", [b"[DONE]", b"[done]", b'"[DONE]"', b" [DONE] ", b"DONE", b"<eos>", b"{}", b"null"]
)
def test_nothing_after_the_finish_reason_loses_the_reply(marker: bytes) -> None:
    for end in (b"\n\n", b"\n", b""):
        pieces, failure = read(HI + REASON + b"data: " + marker + end)
        assert failure is None
        last = pieces[-1]
        assert isinstance(last, Finished)
        assert last.complete
