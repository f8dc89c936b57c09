"""The door to language models: any server that speaks OpenAI's chat completions."""

from collections.abc import Mapping

import anyio
import httpx
import msgspec

from pipeline import __version__
from pipeline.config.settings import LlmSettings
from pipeline.errors import GatewayError, GatewayLost, SettingsError
from pipeline.gateway import error_responses, wire
from pipeline.gateway.catalog import Catalog
from pipeline.gateway.catalog import parse as parse_catalog
from pipeline.gateway.http.httpx_exchange import HttpxExchange
from pipeline.gateway.http.transport import WarmTransport, origin_of, serialised
from pipeline.gateway.model_quirks import adapted
from pipeline.gateway.reply import GatewayReply, HttpExchange, decoded, refusal_body
from pipeline.gateway.slot_queue import SlotQueue
from pipeline.gateway.slots import Slots, Ticket
from pipeline.gateway.stream import MAX_BODY, ReplyReader
from pipeline.interfaces.llm import CompletionRequest
from pipeline.runtime.hosts import is_assemblyai

#: connections kept ready at most, however many sessions hear speech at once
MAX_SPARES = 16
USAGE = {"stream_options": {"include_usage": True}}


class GatewayClient:
    """Opens replies of one server. Satisfies ``interfaces.llm.Gateway``.

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
        self.places = SlotQueue(self.slots)
        self._key = key.strip()
        self.headers = _headers(self.url, self._key)
        self._head = serialised(httpx.Request("POST", self.url, headers=self.headers))
        self._head = self._head.replace(b"Content-Length: 0\r\n", b"").removesuffix(b"\r\n")
        self._origin = origin_of(self.url)
        self._ask_usage = ask_usage
        self._expected = 0  # calls of warm that no request has followed yet
        self._catalog: Catalog | None = None

    def open(self, request: CompletionRequest, *, speculative: bool = False) -> GatewayReply:
        """Return the reply to ``request``, to be entered; see ``interfaces.llm.Gateway``.

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
        """The catalog as last read, however old; for a ``catalog_gate.CatalogGate``."""
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
        answer: HttpExchange
        if isinstance(self.transport, WarmTransport):
            answer = await self.transport.send(serialised(message), self._origin)
        else:
            answer = HttpxExchange(self.transport, message)
        try:
            await answer.head()
            if answer.status != 200:
                headers, body = decoded(answer.headers), await refusal_body(answer)
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

    async def send(self, request: CompletionRequest) -> HttpExchange:
        """Write ``request``; raises a GatewayError."""
        body = self._encoded(request)
        self._expected = max(0, self._expected - 1)
        if isinstance(self.transport, WarmTransport):
            return await self.transport.send(self._whole(request, body), self._origin)
        headers = {**self.headers, **request.headers}
        message = httpx.Request("POST", self.url, headers=headers, content=body)
        return HttpxExchange(self.transport, message)

    def send_now(self, request: CompletionRequest) -> HttpExchange | None:
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
        return error_responses.refusal(status, headers, body, host=self.host, key=self._key)


def _line(header: tuple[str, str]) -> tuple[bytes, bytes]:
    name, value = header
    return name.encode("ascii"), value.encode("ascii")


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
