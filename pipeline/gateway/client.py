"""The door to language models: any server that speaks OpenAI's chat completions."""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol

import anyio
import anyio.lowlevel
import httpx
import msgspec

from pipeline import __version__
from pipeline.completions import Accepted, CompletionRequest, Finished, Piece
from pipeline.errors import (
    GatewayBusy,
    GatewayError,
    GatewayLost,
    GatewayTimeout,
    SettingsError,
)
from pipeline.gateway import refusals, wire
from pipeline.gateway.catalog import Catalog
from pipeline.gateway.catalog import parse as parse_catalog
from pipeline.gateway.families import adapted
from pipeline.gateway.foreign import ForeignAnswer
from pipeline.gateway.limits import Slots, Ticket
from pipeline.gateway.stream import MAX_BODY, ReplyReader
from pipeline.gateway.transport import WarmTransport, origin_of, serialised
from pipeline.hosts import is_assemblyai
from pipeline.settings import LlmSettings

#: connections kept ready at most, however many sessions hear speech at once
MAX_SPARES = 16
#: seconds for the body of a refusal
REFUSAL_PATIENCE = 1.0
#: seconds for usage and end marker behind the finish reason
LAST_WORDS = 2.0

USAGE = {"stream_options": {"include_usage": True}}


class Answer(Protocol):
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


