"""HTTP exchange over any httpx transport, for callers with their own transport."""

import math
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import TypeVar

import anyio
import httpx

from pipeline.errors import GatewayLost, GatewayTimeout

CLOSE_TIMEOUT = 1.0  #: seconds to close a response
#: seconds for the end of the body after a reply is over
TAIL_TIMEOUT = 0.1

T = TypeVar("T")


class HttpxExchange:
    """One request and its response over an httpx transport; ``head`` sends the request."""

    def __init__(self, transport: httpx.AsyncBaseTransport, request: httpx.Request) -> None:
        self._transport = transport
        self._request = request
        self._response: httpx.Response | None = None
        self._body: AsyncIterator[bytes] | None = None
        self._scope: anyio.CancelScope | None = None
        self._is_closed = False
        self._has_tail = False

    @property
    def status(self) -> int:
        return self._response.status_code if self._response is not None else 0

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        if self._response is None:
            return []
        return [(name.lower(), value) for name, value in self._response.headers.raw]

    async def head(self) -> None:
        self._response = await self._bounded(self._transport.handle_async_request(self._request))
        stream = self._response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        self._body = aiter(stream)

    async def read(self, deadline: float | None = None) -> bytes:
        assert self._body is not None
        return await self._bounded(anext(self._body, b""), deadline)

    def close(self, *, is_over: bool = False) -> None:
        self._is_closed = True
        self._has_tail = is_over
        if self._scope is not None:
            self._scope.cancel()

    def drop(self) -> None:
        """Do nothing: closing needs waiting here, so the task that reads does it."""

    async def aclose(self) -> None:
        if self._response is None:
            return
        with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
            try:
                await self._read_tail()
                await self._response.aclose()
            except httpx.HTTPError:
                return  # a broken connection needs no closing

    async def _read_tail(self) -> None:
        """Read the rest of the body, so that the pool can reuse the connection."""
        if self._has_tail and self._body is not None:
            with anyio.move_on_after(TAIL_TIMEOUT):
                async for _ in self._body:
                    pass

    async def _bounded(self, work: Awaitable[T], deadline: float | None = None) -> T:
        """Await ``work`` until ``deadline`` or ``close``; translate httpx's errors."""
        host = self._request.url.host
        try:
            with anyio.CancelScope(deadline=math.inf if deadline is None else deadline) as scope:
                self._scope = scope
                return await work
        except httpx.TimeoutException as cause:
            raise GatewayTimeout(f"{host}: {str(cause) or 'no response in time'}") from cause
        except (httpx.HTTPError, httpx.StreamError) as cause:
            raise GatewayLost(f"{host}: {str(cause) or type(cause).__name__}") from cause
        finally:
            self._scope = None
        if self._is_closed:
            raise GatewayLost(f"{host}: the exchange was closed by this client")
        raise TimeoutError
