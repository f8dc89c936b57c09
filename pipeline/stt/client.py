"""The streaming speech-to-text client: this room's door to the network."""

import logging
import socket as socket_errors
import ssl
from collections import deque
from collections.abc import Callable

import anyio
from anyio.abc import TaskStatus
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
)

from pipeline.errors import SttLost, SttRefused
from pipeline.speech import Heard
from pipeline.stt import wire
from pipeline.stt.connection import Connection
from pipeline.stt.faults import of_handshake
from pipeline.stt.link import Link

log = logging.getLogger(__name__)

USER_AGENT = "pipeline (anyio, websockets)"
#: bytes; a SpeakerRevision names every word of a three-hour session
MAX_MESSAGE = 16 * 2**20
#: bytes waiting to be sent; below it a send cannot block, so it needs no deadline
EASY = 16 * 2**10
#: frames kept while the server has not begun: 60 s
EARLY = 1200
GOODBYE = 1.0  #: seconds to say it
CLOSE_AFTER_ERROR = 0.2  #: seconds an Error may be ahead of the close that follows it


class SpeechToText:
    """Sends one stream of audio to a Streaming v3 server and passes on what it hears.

    ``hear`` is called for each value, in order, from inside ``run``: it must not wait.
    """

    def __init__(self, connection: Connection, hear: Callable[[Heard], None]) -> None:
        self._connection = connection
        self._hear = hear
        self._link = Link(connection)
        self._socket: ClientConnection | None = None  # open, and Begin has come
        self._early: deque[bytes] = deque()
        self._room = anyio.Event()  # set when early audio has been sent, or never will be
        self._finishing = False
        self._stalled = ""  # why we gave the connection up ourselves
        self._over = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Connect and read until the stream is closed; started once the server has begun.

        Raises ``SttRefused``, ``SttBusy`` or ``SttLost``. However it ends, the server is told
        to end the session too, for it bills until then.
        """
        socket: ClientConnection | None = None
        try:
            socket = await self._open()
            await self._begin(socket)
            task_status.started()
            await self._read(socket)
        finally:
            self._socket = None
            self._over.set()
            self._room.set()
            if socket is not None:
                await self._leave(socket)

    async def send(self, frame: bytes) -> None:
        """Send one frame of audio, 50 to 1000 ms long; before the server has begun, keep it.

        Frames for a connection that is over are dropped: ``run`` says why it is.
        """
        if self._socket is not None:
            self._link.send(frame)
            await self._transmit(self._socket, frame)
        elif not self._over.is_set():
            while len(self._early) >= EARLY and self._socket is None:
                await self._room.wait()
            self._early.append(frame)

    async def force_endpoint(self) -> None:
        """End the open turn now, if there is one."""
        if self._socket is not None:
            await self._transmit(self._socket, wire.FORCE_ENDPOINT)

    async def finish(self) -> None:
        """Ask for the end and wait until the last turn has been heard, or ``close_timeout``."""
        self._finishing = True
        with anyio.move_on_after(self._connection.close_timeout) as waiting:
            if self._socket is not None:
                await self._terminate(self._socket)
            await self._over.wait()
        if waiting.cancelled_caught and self._socket is not None:
            log.warning("no Termination from %s in time", self._connection.host)
            for value in self._link.give_up():
                self._hear(value)
            self._socket.transport.abort()

    # --- opening ---------------------------------------------------------------------------

    async def _open(self) -> ClientConnection:
        host, timeout = self._connection.host, self._connection.connect_timeout
        try:
            with anyio.fail_after(timeout):
                return await self._connect()
        except TimeoutError:
            raise SttLost(f"no answer from speech-to-text at {host} within {timeout:g} s") from None
        except InvalidStatus as refusal:
            answer = refusal.response
            body = answer.body.decode(errors="replace").strip()[:200]
            given = bool(self._connection.headers)
            raise of_handshake(answer.status_code, host, body, key_given=given) from refusal
        except InvalidMessage as error:
            if isinstance(error.__cause__, EOFError):
                raise SttLost(f"speech-to-text at {host} closed before it answered") from error
            raise SttRefused(f"{host} does not speak websocket ({error})") from error
        except (InvalidHandshake, InvalidProxy, InvalidURI) as error:
            raise SttRefused(f"cannot open a websocket to {host}: {error}") from error
        except ssl.SSLCertVerificationError as error:
            raise SttRefused(
                f"the certificate of {host} is not trusted: {error.verify_message}"
            ) from error
        except OSError as error:
            raise SttLost(f"speech-to-text at {host} is out of reach: {_words(error)}") from error

    async def _connect(self) -> ClientConnection:
        connection = self._connection
        return await connect(
            connection.url,
            additional_headers=connection.headers,
            user_agent_header=USER_AGENT,
            compression=None,
            proxy=None if connection.loopback else True,
            open_timeout=None,  # the caller's deadline covers it
            ping_interval=5,
            ping_timeout=5,
            close_timeout=GOODBYE,
            max_size=MAX_MESSAGE,
        )

    async def _begin(self, socket: ClientConnection) -> None:
        """Wait for Begin, then send what was said meanwhile."""
        with anyio.move_on_after(self._connection.connect_timeout) as waiting:
            while self._link.state == "opening":
                await self._step(socket)
        if waiting.cancelled_caught:
            raise self._link.silent(self._connection.connect_timeout)
        while self._early:
            frame = self._early.popleft()
            self._link.send(frame)
            await self._transmit(socket, frame)
        self._socket = socket
        self._room.set()
        if self._finishing:
            await self._terminate(socket)

    # --- the conversation ------------------------------------------------------------------

    async def _read(self, socket: ClientConnection) -> None:
        while self._link.state != "over":
            await self._step(socket)

    async def _step(self, socket: ClientConnection) -> None:
        """Pass on what the next message, or the close, says."""
        patience = CLOSE_AFTER_ERROR if self._link.failed else None
        try:
            with anyio.fail_after(patience):
                data = await socket.recv(decode=False)
        except ConnectionClosed as closed:
            heard = self._link.close(*self._close_of(closed))
        except TimeoutError:
            heard = self._link.close(1006)
        else:
            heard = self._link.receive(data, anyio.current_time())
        for value in heard:
            self._hear(value)
        if self._link.note:
            log.debug("speech-to-text at %s: %s", self._connection.host, self._link.note)

    def _close_of(self, closed: ConnectionClosed) -> tuple[int, str]:
        """Return what the server closed with; 1006 and our own reason when it did not."""
        if closed.rcvd is not None:
            return closed.rcvd.code, closed.rcvd.reason
        ours = closed.sent.reason if closed.sent is not None else ""
        return 1006, self._stalled or ours

    async def _terminate(self, socket: ClientConnection) -> None:
        if self._link.state == "open":
            await self._transmit(socket, self._link.terminate())

    async def _transmit(self, socket: ClientConnection, message: bytes | str) -> None:
        """Send one message, the only place that does; a peer that takes nothing is given up.

        ``websockets`` waits for ever when the peer stops reading, and so does its ``close``:
        only aborting the transport ends that.
        """
        try:
            if socket.transport.get_write_buffer_size() < EASY:
                await socket.send(message)
                return
            with anyio.fail_after(self._connection.send_timeout):
                await socket.send(message)
        except TimeoutError:
            self._stalled = f"it took no audio for {self._connection.send_timeout:g} s"
            socket.transport.abort()
        except ConnectionClosed:
            return  # the reader finds out why

    async def _leave(self, socket: ClientConnection) -> None:
        """Say goodbye, also while being cancelled, and never for long."""
        with anyio.move_on_after(GOODBYE, shield=True):
            if self._link.state in ("opening", "open"):
                await self._transmit(socket, self._link.terminate())
            await socket.close()
        socket.transport.abort()


def _words(error: OSError) -> str:
    """Say in words why there is no connection."""
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused; is it running?"
    if isinstance(error, socket_errors.gaierror):
        return "there is no such host, or no network"
    return error.strerror or str(error)
