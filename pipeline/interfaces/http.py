"""HTTP exchanges between the port's server and the endpoints of every room. Values only."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from msgspec import Struct

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

    async def end(self, data: bytes = b"") -> None:
        """End the body, with ``data`` as its last part."""
        ...


class HttpRequest(Protocol):
    """One admitted request. A client that disconnects cancels the task that answers it."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str:
        """The path without its query, percent-encoded as it came."""
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

#: returns the response to a request that is refused before its endpoint: status, text, headers
Refuse = Callable[[int, str, Mapping[str, str]], HttpResponse]


class Endpoint(Struct, frozen=True, kw_only=True):
    """One path of the port that another room answers."""

    path: str
    methods: tuple[str, ...]
    answer: Handler
    scope: str | None  #: that a token needs; None: public
    below: bool = False  #: whether it also answers every path below
    is_work: bool = False  #: a server that drains refuses it
    refuse: Refuse | None = None  #: None: a line of text

    def takes(self, path: str) -> bool:
        """Return whether it answers ``path``."""
        return path == self.path or (self.below and path.startswith(f"{self.path}/"))


def endpoint_at(path: str, endpoints: Sequence[Endpoint]) -> Endpoint | None:
    """Return the one of ``endpoints`` that answers ``path``, if any."""
    return next((each for each in endpoints if each.takes(path)), None)
