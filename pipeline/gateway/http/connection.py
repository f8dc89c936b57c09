"""One HTTP/1.1 connection to a model's server: bytes out, head and body in, no waiting inside."""

import asyncio
import select
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import httptools

from pipeline.errors import GatewayLost

MAX_HEAD = 64 * 1024  #: bytes of status line and headers
HIGH_WATER = 256 * 1024  #: bytes of unread body above which reading stops
LOW_WATER = 64 * 1024  #: bytes of unread body below which it goes on


class HttpConnection(asyncio.Protocol):
    """A connection that carries one request at a time.

    ``state`` tells what may be done: a request goes out on an idle one only; a broken one is
    good for nothing. Whoever waits is woken through one future; there is one reader at a time.
    """

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.used = 0  #: requests so far
        self.idle_since = 0.0  #: on the loop's clock
        self.is_broken = False  #: closed by either side
        self.is_busy = False  #: a request is out and its answer not complete
        self.when_done: Callable[[], None] | None = None  #: called once, when the answer is over
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._deadline: float | None = None  # of who waits, on the loop's clock
        self._timer: asyncio.TimerHandle | None = None  # due then, or earlier
        self._is_tls = False
        self._write_blocked = False
        self._paused = False
        self.forget()

    def forget(self) -> None:
        """Make ready for another answer."""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.has_head = False  #: the final head has arrived (not 1xx)
        self.is_complete = False  #: the body said itself that it is over
        self.ended = False  #: nothing more will come of this body
        self.framed = False  #: the body has a length or is chunked
        self.received = 0  #: bytes of this answer
        self.keep_alive = False
        self.failure: Exception | None = None
        self._head_bytes = 0
        self._body: deque[bytes] = deque()
        self._unread = 0

    # --- what its user does ------------------------------------------------------------------

    def send(self, request: bytes) -> None:
        """Write a whole request; the answer's head and body follow."""
        self.forget()
        self._parser = httptools.HttpResponseParser(self)
        self.is_busy = True
        self.used += 1
        self.transport.write(request)

    @property
    def is_written(self) -> bool:
        """The request has left, but for what fits asyncio's buffer; or that is of no use now."""
        return not self._write_blocked or self.received > 0 or self.is_broken

    @property
    def has_unread(self) -> bool:
        """Something of the body, or its end, is there to be taken."""
        return bool(self._body) or self.ended

    def is_usable(self) -> bool:
        """Idle and, as far as can be seen from here, still open at the other end."""
        if self.is_broken or self.is_busy or self.transport.is_closing():
            return False
        if self._is_tls:
            return True  # session tickets make an idle TLS connection readable
        return not self._poll.poll(0)  # an end of file that the loop has not come to yet

    def take(self) -> bytes:
        """Return the body that has arrived and not been read."""
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
        """Wait until something has happened; False when the loop's clock passed ``deadline``."""
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
        """Close at once; what was not written is dropped."""
        if not self.is_broken and not self.transport.is_closing():
            self._hang_up()
        self.is_broken = True
        self._set_timer(None)
        self.transport.abort()

    def _hang_up(self) -> None:
        """Let the other end know now; the loop closes the socket in its next turn."""
        with suppress(OSError):
            lent = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=self._file)
            try:
                lent.shutdown(socket.SHUT_RDWR)
            finally:
                lent.detach()

    def _set_timer(self, deadline: float | None) -> None:
        """Keep one timer for all reads of an answer: a later deadline only moves it when due."""
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
            _ring(self._waiter)

    # --- asyncio.Protocol --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._is_tls = transport.get_extra_info("ssl_object") is not None
        self._file = transport.get_extra_info("socket").fileno()
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self.is_broken:
            return
        if not self.is_busy:
            self.abort()  # nobody asked
            return
        self.received += len(data)
        if not self.has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as failure:
            self._fail(GatewayLost(f"the answer is not HTTP/1.1: {failure}"))
        if not self.has_head and self._head_bytes > MAX_HEAD:
            self._fail(GatewayLost(f"the head of the answer is longer than {MAX_HEAD} bytes"))
        if self._unread > HIGH_WATER and not self._paused and not self.is_broken:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_broken = True
        if self.used:
            del self._parser  # it holds this, and neither would go before a full collection
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
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self.headers = []  # 100 Continue and its like: another head follows
            return
        self.has_head = True
        names = {name for name, _ in self.headers}
        self.framed = b"content-length" in names or b"transfer-encoding" in names

    def on_body(self, body: bytes) -> None:
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
            _ring(self._waiter)
        if self.when_done is not None:
            self._body.clear()  # nobody reads it any more
            self._unread = 0
            if not self.is_busy:
                when_done, self.when_done = self.when_done, None
                when_done()


def _ring(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
