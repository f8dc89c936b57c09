"""One websocket to a Streaming v3 server: this room's door to the network."""

import socket as sockets
import ssl

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
from pipeline.stt.assemblyai.close_codes import of_handshake
from pipeline.stt.assemblyai.endpoint import SttEndpoint
from pipeline.stt.assemblyai.wire import Closed

USER_AGENT = "pipeline (anyio, websockets)"
#: bytes; a SpeakerRevision names every word of a three-hour session
MAX_MESSAGE = 16 * 2**20
#: bytes waiting to be sent; below it a send cannot block, so it needs no deadline
EASY = 16 * 2**10
#: seconds; the keepalive finds a silent peer within twice as much and ``GOODBYE``
KEEPALIVE = 5.0
GOODBYE = 1.0  #: seconds to say it


class Websocket:
    """Sends, receives and closes; every wait on the peer is bounded but the one for messages."""

    def __init__(self, socket: ClientConnection, send_timeout: float) -> None:
        self._socket = socket
        self._send_timeout = send_timeout
        self._given_up = ""  # why we gave the connection up ourselves

    @property
    def easy(self) -> bool:
        """Whether a message can be sent now without a wait."""
        return self._socket.transport.get_write_buffer_size() < EASY

    async def send(self, message: bytes | str) -> None:
        """Send one message, the only place that does; a peer that takes nothing is given up.

        ``websockets`` waits for ever when the peer stops reading, and so does its ``close``:
        only aborting the transport ends that. On a closed connection nothing happens, for
        ``receive`` says why it is.
        """
        try:
            if self.easy:
                await self._socket.send(message)
                return
            with anyio.fail_after(self._send_timeout):
                await self._socket.send(message)
        except TimeoutError:
            self.abort(f"it took no audio for {self._send_timeout:g} s")
        except ConnectionClosed:
            return

    async def receive(self) -> bytes:
        """Return the next message. Raises ``Closed``."""
        try:
            return await self._socket.recv(decode=False)
        except ConnectionClosed as closed:
            if closed.rcvd is not None:
                raise Closed(closed.rcvd.code, closed.rcvd.reason) from closed
            ours = closed.sent.reason if closed.sent is not None else ""
            raise Closed(1006, self._given_up or ours) from closed

    def abort(self, reason: str) -> None:
        """Drop the connection at once; ``receive`` gives this as the reason."""
        self._given_up = self._given_up or reason
        self._socket.transport.abort()

    async def leave(self, last: str | None) -> None:
        """Say a last word if there is one, and close: also while cancelled, never for long."""
        with anyio.move_on_after(GOODBYE, shield=True):
            if last is not None:
                await self.send(last)
            await self._socket.close()
        self._socket.transport.abort()


async def dial(connection: SttEndpoint) -> Websocket:
    """Open a websocket, within ``connect_timeout``.

    Raises ``SttRefused``, ``SttBusy`` or ``SttLost``, saying which host and what to do.
    """
    host, timeout = connection.host, connection.connect_timeout
    try:
        with anyio.fail_after(timeout):
            return Websocket(await _connect(connection), connection.send_timeout)
    except TimeoutError:
        raise SttLost(f"no answer from speech-to-text at {host} within {timeout:g} s") from None
    except (InvalidHandshake, InvalidProxy, InvalidURI) as error:
        raise _refusal(error, connection) from error
    except ssl.SSLCertVerificationError as error:
        raise SttRefused(
            f"the certificate of {host} is not trusted: {error.verify_message}"
        ) from error
    except OSError as error:
        raise SttLost(f"speech-to-text at {host} is out of reach: {_words(error)}") from error


async def _connect(connection: SttEndpoint) -> ClientConnection:
    return await connect(
        connection.url,
        additional_headers=connection.headers,
        user_agent_header=USER_AGENT,
        compression=None,  # audio does not shrink
        proxy=None if connection.loopback else True,
        open_timeout=None,  # the caller's deadline covers it
        ping_interval=KEEPALIVE,
        ping_timeout=KEEPALIVE,
        close_timeout=GOODBYE,
        max_size=MAX_MESSAGE,
    )


def _refusal(
    error: InvalidHandshake | InvalidProxy | InvalidURI, connection: SttEndpoint
) -> SttError:
    """Judge a server that answered, but not with a websocket."""
    host = connection.host
    if isinstance(error, InvalidStatus):
        answer = error.response
        body = answer.body.decode(errors="replace").strip()[:200]
        return of_handshake(answer.status_code, host, body, key_given=bool(connection.headers))
    if isinstance(error, InvalidMessage) and isinstance(error.__cause__, EOFError):
        return SttLost(f"speech-to-text at {host} closed before it answered")
    return SttRefused(f"{host} does not speak websocket: {error}")


def _words(error: OSError) -> str:
    """Say in words why there is no connection."""
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused; is it running?"
    if isinstance(error, sockets.gaierror):
        return "there is no such host, or no network"
    return error.strerror or str(error)
