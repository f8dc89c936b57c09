"""``many_connections.py PORT COUNT AT_ONCE``: one connection in ten makes a whole handshake."""

import socket
import sys
from contextlib import suppress

HANDSHAKE = (
    b"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def crowd(port: int, count: int, at_once: int) -> None:
    """Come ``count`` times; the oldest leaves when there are more than ``at_once``."""
    inside: list[socket.socket] = []
    for number in range(count):
        sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        inside.append(sock)
        with suppress(ConnectionError):
            sock.sendall(HANDSHAKE if number % 10 == 0 else HANDSHAKE[:40])
        if len(inside) > at_once:
            inside.pop(0).close()
    for sock in inside:
        sock.close()


if __name__ == "__main__":
    crowd(*map(int, sys.argv[1:]))
