"""Transport interface of one connection; ``websocket`` implements it. Pure."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from pipeline.interfaces.stt_protocol import SttEndpoint


class Closed(Exception):
    """The connection is closed; the code is 1006 where the peer sent no close frame."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class SttSocket(Protocol):
    """An open websocket."""

    @property
    def writable(self) -> bool:
        """Whether a message can be sent now without a wait."""
        ...

    async def send(self, message: bytes | str) -> None:
        """Send a message; on a closed connection nothing happens."""
        ...

    async def confirm(self) -> None:
        """Return once the peer has read everything that was sent, or the connection is closed."""
        ...

    async def receive(self) -> bytes:
        """Return the next message. Raises ``Closed``."""
        ...

    def abort(self, reason: str) -> None:
        """Drop the connection at once; ``receive`` reports ``reason``."""
        ...

    async def leave(self, last: str | None) -> None:
        """Send ``last``, if given, and close within a bounded time, also when cancelled."""
        ...


Dial = Callable[[SttEndpoint], Awaitable[SttSocket]]
