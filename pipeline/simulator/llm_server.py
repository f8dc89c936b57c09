"""HTTP/1.1 server of scripted chat completions, including invalid framing.

It is an ``asyncio.Protocol``: only that reports a closed connection at once without a waiting
reader, and can reset or close a connection in the middle of a body.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from time import monotonic
from typing import Any, cast

import anyio
import msgspec
from anyio.abc import TaskGroup

from pipeline.config.validation import Tree, is_table
from pipeline.errors import EngineError
from pipeline.runtime.tcp import reset
from pipeline.simulator.completion_bodies import TimedBytes
from pipeline.simulator.llm_script import LlmScript, ParsedRequest, ScriptedReply, last_user_text
from pipeline.simulator.wait import Watch

KEEPALIVE_INTERVAL = 0.05  #: seconds between two comments of ``by: keepalive``
MAX_HEAD = 65_536  #: bytes of request line and headers

Report = Callable[[Mapping[str, Any]], None]


class LlmRequest:
    """Record of one request. Times are seconds of ``time.monotonic``."""

    def __init__(self, parsed: ParsedRequest, connection: int) -> None:
        self.at = monotonic()  #: when its last byte was read
        self.number = parsed.number  #: from 1
        self.connection = connection  #: number of its connection, from 1
        self.method = parsed.method
        self.path = parsed.path
        self.headers = parsed.headers  #: names in lower case
        self.body: Tree = parsed.body if is_table(parsed.body) else {}
        self.status: int | None = None
        self.tokens = 0  #: tokens written
        self.first_token_at: float | None = None
        self.done_at: float | None = None  #: when the complete response was written
        self.closed_at: float | None = None  #: when the client closed the connection

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))

    @property
    def text(self) -> str:
        """The last user message."""
        return last_user_text(self.body)

    @property
    def was_cancelled(self) -> bool:
        """Whether the client closed the connection before the end of the response."""
        return self.closed_at is not None and self.done_at is None

    def __repr__(self) -> str:
        state = "cancelled" if self.was_cancelled else "done" if self.done_at else "open"
        return f"<LlmRequest {self.number} {state} tokens={self.tokens} {self.text[:40]!r}>"


class ScriptedLlm:
    """Scripted server: records requests and lets tests wait for them."""

    def __init__(self, script: LlmScript, report: Report | None = None) -> None:
        self.requests: list[LlmRequest] = []
        self.connections_opened = 0
        self.connections_open = 0
        self.answered_in_full = 0
        self.cancelled_by_client = 0
        self._script = script
        self._report = report
        self._watch = Watch()
        self._live: set[_Connection] = set()

    async def arrived(self, n: int) -> LlmRequest:
        """Wait for the n-th request, from 1."""
        await self._watch.until(lambda: len(self.requests) >= n)
        return self.requests[n - 1]

    async def token(self, n: int, tokens: int = 1) -> LlmRequest:
        """Wait until ``tokens`` tokens of the n-th response are written."""
        await self._watch.until(
            lambda: len(self.requests) >= n and self.requests[n - 1].tokens >= tokens
        )
        return self.requests[n - 1]

    async def done(self, n: int) -> None:
        """Wait until n responses are complete."""
        await self._watch.until(lambda: self.answered_in_full >= n)

    async def closed(self, n: int) -> LlmRequest:
        """Wait until the client has closed the n-th request's connection."""
        await self._watch.until(
            lambda: len(self.requests) >= n and self.requests[n - 1].closed_at is not None
        )
        return self.requests[n - 1]

    async def cancelled(self, n: int) -> None:
        """Wait until the client has closed n connections before the end of their response."""
        await self._watch.until(lambda: self.cancelled_by_client >= n)

    async def idle(self) -> None:
        """Wait until no connection is open."""
        await self._watch.until(lambda: self.connections_open == 0)

    # --- serving ---------------------------------------------------------------------------

    async def listen(self, host: str, port: int, tasks: TaskGroup) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        try:
            return await loop.create_server(
                lambda: _Connection(self, tasks), host, port, backlog=4096
            )
        except OSError as error:
            raise EngineError(f"cannot listen on {host}:{port}: {error.strerror}") from error

    def abort(self) -> None:
        for connection in list(self._live):
            connection.transport.abort()

    def opened(self, connection: "_Connection") -> int:
        self._live.add(connection)
        self.connections_opened += 1
        self.connections_open += 1
        self._watch.notify()
        return self.connections_opened

    def lost(self, connection: "_Connection", request: LlmRequest | None) -> None:
        self._live.discard(connection)
        self.connections_open -= 1
        if request is not None:
            request.closed_at = monotonic()
            self.cancelled_by_client += request.was_cancelled
            self._report_event("llm.closed", request, cancelled=request.was_cancelled)
        self._watch.notify()

    def accept(
        self, connection: int, head: "_RequestHead", body: bytes
    ) -> tuple[LlmRequest, ScriptedReply]:
        value: Any = None
        with suppress(msgspec.DecodeError):
            value = msgspec.json.decode(body)
        is_call = head.method != "GET"  # a model list is not a call
        number = len(self.requests) + 1 if is_call else 0
        parsed = ParsedRequest(head.method, head.path, head.headers, value, number)
        request = LlmRequest(parsed, connection)
        if is_call:
            self.requests.append(request)
        answer = self._script.answer(parsed, request.at)
        self._report_event("llm.request", request, model=request.model, text=request.text)
        self._watch.notify()
        return request, answer

    def wrote_token(self, request: LlmRequest) -> None:
        request.tokens += 1
        if request.first_token_at is None:
            request.first_token_at = monotonic()
        self._watch.notify()

    def answered(self, request: LlmRequest) -> None:
        request.done_at = monotonic()
        self.answered_in_full += request.number > 0
        self._report_event("llm.done", request, status=request.status, tokens=request.tokens)
        self._watch.notify()

    def _report_event(self, kind: str, request: LlmRequest, **fields: Any) -> None:
        if self._report is not None and request.number:
            self._report({"type": kind, "at": monotonic(), "request": request.number, **fields})


