"""First bytes of a connection: which of the two protocols they are, cut anywhere."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.hub.protocol_switch import MAX_HEAD, FirstBytes

HANDSHAKE = (
    b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def detected(data: bytes) -> bool | None:
    return FirstBytes().feed(data)


@pytest.mark.parametrize(
    ("data", "is_websocket"),
    [
        (HANDSHAKE, True),
        (HANDSHAKE.replace(b"Upgrade: websocket", b"upgrade:WebSocket "), True),
        (HANDSHAKE + b"\x81\x80", True),
        (HANDSHAKE[:-2] + b"Content-Length: 0\r\n\r\n", True),
        (HANDSHAKE[:-2] + b"content-length: 2\r\n\r\n{}", False),
        (HANDSHAKE[:-2] + b"Content-Length: 00x\r\n\r\n{}", False),
        (HANDSHAKE[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False),
        (HANDSHAKE.replace(b"websocket\r\n", b"h2c\r\n"), False),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\nContent-Length: 40\r\n\r\nx\r\nUpgrade: websocket\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nX: Upgrade: websocket\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * MAX_HEAD, False),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * MAX_HEAD + b"\r\nUpgrade: websocket\r\n\r\n", False),
        (HANDSHAKE[:-1], None),
        (b"\x16\x03\x01", None),
        (b"", None),
    ],
)
def test_the_first_head_tells(data: bytes, is_websocket: bool | None) -> None:
    assert detected(data) is is_websocket


@given(st.lists(st.integers(1, len(HANDSHAKE) - 1)), st.booleans())
def test_where_it_is_cut_makes_no_difference(places: list[int], is_websocket: bool) -> None:
    head = HANDSHAKE if is_websocket else HANDSHAKE.replace(b"Upgrade: websocket", b"X: y")
    cuts = [0, *sorted({place for place in places if place < len(head)}), len(head)]
    first = FirstBytes()
    *before, last = [first.feed(head[a:b]) for a, b in pairwise(cuts)]
    assert set(before) <= {None}
    assert last is is_websocket
    assert first.data == head
