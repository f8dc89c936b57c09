"""Plain sockets with small buffers: for websockets that do not read as they should."""

import socket

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def narrow(url: str, size: int) -> socket.socket:
    """Return a connection to a server whose buffer for what it receives has ``size`` bytes."""
    host, _, port = url.removeprefix("ws://").partition(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    sock.connect((host, int(port)))
    return sock


def deaf(url: str, path: str) -> socket.socket:
    """Return a websocket that never reads; close it."""
    sock = narrow(url, 4096)
    sock.sendall(HANDSHAKE.format(path=path).encode())
    return sock
