"""Websocket client of the speech-to-text stream; the only module here with a network library."""

import socket as sockets
import ssl
from contextlib import suppress

import anyio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
)

from pipeline.errors import SttError, SttLost, SttRefused
from pipeline.interfaces.stt_protocol import SttEndpoint
from pipeline.stt.transport import Closed

USER_AGENT = "pipeline (anyio, websockets)"
#: bytes; a revision of speakers can name every word of a three-hour session
MAX_MESSAGE = 16 * 2**20
#: bytes waiting to be sent; below it a send cannot block, so it needs no deadline
WRITABLE = 16 * 2**10
#: seconds; the keepalive detects a silent peer within twice as much and ``CLOSE_TIMEOUT``
KEEPALIVE = 5.0
CLOSE_TIMEOUT = 1.0  #: seconds for the last message and the closing handshake
LONGEST_BODY = 200  #: characters of an HTTP response that an error message quotes


class Websocket:
    """An open websocket; every wait is bounded except the one for the next message."""

    def __init__(self, socket: ClientConnection, send_timeout: float) -> None:
        self._socket = socket
        self._send_timeout = send_timeout
        self._abort_reason = ""

    @property
    def writable(self) -> bool:
        """Whether a message can be sent now without a wait."""
        return self._socket.transport.get_write_buffer_size() < WRITABLE

    async def send(self, message: bytes | str) -> None:
        """Send one message; abort the connection when the peer does not take it in time.

        This is the only place that sends: ``websockets`` waits without limit when the peer
        stops reading, and so does its ``close``; only aborting the transport ends that. On a
        closed connection nothing happens, because ``receive`` reports the reason.
        """
        try:
            if self.writable:
                await self._socket.send(message)
                return
            with anyio.fail_after(self._send_timeout):
                await self._socket.send(message)
        except TimeoutError:
            self.abort(f"it took no audio for {self._send_timeout:g} s")
        except ConnectionClosed:
            return

    async def confirm(self) -> None:
        """Wait for the answer to a ping: it comes after what was sent before has been read."""
        with suppress(ConnectionClosed):
            await (await self._socket.ping())

    async def receive(self) -> bytes:
        """Return the next message. Raises ``Closed``."""
        try:
            return await self._socket.recv(decode=False)
        except ConnectionClosed as closed:
            if closed.rcvd is not None:
                raise Closed(closed.rcvd.code, closed.rcvd.reason) from closed
            sent = closed.sent.reason if closed.sent is not None else ""
            raise Closed(1006, self._abort_reason or sent) from closed

    def abort(self, reason: str) -> None:
        """Drop the connection at once; ``receive`` reports the first ``reason``."""
        self._abort_reason = self._abort_reason or reason
        self._socket.transport.abort()

    async def leave(self, last: str | None) -> None:
        """Send ``last``, if given, and close: also when cancelled, within ``CLOSE_TIMEOUT``."""
        with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
            if last is not None:
                await self.send(last)
            await self._socket.close()
        self._socket.transport.abort()


async def dial(endpoint: SttEndpoint) -> Websocket:
    """Open a websocket, within ``connect_timeout``.

    Raises ``SttRefused``, ``SttBusy`` or ``SttLost``, with the host and what to do.
    """
    host, timeout = endpoint.host, endpoint.connect_timeout
    try:
        with anyio.fail_after(timeout):
            return Websocket(await _connect(endpoint), endpoint.send_timeout)
    except TimeoutError:
        raise SttLost(f"no answer from speech-to-text at {host} within {timeout:g} s") from None
    except (InvalidHandshake, InvalidProxy, InvalidURI) as error:
        raise _handshake_error(error, endpoint) from error
    except ssl.SSLCertVerificationError as error:
        raise SttRefused(
            f"the certificate of {host} is not trusted: {error.verify_message}"
        ) from error
    except OSError as error:
        raise SttLost(f"speech-to-text at {host} is out of reach: {_reason(error)}") from error


async def _connect(endpoint: SttEndpoint) -> ClientConnection:
    return await connect(
        endpoint.url,
        additional_headers=endpoint.headers,
        user_agent_header=USER_AGENT,
        compression=None,  # audio does not shrink
        proxy=None if endpoint.loopback else True,
        open_timeout=None,  # the caller's deadline covers it
        ping_interval=KEEPALIVE,
        ping_timeout=KEEPALIVE,
        close_timeout=CLOSE_TIMEOUT,
        max_size=MAX_MESSAGE,
    )


def _handshake_error(
    error: InvalidHandshake | InvalidProxy | InvalidURI, endpoint: SttEndpoint
) -> SttError:
    """Return the error for a server that answered, but not with a websocket."""
    if isinstance(error, InvalidStatus):
        response = error.response
        body = response.body.decode(errors="replace").strip()[:LONGEST_BODY]
        return endpoint.handshake_error(response.status_code, body)
    if isinstance(error, InvalidMessage) and isinstance(error.__cause__, EOFError):
        return SttLost(f"speech-to-text at {endpoint.host} closed before it answered")
    return SttRefused(f"{endpoint.host} does not speak websocket: {error}")


def _reason(error: OSError) -> str:
    """Return in plain words why there is no connection."""
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused; is it running?"
    if isinstance(error, sockets.gaierror):
        return "there is no such host, or no network"
    return error.strerror or str(error)
