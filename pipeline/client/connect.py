"""A subscriber in Python: yields a server's events and comes back by itself."""

import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import urlsplit

import anyio
import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from pipeline.client.resume import Gap, Resume
from pipeline.errors import SubscribeError
from pipeline.protocol.close_codes import may_reconnect
from pipeline.protocol.commands import ControlCommand
from pipeline.protocol.events import ServerEvent, Unknown, decode_event, encode
from pipeline.runtime.hosts import is_loopback

OPEN = 5.0  #: seconds for a handshake
CLOSE = 2.0  #: seconds for a goodbye
SILENCE = 30.0  #: seconds without even a heartbeat of a followed session or a pong
PATIENCE = 60.0  #: seconds of trying to come back
BACKOFF = 0.25  #: seconds before the second try, doubled up to ``BACKOFF_MOST``
BACKOFF_MOST = 5.0
MAX_EVENT = 1 << 24  #: bytes; a whole session's state may be long

#: a bearer token, or what gets one for each connection: a signed one opens only one
Token = str | Callable[[], str | Awaitable[str]]

logger = logging.getLogger(__name__)


class Events:
    """The events of one session, or of all, in order; ends with the session."""

    def __init__(self, url: str, resume: Resume, *, patience: float, token: Token = "") -> None:
        self.raw = b""  #: the newest event's JSON, as it came
        self._url = f"{url.rstrip('/')}/v1/events"
        self._token = token
        self._resume = resume
        self._patience = patience
        self._socket: ClientConnection | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ServerEvent | Unknown:
        """Return the next event. Raises ``SubscribeError`` when there can be no more."""
        while not self._resume.over:
            assert self._socket is not None
            try:
                raw = await self._socket.recv(decode=False)
                event = decode_event(raw)
                if self._resume.accept(event):
                    self.raw = raw
                    return event
            except ConnectionClosed as closed:
                self._raise_if_final(closed)
                await self._return(f"closed with {closed.rcvd.code if closed.rcvd else 1006}")
            except Gap as gap:
                await self._return(str(gap))
            except msgspec.MsgspecError as error:
                raise SubscribeError(f"{self._url} sent no event of ours: {error}") from error
        raise StopAsyncIteration

    async def open(self) -> None:
        """Connect and say what is wanted. Raises ``SubscribeError`` when that fails."""
        token = await self._bearer()
        try:
            self._socket = await connect_websocket(
                self._url,
                additional_headers={"Authorization": f"Bearer {token}"} if token else {},
                compression=None,
                proxy=None if is_loopback(urlsplit(self._url).hostname or "") else True,
                open_timeout=OPEN,
                close_timeout=CLOSE,
                ping_interval=SILENCE / 3,
                ping_timeout=SILENCE / 3,
                max_size=MAX_EVENT,
            )
            for command in self._resume.commands():
                await self._socket.send(encode(command), text=True)
        except InvalidStatus as error:
            status, body = error.response.status_code, error.response.body or b""
            said = body[:200].decode(errors="replace").strip()
            raise SubscribeError(
                f"cannot subscribe at {self._url}: HTTP {status}: {said}", code=status
            ) from error
        except (OSError, InvalidHandshake, InvalidURI, ConnectionClosed) as error:
            raise SubscribeError(
                f"cannot subscribe at {self._url}: {str(error) or type(error).__name__};"
                " is the server running?"
            ) from error

    async def _bearer(self) -> str:
        """Return the token of the next connection."""
        if isinstance(self._token, str):
            return self._token
        try:
            made = self._token()
            return made if isinstance(made, str) else await made
        except Exception as error:  # whatever it asks, and however that fails
            raise SubscribeError(f"there is no token for {self._url}: {error}") from error

    async def send(self, command: ControlCommand) -> None:
        """Steer a session that is followed: return a tool's result, call a response off, ...

        Asks for a token with the scope ``control``, where there are tokens; what is refused comes
        as an ``error`` event. Raises ``SubscribeError`` when the connection is gone: what was
        sent is not sent again.
        """
        try:
            if self._socket is None:
                raise SubscribeError(f"{self._url} is not connected")
            await self._socket.send(encode(command), text=True)
        except ConnectionClosed as closed:
            raise SubscribeError(f"{self._url}: the connection is lost: {closed}") from closed

    async def close(self) -> None:
        socket, self._socket = self._socket, None
        if socket is None:
            return
        with anyio.move_on_after(CLOSE, shield=True) as patience:
            await socket.close()
        if patience.cancelled_caught:
            socket.transport.abort()

    def _raise_if_final(self, closed: ConnectionClosed) -> None:
        if closed.rcvd is not None and not may_reconnect(closed.rcvd.code):
            raise SubscribeError(
                f"{self._url} closed with {closed.rcvd.code}: {closed.rcvd.reason}",
                code=closed.rcvd.code,
            ) from closed

    def _is_final(self, status: int | None) -> bool:
        """Whether a handshake refused with ``status`` will be the next time, too."""
        return status == 403 or (status == 401 and isinstance(self._token, str))

    async def _return(self, cause: str) -> None:
        """Connect again, with growing pauses, for as long as ``patience`` lasts."""
        logger.info("%s: %s; coming back", self._url, cause)
        await self.close()
        deadline = anyio.current_time() + self._patience
        most = BACKOFF
        while True:
            await anyio.sleep(random.uniform(0, most))
            most = min(2 * most, BACKOFF_MOST)
            try:
                await self.open()
            except SubscribeError as error:
                if self._is_final(error.code) or anyio.current_time() > deadline:
                    raise
            else:
                return


@asynccontextmanager
async def connect(  # noqa: PLR0913 - keywords, each with a default
    url: str,
    session_id: str = "*",
    *,
    after_seq: int | None = None,
    events: Sequence[str] = (),
    token: Token = "",
    patience: float = PATIENCE,
) -> AsyncGenerator[Events]:
    """Subscribe at ``url`` (``ws://host:port``) and yield an async iterator of events.

    ``after_seq`` is 0 for everything from the start, absent for what comes from now on;
    ``events`` are globs of event types; ``token`` goes as the bearer token, or gets one
    for each connection, at once or awaited; what it raises while coming back is taken for a
    failed try. A lost connection is taken up again where it broke. Raises ``SubscribeError``
    when the server cannot be reached, or refuses.
    """
    subscription = Events(
        url,
        Resume(session_id, after_seq=after_seq, events=events),
        patience=patience,
        token=token,
    )
    await subscription.open()
    try:
        yield subscription
    finally:
        await subscription.close()
