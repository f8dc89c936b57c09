"""Reply of one server to one request: sends on enter, receives pieces, closes on exit."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from types import TracebackType
from typing import Protocol

import anyio
import anyio.lowlevel

from pipeline.errors import GatewayBusy, GatewayError, GatewayLost, GatewayTimeout
from pipeline.gateway import error_responses
from pipeline.gateway.rate_headers import rate_limit
from pipeline.gateway.slot_queue import SlotQueue
from pipeline.gateway.slots import Ticket
from pipeline.gateway.stream import ReplyReader
from pipeline.interfaces.llm import Accepted, CompletionRequest, Finished, Piece

#: seconds to read the body of an error response
REFUSAL_TIMEOUT = 1.0
#: seconds to wait for usage and end marker after the finish reason
TRAILER_TIMEOUT = 2.0


class HttpExchange(Protocol):
    """A request that was sent and its response; ``transport.Exchange`` implements it."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]: ...
    async def head(self) -> None: ...
    async def read(self, deadline: float | None = None) -> bytes: ...
    def close(self, *, is_over: bool = False) -> None: ...
    def drop(self) -> None: ...
    async def aclose(self) -> None: ...


class LlmServer(Protocol):
    """The server of a request; ``client.GatewayClient`` implements it."""

    @property
    def host(self) -> str: ...
    @property
    def location(self) -> str:
        """The vendor's region, or the host."""
        ...

    @property
    def stall_timeout(self) -> float:
        """Seconds."""
        ...

    @property
    def slot_queue(self) -> SlotQueue: ...
    async def send(self, request: CompletionRequest) -> HttpExchange: ...
    def send_now(self, request: CompletionRequest) -> HttpExchange | None: ...
    def reader(self, headers: Mapping[str, str], request: CompletionRequest) -> ReplyReader: ...
    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError: ...


class GatewayReply:
    """One reply, an async context. Leaving it before its end closes its connection."""

    def __init__(self, server: LlmServer, request: CompletionRequest, ticket: Ticket) -> None:
        self._server = server
        self._request = request
        self._ticket = ticket
        self._exchange: HttpExchange | None = None
        self._reader: ReplyReader | None = None
        self._idle_time = 0.0  # seconds waited in receive since the last content
        self._is_over = False

    def begin(self) -> None:
        slot_queue, ticket = self._server.slot_queue, self._ticket
        if not slot_queue.has_room(ticket):
            return
        slot_queue.claim(ticket, self)
        try:
            self._exchange = self._server.send_now(self._request)
        finally:
            if self._exchange is None:
                slot_queue.release(ticket)

    @property
    def sent(self) -> bool:
        return self._exchange is not None

    @property
    def streams(self) -> bool:
        return self._request.stream

    async def __aenter__(self) -> "GatewayReply":
        if self._exchange is not None:
            return self
        await anyio.lowlevel.checkpoint_if_cancelled()
        await self._server.slot_queue.acquire(self._ticket, self)
        try:
            self._exchange = await self._server.send(self._request)
            if self._ticket.preempted:  # while it was connecting
                self._exchange.close()
                raise preempted()
        except BaseException:
            self._server.slot_queue.release(self._ticket)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close(is_over=False)

    def drop(self) -> None:
        if self._exchange is not None and not self._is_over:
            self._exchange.drop()

    def commit(self) -> None:
        """Mark an adopted speculative reply as committed: it is no longer preempted."""
        self._server.slot_queue.commit(self._ticket)

    async def receive(self) -> Sequence[Piece]:
        """Return the pieces of the next read; see ``interfaces.llm.Reply``."""
        if self._is_over:
            return ()
        exchange = self._exchange
        assert exchange is not None, "receive() before the reply was entered"
        try:
            if self._reader is None:
                return [await self._accept(exchange)]
            return await self._receive_more(exchange, self._reader)
        except GatewayError:
            await self._close(is_over=False)
            if self._ticket.preempted:
                raise preempted() from None
            raise

    async def _accept(self, exchange: HttpExchange) -> Accepted:
        await exchange.head()
        headers = decoded(exchange.headers)
        if "date" not in headers:  # dates in other headers are compared with it
            headers["date"] = format_datetime(datetime.now(UTC), usegmt=True)
        if not 200 <= exchange.status < 300:
            raise self._server.refusal(exchange.status, headers, await refusal_body(exchange))
        encoding = headers.get("content-encoding", "identity")
        if encoding not in ("identity", ""):
            raise GatewayLost(
                f"{self._server.host} answered with content-encoding {encoding}, which was not"
                " requested"
            )
        self._reader = self._server.reader(headers, self._request)
        return Accepted(
            request_id=error_responses.request_id_of(headers),
            rate=rate_limit(headers),
            host=self._server.location,
        )

    async def _receive_more(self, exchange: HttpExchange, reader: ReplyReader) -> Sequence[Piece]:
        if reader.failure is not None:  # received together with the last pieces
            raise reader.failure
        loop = asyncio.get_running_loop()
        while True:
            entered, has_reason = loop.time(), reader.reason is not None
            pieces = await self._read(exchange, reader, entered)
            if pieces:
                self._idle_time = 0.0
                if type(pieces[-1]) is Finished:
                    await self._close(is_over=True)
                return pieces
            if has_reason or reader.reason is None:
                self._idle_time += loop.time() - entered
            else:
                self._idle_time = 0.0  # the clock of the end marker begins

    async def _read(
        self, exchange: HttpExchange, reader: ReplyReader, now: float
    ) -> Sequence[Piece]:
        try:
            data = await exchange.read(self._deadline(reader, now))
        except TimeoutError:
            return self._stalled(reader)
        except GatewayLost as lost:
            return _truncated(reader, lost)
        return reader.feed(data) if data else reader.end()

    def _deadline(self, reader: ReplyReader, now: float) -> float | None:
        """Return when content is overdue; None before the first: the caller's deadline holds."""
        if reader.reason is not None:
            return now + TRAILER_TIMEOUT - self._idle_time
        if reader.has_content:
            return now + self._server.stall_timeout - self._idle_time
        return None

    def _stalled(self, reader: ReplyReader) -> list[Piece]:
        pieces = reader.stalled()
        if pieces:
            return pieces
        raise GatewayTimeout(
            f"{self._server.host} sent no more of the reply for {self._server.stall_timeout:g} s"
            f" (stall_timeout of [llm])"
        )

    def preempt(self) -> None:
        """Close the exchange: a committed request has taken the slot."""
        if self._exchange is not None:
            self._exchange.close()

    async def _close(self, *, is_over: bool) -> None:
        if self._is_over:
            return
        self._is_over = True
        exchange = self._exchange
        assert exchange is not None
        exchange.close(is_over=is_over)
        try:
            await exchange.aclose()
        finally:
            self._server.slot_queue.release(self._ticket)


def _truncated(reader: ReplyReader, lost: GatewayLost) -> list[Piece]:
    """Return the ending of a reply whose connection was lost; raises ``lost`` without content."""
    pieces = reader.truncated()
    if not pieces:
        raise lost
    return pieces


def decoded(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


def preempted() -> GatewayBusy:
    return GatewayBusy("a committed request took the connection of this speculative one")


async def refusal_body(exchange: HttpExchange) -> bytes:
    """Return the body of an error response, as much as arrives in REFUSAL_TIMEOUT."""
    body = b""
    with anyio.move_on_after(REFUSAL_TIMEOUT):
        try:
            while len(body) < error_responses.MAX_BODY and (data := await exchange.read()):
                body += data
        except GatewayLost:
            pass  # the part received is enough: the status decides
    return body
