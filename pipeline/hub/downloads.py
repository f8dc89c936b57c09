"""Downloads over HTTP: each runs in a thread, so that a slow reader blocks nothing."""

import os
import socket
from contextlib import suppress

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from pipeline.hub.service import Download
from pipeline.hub.socket import WatchedConnection
from pipeline.protocol.close_codes import CloseCode, Disconnect

MAX_CONCURRENT = 8  #: downloads; each has a thread
STALL_TIMEOUT = 10.0  #: seconds without progress, then the connection is closed
MAX_DURATION = 3600.0  #: seconds of one download


class Downloads:
    """Downloads in progress."""

    def __init__(self, tasks: TaskGroup) -> None:
        """``tasks`` runs the downloads; cancelling it ends them."""
        self._tasks = tasks
        self._threads = anyio.CapacityLimiter(MAX_CONCURRENT)
        self._active = 0

    async def begin(self, connection: WatchedConnection, file: Download) -> None:
        """Answer with ``file``; return once the server has released the connection.

        ``websockets`` allows a plain response a few seconds and holds all of it in memory, so the
        socket is duplicated and served here; this works because the server itself speaks no TLS.
        Raises ``Disconnect`` when there are too many downloads.
        """
        if self._active >= MAX_CONCURRENT:
            raise Disconnect(
                f"{self._active} downloads are in progress: try later", code=CloseCode.LATER
            )
        transport_socket = connection.transport.get_extra_info("socket")
        if transport_socket is None:
            return  # the connection is closed
        self._active += 1
        raw = socket.socket(fileno=os.dup(transport_socket.fileno()))
        self._tasks.start_soon(self._send, raw, file)
        connection.transport.abort()  # closes the server's descriptor, not the duplicate
        await connection.wait_closed()

    async def _send(self, raw: socket.socket, file: Download) -> None:
        try:
            with anyio.move_on_after(MAX_DURATION):
                await anyio.to_thread.run_sync(
                    _copy, raw, file, limiter=self._threads, abandon_on_cancel=True
                )
        finally:
            self._active -= 1
            with suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)  # ends a thread that is still sending


def response_head(file: Download) -> bytes:
    """Return the HTTP response head for ``file``."""
    lines = (
        "HTTP/1.1 200 OK",
        f"Content-Type: {file.content_type}",
        f"Content-Length: {len(file.head) + file.size}",
        f'Content-Disposition: attachment; filename="{file.name}"',
        "Cache-Control: no-store",
        "Connection: close",
    )
    return "\r\n".join((*lines, "\r\n")).encode()


def _copy(raw: socket.socket, file: Download) -> None:
    """Send the whole response; a client that disconnects or stalls ends it. Blocks."""
    with suppress(OSError), raw:
        raw.settimeout(STALL_TIMEOUT)
        raw.sendall(response_head(file) + file.head)
        with file.path.open("rb") as source:
            if file.size:  # 0 would mean "to the end", with data written since
                raw.sendfile(source, file.start, file.size)