class GatewayClient:
    """Opens replies of one server. Satisfies ``completions.Gateway``.

    With a transport other than ours, a request leaves at the first ``receive``.
    """

    def __init__(
        self,
        base_url: str,
        key: str = "",
        settings: LlmSettings | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        ask_usage: bool = False,
    ) -> None:
        """``ask_usage``: have streams end with their token counts, as OpenAI's option does."""
        settings = settings or LlmSettings()
        self.url = _endpoint(base_url)
        self.host = self.url.netloc.decode("ascii")
        self.place = _place(self.host)  #: the vendor's region, or the host
        self.stall_timeout = settings.stall_timeout  #: seconds
        self.transport = transport or WarmTransport(connect_timeout=settings.connect_timeout)
        self.slots = Slots(settings.connections)
        self._key = key.strip()
        self.headers = _headers(self.url, self._key)
        self._head = serialised(httpx.Request("POST", self.url, headers=self.headers))
        self._head = self._head.replace(b"Content-Length: 0\r\n", b"").removesuffix(b"\r\n")
        self._origin = origin_of(self.url)
        self._granted: dict[Ticket, anyio.Event] = {}
        self._ask_usage = ask_usage
        self._expected = 0  # calls of warm that no request has followed yet
        self._catalog: Catalog | None = None
        self._guests: dict[Ticket, GatewayReply] = {}

    def open(self, request: CompletionRequest, *, speculative: bool = False) -> "GatewayReply":
        """Return the reply to ``request``, to be entered; see ``completions.Gateway``.

        A speculative one gives way to a committed one when connections run out: its
        ``receive`` raises GatewayBusy.
        """
        return GatewayReply(self, request, Ticket(speculative=speculative))

    async def warm(self) -> None:
        """Open a spare connection, one for each request that is to be expected.

        Call it when a request is likely soon. What fails here shows in that request.
        """
        self._expected = min(self._expected + 1, MAX_SPARES)
        if isinstance(self.transport, WarmTransport):
            try:
                await self.transport.warm(self._origin, self._expected)
            except GatewayError:
                return

    async def keep_warm(self) -> None:
        """Replace the connections that cancels cost, until cancelled; for a task group."""
        if isinstance(self.transport, WarmTransport):
            await self.transport.keep_warm(self._origin)

    def transport_idle(self) -> int:
        """Return how many connections stand ready."""
        if isinstance(self.transport, WarmTransport):
            return self.transport.idle(self._origin)
        return 0

    async def aclose(self) -> None:
        await self.transport.aclose()

    @property
    def known_catalog(self) -> Catalog | None:
        """The catalog as last read, however old; for a ``gate.CatalogGate``."""
        return self._catalog

    async def catalog(self, max_age: float = 600.0) -> Catalog:
        """Return the server's models, read at most ``max_age`` seconds ago; GatewayError.

        Waits as long as the server does: the deadline is the caller's.
        """
        now = anyio.current_time()
        if self._catalog is None or now - self._catalog.read_at > max_age:
            body = await self._get("/models")
            # Others know names that they do not list: Ollama's tags, LiteLLM's wildcards.
            self._catalog = parse_catalog(body, now, is_whole=self.place != self.host)
        return self._catalog

    async def _get(self, path: str) -> bytes:
        url = self.url.copy_with(path=self.url.path.removesuffix("/chat/completions") + path)
        message = httpx.Request("GET", url, headers=self.headers)
        answer: Answer
        if isinstance(self.transport, WarmTransport):
            answer = await self.transport.send(serialised(message), self._origin)
        else:
            answer = ForeignAnswer(self.transport, message)
        try:
            await answer.head()
            if answer.status != 200:
                headers, body = decoded(answer.headers), await _refusal_body(answer)
                raise self.refusal(answer.status, headers, body)
            body = b""
            while data := await answer.read():
                body += data
                if len(body) > MAX_BODY:
                    raise GatewayLost(f"{self.host}{path} is longer than {MAX_BODY} bytes")
            return body
        finally:
            answer.close(is_over=False)
            await answer.aclose()

    async def send(self, request: CompletionRequest) -> Answer:
        """Write ``request``; raises a GatewayError."""
        body = self._encoded(request)
        self._expected = max(0, self._expected - 1)
        if isinstance(self.transport, WarmTransport):
            return await self.transport.send(self._whole(request, body), self._origin)
        headers = {**self.headers, **request.headers}
        message = httpx.Request("POST", self.url, headers=headers, content=body)
        return ForeignAnswer(self.transport, message)

    def send_now(self, request: CompletionRequest) -> Answer | None:
        """Write ``request`` if a connection is ready; raises a GatewayError."""
        if not isinstance(self.transport, WarmTransport):
            return None
        message = self._whole(request, self._encoded(request))
        answer = self.transport.send_now(message, self._origin)
        if answer is not None:
            self._expected = max(0, self._expected - 1)
        return answer

    def _encoded(self, request: CompletionRequest) -> bytes:
        if self._ask_usage and request.stream and "stream_options" not in request.extra:
            request = msgspec.structs.replace(request, extra={**request.extra, **USAGE})
        return wire.encode_request(adapted(request))

    def _whole(self, request: CompletionRequest, body: bytes) -> bytes:
        # An httpx.Request for each call costs as much as all the rest of this path.
        more = b""
        if request.headers:
            more = b"".join(b"%b: %b\r\n" % _line(pair) for pair in request.headers.items())
        return self._head + more + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def reader(self, headers: Mapping[str, str]) -> ReplyReader:
        return ReplyReader(self.host, headers, self._key)

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return refusals.refusal(status, headers, body, host=self.host, key=self._key)

    # --- slots -------------------------------------------------------------------------------

    async def acquire(self, ticket: Ticket, reply: "GatewayReply") -> None:
        """Wait for a slot."""
        if self.claim(ticket, reply):
            return
        granted = self._granted[ticket] = anyio.Event()
        try:
            await granted.wait()
        except BaseException:
            self.release(ticket)
            raise
        finally:
            del self._granted[ticket]

    def claim(self, ticket: Ticket, reply: "GatewayReply") -> bool:
        """Take a slot, or a place in the queue; return whether it is a slot."""
        self._give_way(self.slots.claim(ticket))
        if ticket.speculative:
            self._guests[ticket] = reply
        return ticket.holds

    def release(self, ticket: Ticket) -> None:
        """Give the slot back, or the place in the queue."""
        self._guests.pop(ticket, None)
        heir = self.slots.release(ticket)
        if heir is not None:
            self._granted[heir].set()

    def commit(self, ticket: Ticket) -> None:
        """A speculative reply was adopted."""
        self._guests.pop(ticket, None)
        self._give_way(self.slots.commit(ticket))
        if ticket.holds and ticket in self._granted:
            self._granted[ticket].set()

    def _give_way(self, loser: Ticket | None) -> None:
        if loser is not None:
            self._guests.pop(loser).give_way()


