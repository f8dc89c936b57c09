"""Plain sockets with small buffers, for websocket clients that stop reading."""

import socket

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def small_buffer_socket(url: str, size: int) -> socket.socket:
    """Return a connection with a receive buffer of ``size`` bytes."""
    host, _, port = url.removeprefix("ws://").partition(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    sock.connect((host, int(port)))
    return sock


def stalled_websocket(url: str, path: str) -> socket.socket:
    """Return a websocket that never reads; close it."""
    sock = small_buffer_socket(url, 4096)
    sock.sendall(HANDSHAKE.format(path=path).encode())
    return sock
