"""Client of one OpenAI-compatible chat-completions server."""

from collections.abc import Mapping

import anyio
import httpx

from pipeline.config.settings import LlmSettings
from pipeline.errors import GatewayError, GatewayLost, SettingsError
from pipeline.gateway import error_responses, wire
from pipeline.gateway.address import endpoints
from pipeline.gateway.catalog import Catalog
from pipeline.gateway.catalog import parse as parse_catalog
from pipeline.gateway.dialect import Dialect, hint
from pipeline.gateway.http.httpx_exchange import HttpxExchange
from pipeline.gateway.http.transport import WarmTransport, origin_of, serialised
from pipeline.gateway.model_quirks import adapted
from pipeline.gateway.reply import GatewayReply, HttpExchange, decoded, refusal_body
from pipeline.gateway.slot_queue import SlotQueue
from pipeline.gateway.slots import Slots, Ticket
from pipeline.gateway.stream import MAX_BODY, ReplyReader
from pipeline.interfaces.llm import CompletionRequest
from pipeline.runtime.hosts import is_assemblyai
from pipeline.runtime.version import VERSION

#: limit of spare connections, for any number of sessions with speech at the same time
MAX_SPARES = 16


class GatewayClient:
    """Client of one server; implements ``interfaces.llm.Gateway``.

    With a transport other than ``WarmTransport``, a request is sent at the first ``receive``.
    """

    def __init__(
        self,
        base_url: str,
        key: str = "",
        settings: LlmSettings | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        dialect: Dialect | None = None,
    ) -> None:
        """``dialect``: headers and parameters of this server; its headers replace ours."""
        settings = settings or LlmSettings()
        self.endpoints = endpoints(base_url)
        self.url = self.endpoints.chat
        self.host = self.url.netloc.decode("ascii")
        self.location = _location(self.host)  #: the vendor's region, or the host
        self.stall_timeout = settings.stall_timeout  #: seconds
        self.transport = transport or WarmTransport(connect_timeout=settings.connect_timeout)
        self.slots = Slots(settings.connections)
        self.slot_queue = SlotQueue(self.slots)
        self.dialect = dialect or Dialect()
        own = self.dialect.headers
        #: never shown, though a server may repeat them
        self._secrets = (key.strip(), *own.values(), *self.endpoints.secrets())
        self.headers = _headers(self.url, key.strip(), own)
        self._head = serialised(httpx.Request("POST", self.url, headers=self.headers))
        self._head = self._head.replace(b"Content-Length: 0\r\n", b"").removesuffix(b"\r\n")
        self._origin = origin_of(self.url)
        self._expected = 0  # calls of warm() minus requests sent since
        self._catalog: Catalog | None = None

    def open(self, request: CompletionRequest, *, speculative: bool = False) -> GatewayReply:
        """Return the reply to ``request``, an async context; see ``interfaces.llm.Gateway``.

        A committed request preempts a speculative one when no connection slot is free: the
        speculative reply's ``receive`` raises GatewayBusy.
        """
        return GatewayReply(self, request, Ticket(speculative=speculative))

    async def warm(self) -> None:
        """Open a spare connection for a request that is expected soon.

        A failure is not reported here: the request itself raises it.
        """
        self._expected = min(self._expected + 1, MAX_SPARES)
        if isinstance(self.transport, WarmTransport):
            try:
                await self.transport.warm(self._origin, self._expected)
            except GatewayError:
                return

    async def keep_warm(self) -> None:
        """Replace connections closed by cancelled requests, until cancelled itself."""
        if isinstance(self.transport, WarmTransport):
            await self.transport.keep_warm(self._origin)

    def transport_idle(self) -> int:
        """Return the number of idle connections."""
        if isinstance(self.transport, WarmTransport):
            return self.transport.idle(self._origin)
        return 0

    async def aclose(self) -> None:
        await self.transport.aclose()

    @property
    def known_catalog(self) -> Catalog | None:
        """The last catalog that was read, of any age; for ``catalog_gate.CatalogGate``."""
        return self._catalog

    async def catalog(self, max_age: float = 600.0) -> Catalog:
        """Return the server's models, read at most ``max_age`` seconds ago.

        Raises a GatewayError. Sets no time limit: the deadline is the caller's.
        """
        now = anyio.current_time()
        if self._catalog is None or now - self._catalog.read_at > max_age:
            body = await self._get_models()
            # Other servers accept names that they do not list: Ollama's tags, LiteLLM's wildcards.
            self._catalog = parse_catalog(body, now, is_whole=self.location != self.host)
        return self._catalog

    async def _get_models(self) -> bytes:
        message = httpx.Request("GET", self.endpoints.models, headers=self.headers)
        exchange: HttpExchange
        if isinstance(self.transport, WarmTransport):
            exchange = await self.transport.send(serialised(message), self._origin)
        else:
            exchange = HttpxExchange(self.transport, message)
        try:
            await exchange.head()
            if exchange.status != 200:
                headers, body = decoded(exchange.headers), await refusal_body(exchange)
                raise self.refusal(exchange.status, headers, body)
            body = b""
            while data := await exchange.read():
                body += data
                if len(body) > MAX_BODY:
                    raise GatewayLost(
                        f"the model list of {self.host} is longer than {MAX_BODY} bytes"
                    )
            return body
        finally:
            exchange.close(is_over=False)
            await exchange.aclose()

    async def send(self, request: CompletionRequest) -> HttpExchange:
        """Write ``request``; raises a GatewayError."""
        body = self._encoded(request)
        self._expected = max(0, self._expected - 1)
        if isinstance(self.transport, WarmTransport):
            return await self.transport.send(self._message(request, body), self._origin)
        headers = {**self.headers, **request.headers}
        message = httpx.Request("POST", self.url, headers=headers, content=body)
        return HttpxExchange(self.transport, message)

    def send_now(self, request: CompletionRequest) -> HttpExchange | None:
        """Write ``request`` if a connection is idle, else return None; raises a GatewayError."""
        if not isinstance(self.transport, WarmTransport):
            return None
        message = self._message(request, self._encoded(request))
        exchange = self.transport.send_now(message, self._origin)
        if exchange is not None:
            self._expected = max(0, self._expected - 1)
        return exchange

    def _encoded(self, request: CompletionRequest) -> bytes:
        sent = adapted(self.dialect.adapted(request, self.host))
        return wire.encode_request(sent, self._origin_of(request))

    def _origin_of(self, request: CompletionRequest) -> str:
        """Return server and model, as the owner of what they attach to their messages."""
        return f"{self.endpoints.place} {request.model}"

    def _message(self, request: CompletionRequest, body: bytes) -> bytes:
        # Building an httpx.Request per call would take as long as the rest of this path.
        more = b""
        if request.headers:
            more = b"".join(b"%b: %b\r\n" % _line(pair) for pair in request.headers.items())
        return self._head + more + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def reader(self, headers: Mapping[str, str], request: CompletionRequest) -> ReplyReader:
        origin = self._origin_of(request)
        return ReplyReader(self.host, headers, self._secrets, request, origin)

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        place = self.endpoints.place if status == 404 else self.host
        error = error_responses.refusal(status, headers, body, host=place, key=self._secrets)
        if advice := hint(error.status, error.body or ""):
            error.args = (f"{error}; {advice}",)
        return error


def _line(header: tuple[str, str]) -> tuple[bytes, bytes]:
    name, value = header
    return name.encode("ascii"), value.encode("ascii")


def _location(host: str) -> str:
    if not is_assemblyai(host):
        return host
    return "eu" if ".eu." in host else "us"


def _headers(url: httpx.URL, key: str, own: Mapping[str, str]) -> httpx.Headers:
    """Return the headers that all requests share."""
    headers = httpx.Headers(
        {
            "Host": url.netloc.decode("ascii"),
            "User-Agent": f"speech-llm-pipeline/{VERSION}",
            "Accept": "text/event-stream, application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
        }
    )
    if key:
        if not (key.isascii() and key.isprintable()):
            raise SettingsError("the key of [llm] has characters that an API key cannot have")
        is_theirs = is_assemblyai(url.host)
        headers["Authorization"] = key if is_theirs else f"Bearer {key}"
    headers.update(own)
    return headers
