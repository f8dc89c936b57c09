"""A client of many connections: ``many_connections.py PORT COUNT AT_ONCE``.

One connection in ten sends a whole handshake.
"""

import socket
import sys
from contextlib import suppress

HANDSHAKE = (
    b"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def crowd(port: int, count: int, at_once: int) -> None:
    """Connect ``count`` times; close the oldest when more than ``at_once`` are open."""
    opened: list[socket.socket] = []
    for number in range(count):
        sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        opened.append(sock)
        with suppress(ConnectionError):
            sock.sendall(HANDSHAKE if number % 10 == 0 else HANDSHAKE[:40])
        if len(opened) > at_once:
            opened.pop(0).close()
    for sock in opened:
        sock.close()


if __name__ == "__main__":
    crowd(*map(int, sys.argv[1:]))
