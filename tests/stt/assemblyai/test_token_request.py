"""Requests for temporary tokens."""

import pytest

from pipeline.errors import InputError, SttBusy, SttLost, SttRefused
from pipeline.stt.assemblyai.token_request import TokenRequest, parse_token_request, refusal


def test_a_token_is_valid_for_a_minute_by_default() -> None:
    assert parse_token_request({}) == TokenRequest(60, None)
    asked = {"expires_in_seconds": "600", "max_session_duration_seconds": "10800"}
    assert parse_token_request(asked) == TokenRequest(600, 10_800)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("expires_in_seconds", "0"),
        ("expires_in_seconds", "601"),
        ("expires_in_seconds", "-5"),
        ("expires_in_seconds", "1.5"),
        ("expires_in_seconds", "²"),
        ("max_session_duration_seconds", "59"),
        ("max_session_duration_seconds", "10801"),
    ],
)
def test_a_number_out_of_range_is_refused_with_the_range(name: str, text: str) -> None:
    with pytest.raises(InputError, match=rf"{name} is '{text}'; it must be .* from \d+ to \d+"):
        parse_token_request({name: text})


def test_a_field_that_there_is_not_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'max_session'; did you mean max_session_dur"):
        parse_token_request({"max_session": "60"})


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (401, b'{"error":"Invalid API key"}', SttRefused, "Invalid API key; check the key"),
        (422, b'{"detail":[{"msg":"too big"}]}', SttRefused, "too big"),
        (429, b"", SttBusy, "HTTP 429; wait a minute"),
        (503, b"<html>\n oh", SttLost, "HTTP 503: <html> oh"),
    ],
)
def test_a_refusal_quotes_the_server(
    status: int, body: bytes, kind: type[Exception], text: str
) -> None:
    error = refusal(status, body, "host")
    assert type(error) is kind
    assert text in str(error)