class GatewayReply:
    """One reply, received while it is entered. Leaving it early drops its connection."""

    def __init__(self, client: GatewayClient, request: CompletionRequest, ticket: Ticket) -> None:
        self._client = client
        self._request = request
        self._ticket = ticket
        self._answer: Answer | None = None
        self._reader: ReplyReader | None = None
        self._quiet = 0.0  # seconds waited in receive since the last content
        self._is_over = False

    def begin(self) -> None:
        client, ticket = self._client, self._ticket
        if not client.slots.has_room(ticket):
            return
        client.claim(ticket, self)
        try:
            self._answer = client.send_now(self._request)
        finally:
            if self._answer is None:
                client.release(ticket)

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
        await self._client.acquire(self._ticket, self)
        try:
            self._answer = await self._client.send(self._request)
            if self._ticket.gave_way:  # while it was connecting
                self._answer.close()
                raise gave_way()
        except BaseException:
            self._client.release(self._ticket)
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
        self._client.commit(self._ticket)

    async def receive(self) -> Sequence[Piece]:
        """Return what the next read brought; see ``completions.Reply``."""
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

    async def _accept(self, answer: Answer) -> Accepted:
        await answer.head()
        headers = decoded(answer.headers)
        if not 200 <= answer.status < 300:
            raise self._client.refusal(answer.status, headers, await _refusal_body(answer))
        encoding = headers.get("content-encoding", "identity")
        if encoding not in ("identity", ""):
            raise GatewayLost(
                f"{self._client.host} answered in {encoding}, which was not asked for"
            )
        self._reader = self._client.reader(headers)
        return Accepted(
            request_id=refusals.request_id_of(headers),
            rate=refusals.rate_limit(headers),
            host=self._client.place,
        )

    async def _more(self, answer: Answer, reader: ReplyReader) -> Sequence[Piece]:
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
            return now + self._client.stall_timeout - self._quiet
        return None

    def _went_quiet(self, reader: ReplyReader) -> list[Piece]:
        pieces = reader.quiet()
        if pieces:
            return pieces
        raise GatewayTimeout(
            f"{self._client.host} sent nothing of the answer for {self._client.stall_timeout:g} s"
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
            self._client.release(self._ticket)


def _cut(reader: ReplyReader, lost: GatewayLost) -> list[Piece]:
    """Return how a reply ends that broke off; raises ``lost`` if nothing had been said."""
    pieces = reader.cut()
    if not pieces:
        raise lost
    return pieces


def _line(header: tuple[str, str]) -> tuple[bytes, bytes]:
    name, value = header
    return name.encode("ascii"), value.encode("ascii")


def decoded(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


def gave_way() -> GatewayBusy:
    return GatewayBusy("a speculative request gave its connection to a committed one")


async def _refusal_body(answer: Answer) -> bytes:
    """Return the body of a refusal, as much of it as comes in time."""
    body = b""
    with anyio.move_on_after(REFUSAL_PATIENCE):
        try:
            while len(body) < refusals.MAX_BODY and (data := await answer.read()):
                body += data
        except GatewayLost:
            pass  # a refusal that was cut is still a refusal
    return body


def _place(host: str) -> str:
    if not is_assemblyai(host):
        return host
    return "eu" if ".eu." in host else "us"


def _endpoint(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url.strip().rstrip("/") + "/chat/completions")
    except httpx.InvalidURL as cause:
        raise SettingsError(f"base_url {base_url!r} is not an address: {cause}") from cause
    if url.scheme not in ("http", "https") or not url.host:
        raise SettingsError(f"base_url {base_url!r} must begin with http:// or https://")
    return url


def _headers(url: httpx.URL, key: str) -> httpx.Headers:
    """Return the headers of every request: those never change, so they are made once."""
    headers = {
        "Host": url.netloc.decode("ascii"),
        "User-Agent": f"speech-llm-pipeline/{__version__}",
        "Accept": "text/event-stream, application/json",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
    }
    if key:
        if not (key.isascii() and key.isprintable()):
            raise SettingsError("the key of [llm] holds characters that no key has")
        is_theirs = is_assemblyai(url.host)
        headers["Authorization"] = key if is_theirs else f"Bearer {key}"
    return httpx.Headers(headers)
