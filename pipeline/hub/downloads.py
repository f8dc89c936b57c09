"""Files over HTTP, sent beside the event loop: a thread for each, so that no reader holds us up."""

import os
import socket
from contextlib import suppress

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from pipeline.hub.service import Download
from pipeline.hub.socket import WatchedConnection
from pipeline.protocol.close_codes import CloseCode, Disconnect

AT_ONCE = 8  #: downloads; each has a thread
STALL = 10.0  #: seconds in which a reader takes nothing, then it is cut
LONGEST = 3600.0  #: seconds of one download


class Downloads:
    """The downloads that are under way."""

    def __init__(self, tasks: TaskGroup) -> None:
        """``tasks`` runs them; cancelling it ends them."""
        self._tasks = tasks
        self._threads = anyio.CapacityLimiter(AT_ONCE)
        self._under_way = 0

    async def begin(self, connection: WatchedConnection, file: Download) -> None:
        """Answer with ``file``, and return once the connection is not the server's any more.

        ``websockets`` gives a plain answer a few seconds, and holds all of it in memory; so the
        socket is taken from it, which works as long as we speak no TLS by ourselves. Raises
        ``Disconnect`` when there are too many.
        """
        if self._under_way >= AT_ONCE:
            raise Disconnect(
                f"{self._under_way} downloads are under way: try later", code=CloseCode.LATER
            )
        lent = connection.transport.get_extra_info("socket")
        if lent is None:
            return  # it is over
        self._under_way += 1
        raw = socket.socket(fileno=os.dup(lent.fileno()))
        self._tasks.start_soon(self._send, raw, file)
        connection.transport.abort()  # closes the server's descriptor, and not ours
        await connection.wait_closed()

    async def _send(self, raw: socket.socket, file: Download) -> None:
        try:
            with anyio.move_on_after(LONGEST):
                await anyio.to_thread.run_sync(
                    _copy, raw, file, limiter=self._threads, abandon_on_cancel=True
                )
        finally:
            self._under_way -= 1
            with suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)  # a thread that is still at it ends by that


def head_of(file: Download) -> bytes:
    """Return the beginning of the answer that ``file`` is."""
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
    """Send the whole answer; a reader that goes or stalls ends it. Blocks."""
    with suppress(OSError), raw:
        raw.settimeout(STALL)
        raw.sendall(head_of(file) + file.head)
        with file.path.open("rb") as source:
            if file.size:  # else it would send what has come since
                raw.sendfile(source, file.start, file.size)
