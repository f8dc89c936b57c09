"""Errors of connecting in plain words."""

import re
import socket
import ssl

import httpx
import pytest
from websockets.exceptions import InvalidMessage

from pipeline.runtime.connect_errors import CLOSED, REFUSED, why_unreachable


def wrapped(inner: BaseException, outer: BaseException) -> BaseException:
    outer.__cause__ = inner
    return outer


ERRORS = [
    (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 9)"), REFUSED),
    (wrapped(ConnectionRefusedError(111, "x"), httpx.ConnectError("[Errno 111] x")), REFUSED),
    (OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 9)"), REFUSED),
    (socket.gaierror(-2, "Name or service not known"), "there is no such host, or no network"),
    (TimeoutError(), "there was no answer in time"),
    (wrapped(EOFError(), InvalidMessage("did not receive a valid HTTP response")), CLOSED),
    (OSError(101, "Network is unreachable"), "Network is unreachable"),
    (ssl.SSLCertVerificationError(), "its certificate is not trusted"),
]


@pytest.mark.parametrize(("error", "words"), ERRORS)
def test_no_word_of_python_is_shown(error: BaseException, words: str) -> None:
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_message = "self-signed certificate"
    said = why_unreachable(error)
    assert said.startswith(words)
    assert not re.search(r"Errno|Connect call failed|Error\b", said)
