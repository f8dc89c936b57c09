"""HTTP server of the port: aiohttp's, over connections that begin with a plain request."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

import anyio
from aiohttp import web

from pipeline.errors import InputError
from pipeline.interfaces.completions import Caller
from pipeline.interfaces.http import HttpResponse
from pipeline.runtime.tcp import reset

KEEP_ALIVE = 75.0  #: seconds until an idle connection is closed
LINGER = 2.0  #: seconds to read the rest of a refused body, so that the client sees why
BODY = 30.0  #: seconds for the whole body of a request
STALL = 10.0  #: seconds in which a client takes nothing, then it is cut
MAX_LINE = 8190  #: bytes of a request line, and of a header
MAX_HEADERS = 128
SMALL = 1 << 15  #: bytes that one write may have without a watch on it

logger = logging.getLogger(__name__)
_aiohttp_logger = logging.getLogger(f"{__name__}.aiohttp")
_aiohttp_logger.setLevel(logging.CRITICAL)  # malformed requests are the client's affair

#: answers an admitted or a refused request alike; None: it has streamed its response
Answer = Callable[["PlainRequest"], Awaitable[HttpResponse | None]]


class HttpServer:
    """Makes the protocol of each plain HTTP connection, and counts the requests in progress."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._server = web.Server(
            self._respond,
            handler_cancellation=True,  # a client that disconnects cancels its request
            access_log=None,
            logger=_aiohttp_logger,
            keepalive_timeout=KEEP_ALIVE,
            lingering_time=LINGER,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_HEADERS,
            auto_decompress=False,  # a small body stays a small body
            tcp_keepalive=False,  # the listener's own timeouts do that
        )
        self._in_progress = 0
        self._idle = anyio.Event()
        self._idle.set()

    @property
    def connections(self) -> int:
        return len(self._server.connections)

    @property
    def in_progress(self) -> int:
        return self._in_progress

    def protocol(self) -> asyncio.Protocol:
        """Return the protocol of one new connection."""
        return self._server()

    async def idle(self) -> None:
        """Wait until no request is in progress."""
        while self._in_progress:
            self._idle = anyio.Event()
            await self._idle.wait()

    async def stop(self, seconds: float) -> None:
        """Close every connection; requests in progress are cancelled."""
        await self._server.shutdown(seconds)

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        plain = PlainRequest(request)
        self._in_progress += 1
        try:
            answer = await self._answer(plain)
        except ConnectionError:
            raise
        except Exception:
            logger.exception("a request failed: %s", plain.path[:200])
            if plain.started is not None:
                plain.cut()
                raise ConnectionResetError("the response could not be completed") from None
            answer = HttpResponse(500, "text/plain; charset=utf-8", b"internal error\n")
        finally:
            self._in_progress -= 1
            if not self._in_progress:
                self._idle.set()
        if answer is None:
            assert plain.started is not None, "the request was neither answered nor streamed"
            return plain.started
        return plain.response(answer)


class PlainRequest:
    """One request as aiohttp read it. Satisfies ``interfaces.http.HttpRequest``."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self.method = request.method
        self.target = request.raw_path  #: path and query as they came
        self.path, _, self.query = self.target.partition("?")
        self.headers: Mapping[str, str] = request.headers
        self.caller = Caller()
        self.keep_alive = False  #: whether the connection may stay open afterwards
        self.started: web.StreamResponse | None = None  #: the head of a stream has been sent

    @property
    def peer(self) -> str:
        """The address of the other end."""
        transport = self._request.transport
        name = None if transport is None else transport.get_extra_info("peername")
        return str((name or ("",))[0])

    def all(self, name: str) -> str:
        """Return every value of a header, with commas between them."""
        return ",".join(self._request.headers.getall(name, []))

    async def body(self, limit: int) -> bytes:
        """Return the whole body; see ``interfaces.http.HttpRequest``."""
        if self.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise InputError("a compressed body is not accepted: send it without Content-Encoding")
        if (self._request.content_length or 0) > limit:
            raise InputError(f"the body is longer than {limit} bytes")
        if self.headers.get("Expect", "").lower() == "100-continue":
            await self._continue()
        parts: list[bytes] = []
        size = 0
        with anyio.move_on_after(BODY) as patience:
            while part := await self._request.content.readany():
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise InputError(f"the body is longer than {limit} bytes")
        if patience.cancelled_caught:
            raise InputError(f"the body did not come in {BODY:g} s")
        return b"".join(parts)

    async def _continue(self) -> None:
        transport = self._request.transport
        if transport is not None:
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def stream(
        self, status: int, content_type: str, headers: Mapping[str, str]
    ) -> "StreamedResponse":
        """Send the head of a response; see ``interfaces.http.HttpRequest``."""
        response = web.StreamResponse(status=status, headers=self._headers(content_type, headers))
        self._finish(response)
        await response.prepare(self._request)
        self.started = response
        return StreamedResponse(response, self)

    def response(self, answer: HttpResponse) -> web.Response:
        """Return ``answer`` in aiohttp's terms."""
        headers = self._headers(answer.content_type, answer.headers)
        response = web.Response(status=answer.status, body=answer.body, headers=headers)
        self._finish(response)
        return response

    def _headers(self, content_type: str, headers: Mapping[str, str]) -> dict[str, str]:
        return {"Content-Type": content_type, "Server": "pipeline", **headers}

    def _finish(self, response: web.StreamResponse) -> None:
        if not self.keep_alive:
            response.force_close()

    def unsent(self) -> int:
        """Return how many bytes of the response wait to be sent."""
        transport = self._request.transport
        return 0 if transport is None else transport.get_write_buffer_size()

    def cut(self) -> None:
        """Close the connection at once: a response in progress is not whole."""
        if self._request.transport is not None:
            reset(self._request.transport)


class StreamedResponse:
    """A response while it is sent. Satisfies ``interfaces.http.ResponseStream``."""

    def __init__(self, response: web.StreamResponse, request: PlainRequest) -> None:
        self._response = response
        self._request = request

    async def write(self, data: bytes) -> None:
        """Send ``data``; raises ConnectionError for a client that takes nothing for ``STALL``."""
        if len(data) <= SMALL and not self._request.unsent():
            await self._response.write(data)  # there is room, so it does not wait
            return
        with anyio.move_on_after(STALL) as patience:
            await self._response.write(data)
        if patience.cancelled_caught:
            self._request.cut()
            raise ConnectionResetError(f"the client took nothing for {STALL:g} s")

    async def end(self, data: bytes = b"") -> None:
        """End the body, with ``data`` as its last part; raises ConnectionError as ``write``."""
        with anyio.move_on_after(STALL) as patience:
            await self._response.write_eof(data)
        if patience.cancelled_caught:
            self._request.cut()
            raise ConnectionResetError(f"the client took nothing for {STALL:g} s")