class _RequestHead:
    def __init__(self, raw: bytes) -> None:
        first, *lines = raw.decode("latin-1").split("\r\n")
        self.method, self.path, _ = (*first.split(" "), "", "", "")[:3]
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}

    @property
    def length(self) -> int:
        text = self.headers.get("content-length", "0")
        return int(text) if text.isdigit() else 0


class _Connection(asyncio.Protocol):
    """One client connection: requests in, responses out, one after the other."""

    transport: asyncio.Transport

    def __init__(self, server: ScriptedLlm, tasks: TaskGroup) -> None:
        self._server = server
        self._tasks = tasks
        self._number = 0
        self._buffer = bytearray()
        self._head: _RequestHead | None = None
        self._request: LlmRequest | None = None
        self._scope: anyio.CancelScope | None = None  #: of the response being written
        self._is_closed = False
        self._writable = anyio.Event()

    # --- asyncio.Protocol ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        self._writable.set()
        self._number = self._server.opened(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next_request()

    def eof_received(self) -> bool:
        self._on_close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_close()

    def pause_writing(self) -> None:
        self._writable = anyio.Event()

    def resume_writing(self) -> None:
        self._writable.set()

    def _on_close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if self._scope is not None:
            self._scope.cancel()
        self._server.lost(self, self._request)

    # --- requests --------------------------------------------------------------------------

    def _next_request(self) -> None:
        if self._scope is not None:
            return  # one at a time; the next one stays in the buffer
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MAX_HEAD:
                    self.transport.abort()
                return
            self._head = _RequestHead(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
        if len(self._buffer) < self._head.length:
            return
        head, self._head = self._head, None
        body = bytes(self._buffer[: head.length])
        del self._buffer[: head.length]
        self._request, answer = self._server.accept(self._number, head, body)
        self._scope = anyio.CancelScope()
        self._tasks.start_soon(self._answer, self._request, answer, self._scope)

    # --- responses -------------------------------------------------------------------------

    async def _answer(
        self, request: LlmRequest, answer: ScriptedReply, scope: anyio.CancelScope
    ) -> None:
        with scope:
            await _sleep_until(request.at + answer.head_at)
            if answer.status:
                request.status = answer.status
                await self._write(_head(answer))
            await self._body(request, answer)
            if answer.ending not in ("hang", "keepalive") or self._is_closed:
                self._server.answered(request)
            await self._end(request, answer)
        self._scope = None
        if not self._is_closed and answer.ending == "keep":
            self._next_request()

    async def _body(self, request: LlmRequest, answer: ScriptedReply) -> None:
        left = answer.after_bytes
        for piece in answer.pieces:
            await _sleep_until(request.at + piece.at)
            data = _framed(answer, piece)
            if left is not None:
                data, left = data[:left], left - len(data)
            for part in _sliced(data, answer.slice_bytes):
                await self._write(part)
            if piece.is_token:
                self._server.wrote_token(request)
            if left is not None and left <= 0:
                return

    async def _end(self, request: LlmRequest, answer: ScriptedReply) -> None:
        if answer.ending == "keep":
            if answer.framing == "chunked" and answer.status:
                await self._write(b"0\r\n\r\n")
            if answer.framing == "close" or request.headers.get("connection") == "close":
                self.transport.close()
        elif answer.ending == "fin":
            self.transport.close()
        elif answer.ending == "rst":
            reset(self.transport)
        else:
            await self._hold_open(answer)

    async def _hold_open(self, answer: ScriptedReply) -> None:
        """Keep the connection open until the client closes it."""
        while answer.ending == "keepalive":
            await self._write(_framed(answer, TimedBytes(0.0, b": keep-alive\n\n")))
            await anyio.sleep(KEEPALIVE_INTERVAL)
        await anyio.sleep_forever()

    async def _write(self, data: bytes) -> None:
        await self._writable.wait()  # bounded by the transport's own buffer
        self.transport.write(data)
        await anyio.lowlevel.checkpoint()


def _head(answer: ScriptedReply) -> bytes:
    headers = dict(answer.headers)
    if answer.framing == "length":
        headers["content-length"] = str(answer.length)
    elif answer.framing == "chunked":
        headers["transfer-encoding"] = "chunked"
    else:
        headers["connection"] = "close"
    known = answer.status in HTTPStatus._value2member_map_
    phrase = HTTPStatus(answer.status).phrase if known else "Unknown"
    lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _framed(answer: ScriptedReply, piece: TimedBytes) -> bytes:
    if answer.framing != "chunked" or not piece.data:
        return piece.data
    return b"%x\r\n%s\r\n" % (len(piece.data), piece.data)


def _sliced(data: bytes, size: int) -> Iterator[bytes]:
    if size <= 0:
        yield data
        return
    for i in range(0, len(data), size):
        yield data[i : i + size]


async def _sleep_until(at: float) -> None:
    if (seconds := at - monotonic()) > 0:
        await anyio.sleep(seconds)
