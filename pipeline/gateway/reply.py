"""One call: a request that is sent on entering, its answer as it comes, the end on leaving."""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol

import anyio
import anyio.lowlevel

from pipeline.errors import GatewayBusy, GatewayError, GatewayLost, GatewayTimeout
from pipeline.gateway import error_responses
from pipeline.gateway.slot_queue import SlotQueue
from pipeline.gateway.slots import Ticket
from pipeline.gateway.stream import ReplyReader
from pipeline.interfaces.llm import Accepted, CompletionRequest, Finished, Piece

#: seconds for the body of a refusal
REFUSAL_PATIENCE = 1.0
#: seconds for usage and end marker behind the finish reason
LAST_WORDS = 2.0


class HttpExchange(Protocol):
    """A request on its way and what comes back; ``transport.Exchange`` is one."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]: ...
    @property
    def framed(self) -> bool: ...
    async def head(self) -> None: ...
    async def read(self, deadline: float | None = None) -> bytes: ...
    def close(self, *, is_over: bool = False) -> None: ...
    def drop(self) -> None: ...
    async def aclose(self) -> None: ...


class LlmServer(Protocol):
    """Who is called; ``client.GatewayClient`` is one."""

    @property
    def host(self) -> str: ...
    @property
    def place(self) -> str:
        """The vendor's region, or the host."""
        ...

    @property
    def stall_timeout(self) -> float:
        """Seconds."""
        ...

    @property
    def places(self) -> SlotQueue: ...
    async def send(self, request: CompletionRequest) -> HttpExchange: ...
    def send_now(self, request: CompletionRequest) -> HttpExchange | None: ...
    def reader(self, headers: Mapping[str, str]) -> ReplyReader: ...
    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError: ...


class GatewayReply:
    """One reply, received while it is entered. Leaving it early drops its connection."""

    def __init__(self, server: LlmServer, request: CompletionRequest, ticket: Ticket) -> None:
        self._server = server
        self._request = request
        self._ticket = ticket
        self._answer: HttpExchange | None = None
        self._reader: ReplyReader | None = None
        self._quiet = 0.0  # seconds waited in receive since the last content
        self._is_over = False

    def begin(self) -> None:
        places, ticket = self._server.places, self._ticket
        if not places.has_room(ticket):
            return
        places.claim(ticket, self)
        try:
            self._answer = self._server.send_now(self._request)
        finally:
            if self._answer is None:
                places.release(ticket)

    @property
    def sent(self) -> bool:
        return self._answer is not None

    @property
    def streams(self) -> bool:
        return self._request.stream

    async def __aenter__(self) -> "GatewayReply":
        if self._answer is not None:
            return self
        await anyio.lowlevel.checkpoint_if_cancelled()
        await self._server.places.acquire(self._ticket, self)
        try:
            self._answer = await self._server.send(self._request)
            if self._ticket.gave_way:  # while it was connecting
                self._answer.close()
                raise gave_way()
        except BaseException:
            self._server.places.release(self._ticket)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._leave(is_over=False)

    def drop(self) -> None:
        if self._answer is not None and not self._is_over:
            self._answer.drop()

    def commit(self) -> None:
        """A speculative reply was adopted: it gives way to nobody any more."""
        self._server.places.commit(self._ticket)

    async def receive(self) -> Sequence[Piece]:
        """Return what the next read brought; see ``interfaces.llm.Reply``."""
        if self._is_over:
            return ()
        answer = self._answer
        assert answer is not None, "receive() before the reply was entered"
        try:
            if self._reader is None:
                return [await self._accept(answer)]
            return await self._more(answer, self._reader)
        except GatewayError:
            await self._leave(is_over=False)
            if self._ticket.gave_way:
                raise gave_way() from None
            raise

    async def _accept(self, answer: HttpExchange) -> Accepted:
        await answer.head()
        headers = decoded(answer.headers)
        if not 200 <= answer.status < 300:
            raise self._server.refusal(answer.status, headers, await refusal_body(answer))
        encoding = headers.get("content-encoding", "identity")
        if encoding not in ("identity", ""):
            raise GatewayLost(
                f"{self._server.host} answered in {encoding}, which was not asked for"
            )
        self._reader = self._server.reader(headers)
        return Accepted(
            request_id=error_responses.request_id_of(headers),
            rate=error_responses.rate_limit(headers),
            host=self._server.place,
        )

    async def _more(self, answer: HttpExchange, reader: ReplyReader) -> Sequence[Piece]:
        if reader.failure is not None:  # it came along with the last pieces
            raise reader.failure
        loop = asyncio.get_running_loop()
        while True:
            entered = loop.time()
            try:
                data = await answer.read(self._deadline(reader, entered))
            except TimeoutError:
                pieces = self._went_quiet(reader)
            except GatewayLost as lost:
                pieces = _cut(reader, lost)
            else:
                pieces = reader.feed(data) if data else reader.end(framed=answer.framed)
            if pieces:
                self._quiet = 0.0
                if type(pieces[-1]) is Finished:
                    await self._leave(is_over=True)
                return pieces
            self._quiet += loop.time() - entered

    def _deadline(self, reader: ReplyReader, now: float) -> float | None:
        """Until when content must come; never, before the first: that is the caller's deadline."""
        if reader.reason is not None:
            return now + LAST_WORDS - self._quiet
        if reader.spoke:
            return now + self._server.stall_timeout - self._quiet
        return None

    def _went_quiet(self, reader: ReplyReader) -> list[Piece]:
        pieces = reader.quiet()
        if pieces:
            return pieces
        raise GatewayTimeout(
            f"{self._server.host} sent nothing of the answer for {self._server.stall_timeout:g} s"
            f" (stall_timeout of [llm])"
        )

    def give_way(self) -> None:
        """A committed request needs the slot; the ticket has lost it already."""
        if self._answer is not None:
            self._answer.close()

    async def _leave(self, *, is_over: bool) -> None:
        if self._is_over:
            return
        self._is_over = True
        answer = self._answer
        assert answer is not None
        answer.close(is_over=is_over)
        try:
            await answer.aclose()
        finally:
            self._server.places.release(self._ticket)


def _cut(reader: ReplyReader, lost: GatewayLost) -> list[Piece]:
    """Return how a reply ends that broke off; raises ``lost`` if nothing had been said."""
    pieces = reader.cut()
    if not pieces:
        raise lost
    return pieces


def decoded(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


def gave_way() -> GatewayBusy:
    return GatewayBusy("a speculative request gave its connection to a committed one")


async def refusal_body(answer: HttpExchange) -> bytes:
    """Return the body of a refusal, as much of it as comes in time."""
    body = b""
    with anyio.move_on_after(REFUSAL_PATIENCE):
        try:
            while len(body) < error_responses.MAX_BODY and (data := await answer.read()):
                body += data
        except GatewayLost:
            pass  # a refusal that was cut is still a refusal
    return body
