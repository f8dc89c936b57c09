"""Python subscriber: yields a server's events and reconnects automatically."""

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
from pipeline.protocol.events import ServerEvent, UnknownEvent, decode_event, encode
from pipeline.runtime.connect_errors import why_unreachable
from pipeline.runtime.hosts import is_loopback

OPEN_TIMEOUT = 5.0  #: seconds for a handshake
CLOSE_TIMEOUT = 2.0  #: seconds for the closing handshake
SILENCE_TIMEOUT = 30.0  #: seconds without a heartbeat or a pong until the connection is lost
PATIENCE = 60.0  #: seconds of reconnect attempts
BACKOFF = 0.25  #: seconds before the second attempt, doubled up to ``MAX_BACKOFF``
MAX_BACKOFF = 5.0  #: seconds
MAX_EVENT_BYTES = 1 << 24  #: the snapshot of a session may be long

#: a bearer token, or a function that returns one per connection: a signed token opens only one
Token = str | Callable[[], str | Awaitable[str]]

logger = logging.getLogger(__name__)


class Events:
    """Async iterator over the events of one session, or of all, in order; ends with the session."""

    def __init__(self, url: str, resume: Resume, *, patience: float, token: Token = "") -> None:
        self.raw = b""  #: the newest event's JSON, as received
        self._url = f"{url.rstrip('/')}/v1/events"
        self._token = token
        self._resume = resume
        self._patience = patience
        self._socket: ClientConnection | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ServerEvent | UnknownEvent:
        """Return the next event. Raises ``SubscribeError`` when the subscription fails."""
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
                await self._reconnect(f"closed with {closed.rcvd.code if closed.rcvd else 1006}")
            except Gap as gap:
                await self._reconnect(str(gap))
            except msgspec.MsgspecError as error:
                raise SubscribeError(f"{self._url} sent an invalid event: {error}") from error
        raise StopAsyncIteration

    async def open(self) -> None:
        """Connect and send the subscriptions. Raises ``SubscribeError`` on failure."""
        token = await self._bearer()
        try:
            self._socket = await connect_websocket(
                self._url,
                additional_headers={"Authorization": f"Bearer {token}"} if token else {},
                compression=None,
                proxy=None if is_loopback(urlsplit(self._url).hostname or "") else True,
                open_timeout=OPEN_TIMEOUT,
                close_timeout=CLOSE_TIMEOUT,
                ping_interval=SILENCE_TIMEOUT / 3,
                ping_timeout=SILENCE_TIMEOUT / 3,
                max_size=MAX_EVENT_BYTES,
            )
            for command in self._resume.commands():
                await self._socket.send(encode(command), text=True)
        except InvalidStatus as error:
            status, body = error.response.status_code, error.response.body or b""
            text = body[:200].decode(errors="replace").strip()
            raise SubscribeError(
                f"cannot subscribe at {self._url}: HTTP {status}: {text}", code=status
            ) from error
        except (OSError, InvalidHandshake, InvalidURI, ConnectionClosed) as error:
            raise SubscribeError(
                f"cannot subscribe at {self._url}: {why_unreachable(error)}"
            ) from error

    async def _bearer(self) -> str:
        """Return the token of the next connection."""
        if isinstance(self._token, str):
            return self._token
        try:
            token = self._token()
            return token if isinstance(token, str) else await token
        except Exception as error:  # the caller's function may raise anything
            raise SubscribeError(f"cannot get a token for {self._url}: {error}") from error

    async def send(self, command: ControlCommand) -> None:
        """Send a command to a subscribed session: return a tool's result, cancel a response, ...

        Requires a token with the scope ``control`` if the server has tokens; a refused command is
        answered with an ``error`` event. Raises ``SubscribeError`` when the connection is lost: a
        command is not sent again.
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
        with anyio.move_on_after(CLOSE_TIMEOUT, shield=True) as timeout:
            await socket.close()
        if timeout.cancelled_caught:
            socket.transport.abort()

    def _raise_if_final(self, closed: ConnectionClosed) -> None:
        if closed.rcvd is not None and not may_reconnect(closed.rcvd.code):
            raise SubscribeError(
                f"{self._url} closed with {closed.rcvd.code}: {closed.rcvd.reason}",
                code=closed.rcvd.code,
            ) from closed

    def _is_final(self, status: int | None) -> bool:
        """Return whether a handshake refused with ``status`` will be refused again."""
        return status == 403 or (status == 401 and isinstance(self._token, str))

    async def _reconnect(self, cause: str) -> None:
        """Reconnect, with growing delays, for at most ``patience`` seconds."""
        logger.info("%s: %s; reconnecting", self._url, cause)
        await self.close()
        deadline = anyio.current_time() + self._patience
        backoff = BACKOFF
        while True:
            await anyio.sleep(random.uniform(0, backoff))
            backoff = min(2 * backoff, MAX_BACKOFF)
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

    ``after_seq`` is 0 for all events from the start, and absent for future events only;
    ``events`` are globs of event types; ``token`` is the bearer token, or a function, plain or
    async, that returns one per connection; an exception that it raises during a reconnect counts
    as a failed attempt. A lost connection is resumed where it broke. Raises ``SubscribeError``
    when the server is unreachable or refuses.
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
