"""One HTTP/1.1 connection as an asyncio protocol: writes a request, parses head and body."""

import asyncio
import select
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import httptools

from pipeline.errors import GatewayLost

MAX_HEAD = 64 * 1024  #: bytes of status line and headers; also of chunk headers and trailers
HIGH_WATER = 256 * 1024  #: bytes of unread body above which reading stops
LOW_WATER = 64 * 1024  #: bytes of unread body below which reading resumes


class HttpConnection(asyncio.Protocol):
    """Connection that carries one request at a time.

    A request is sent only while it is neither busy nor broken. One task at a time waits for it,
    on one future.
    """

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.used = 0  #: requests so far
        self.idle_since = 0.0  #: on the loop's clock
        self.is_broken = False  #: closed by either side
        self.is_busy = False  #: a request was sent and its response is not complete
        self.when_done: Callable[[], None] | None = None  #: called once, when the response ends
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._deadline: float | None = None  # of the waiting task, on the loop's clock
        self._timer: asyncio.TimerHandle | None = None  # due at the deadline, or earlier
        self._is_tls = False
        self._write_blocked = False
        self._paused = False
        self.reset()

    def reset(self) -> None:
        """Reset the state of the previous response."""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.has_head = False  #: the final head has arrived (not 1xx)
        self.is_complete = False  #: the body ended by its length or last chunk
        self.ended = False  #: no more of this body can arrive
        self.framed = False  #: the body has a length or is chunked
        self.received = 0  #: bytes of this response
        self.keep_alive = False
        self.failure: Exception | None = None
        self._head_bytes = 0  # received since the last part of the body
        self._body: deque[bytes] = deque()
        self._unread = 0

    # --- called by the exchange --------------------------------------------------------------

    def send(self, request: bytes) -> None:
        """Write a serialised request; the response's head and body follow."""
        self.reset()
        self._parser = httptools.HttpResponseParser(self)
        self.is_busy = True
        self.used += 1
        self.transport.write(request)

    @property
    def is_written(self) -> bool:
        """Whether the request is written, except for asyncio's buffer, or need not be written."""
        return not self._write_blocked or self.received > 0 or self.is_broken

    @property
    def has_unread(self) -> bool:
        """Whether unread body, or its end, has arrived."""
        return bool(self._body) or self.ended

    def is_usable(self) -> bool:
        """Return whether the connection is idle and not known to be closed by the server."""
        if self.is_broken or self.is_busy or self.transport.is_closing():
            return False
        if self._is_tls:
            return True  # session tickets make an idle TLS connection readable
        return not self._poll.poll(0)  # an end of file that the loop has not read yet

    def take(self) -> bytes:
        """Return the unread part of the body that has arrived."""
        if not self._body:
            return b""
        data = self._body.popleft() if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._unread = 0
        if self._paused:
            self._paused = False
            if not self.is_broken:
                self.transport.resume_reading()
        return data

    async def wait(self, deadline: float | None = None) -> bool:
        """Wait for the next change; False when the loop's clock has passed ``deadline``."""
        self._waiter = self._loop.create_future()
        self._deadline = deadline
        if deadline is not None and (self._timer is None or deadline < self._timer.when()):
            self._set_timer(deadline)
        try:
            await self._waiter
        finally:
            self._waiter = None
        return deadline is None or self._loop.time() < deadline

    def abort(self) -> None:
        """Close at once; unwritten bytes are discarded."""
        if not self.is_broken and not self.transport.is_closing():
            self._shutdown()
        self.is_broken = True
        self._set_timer(None)
        self.transport.abort()

    def _shutdown(self) -> None:
        """Shut the socket down now; the loop closes it only in its next iteration."""
        with suppress(OSError):
            borrowed = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=self._file)
            try:
                borrowed.shutdown(socket.SHUT_RDWR)
            finally:
                borrowed.detach()

    def _set_timer(self, deadline: float | None) -> None:
        """Set the one timer of all reads; when due, it moves to a deadline set later."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if deadline is None else self._loop.call_at(deadline, self._time_up)

    def _time_up(self) -> None:
        self._timer = None
        if self._waiter is None or self._deadline is None:
            return
        if self._loop.time() < self._deadline:
            self._set_timer(self._deadline)
        else:
            _wake_waiter(self._waiter)

    # --- asyncio.Protocol --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        self._is_tls = transport.get_extra_info("ssl_object") is not None
        self._file = transport.get_extra_info("socket").fileno()
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self.is_broken:
            return
        if not self.is_busy:
            self.abort()  # data without a request
            return
        self.received += len(data)
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as failure:
            self._fail(GatewayLost(f"the response is not HTTP/1.1: {failure}"))
        if self._head_bytes > MAX_HEAD and self.is_busy:
            part = "chunk header or trailer" if self.has_head else "head"
            self._fail(GatewayLost(f"a {part} of the response is longer than {MAX_HEAD} bytes"))
        if self._unread > HIGH_WATER and not self._paused and not self.is_broken:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_broken = True
        if self.used:
            del self._parser  # a cycle would live until the next full garbage collection
        self._set_timer(None)
        self._write_blocked = False
        if self.is_busy and not self.ended:
            self.ended = True
            if exc is not None or not self.has_head or self.framed:
                self.failure = self.failure or exc or ConnectionResetError("closed by the server")
        self.is_busy = False
        self._wake()

    def pause_writing(self) -> None:
        self._write_blocked = True

    def resume_writing(self) -> None:
        self._write_blocked = False
        self._wake()

    # --- httptools ---------------------------------------------------------------------------

    def on_status(self, status: bytes) -> None:
        self.status = self._parser.get_status_code()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:  # else a trailer
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self.headers = []  # 1xx such as 100 Continue: another head follows
            return
        self.has_head = True
        names = {name for name, _ in self.headers}
        self.framed = b"content-length" in names or b"transfer-encoding" in names

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        self._body.append(body)
        self._unread += len(body)

    def on_message_complete(self) -> None:
        if self.status < 200:
            return
        self.is_complete = self.ended = True
        self.framed = True
        self.is_busy = False
        self.keep_alive = self._parser.should_keep_alive()

    # -----------------------------------------------------------------------------------------

    def _fail(self, failure: Exception) -> None:
        if self.failure is None:
            self.failure = failure
        self.ended = True
        self.abort()

    def _wake(self) -> None:
        if self._waiter is not None:
            _wake_waiter(self._waiter)
        if self.when_done is not None:
            self._body.clear()  # it has no reader any more
            self._unread = 0
            if not self.is_busy:
                when_done, self.when_done = self.when_done, None
                when_done()


def _wake_waiter(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
