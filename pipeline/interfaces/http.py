"""HTTP exchanges between the port's server and the endpoints of every room. Values only."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from pipeline.interfaces.completions import Caller

NO_STORE: Mapping[str, str] = MappingProxyType({"Cache-Control": "no-store"})


class HttpResponse(NamedTuple):
    """A whole response."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = NO_STORE


class ResponseStream(Protocol):
    """The body of a response that is sent piece by piece."""

    async def write(self, data: bytes) -> None:
        """Send ``data``; returns when there is room for more.

        Raises ConnectionError for a client that has stopped reading.
        """
        ...

    async def end(self) -> None:
        """End the body."""
        ...


class HttpRequest(Protocol):
    """One admitted request. A client that disconnects cancels the task that answers it."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str:
        """The path without its query, percent-encoding undone."""
        ...

    @property
    def query(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]:
        """Case-insensitive."""
        ...

    @property
    def caller(self) -> Caller: ...
    async def body(self, limit: int) -> bytes:
        """Return the whole body. Raises ``InputError`` past ``limit`` bytes, or when it is late."""
        ...

    async def stream(
        self, status: int, content_type: str, headers: Mapping[str, str]
    ) -> ResponseStream:
        """Send the head of a response whose body follows piece by piece."""
        ...


#: answers a request; None: it has streamed its response
Handler = Callable[[HttpRequest], Awaitable[HttpResponse | None]]
