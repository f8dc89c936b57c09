"""Listening socket, and the check of its address. An adapter."""

import errno
import socket

from pipeline.errors import ServeError
from pipeline.runtime.hosts import is_loopback

SEND_BUFFER = 1 << 16  #: bytes the kernel may hold for one subscriber
BACKLOG = 2048  #: connections that wait to be accepted
USER_TIMEOUT = 5000  #: milliseconds until unacknowledged data resets the connection


def check_host(host: str) -> None:
    """Raise ``ServeError`` unless ``host`` is a loopback address; for servers without tokens."""
    if not is_loopback(host):
        raise ServeError(
            f"not listening on {host} without a token: any client that reaches it could read"
            ' sessions and spend your quota; set [serve.tokens], or host = "127.0.0.1"'
        )


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises ``ServeError``. Accepted sockets inherit its options."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        where = f"{host}:{port}"
        if error.errno == errno.EADDRINUSE:
            advice = "stop what listens there, or choose another port with --port or [serve] port"
            raise ServeError(f"port {port} is taken ({where}): {advice}") from error
        raise ServeError(f"cannot listen on {where}: {error.strerror or error}") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT)
    return listener
