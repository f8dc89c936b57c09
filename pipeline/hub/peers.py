"""Interface of one socket, and the state that all sockets of the server share."""

import logging
from typing import Protocol

import anyio
import msgspec
from msgspec import Struct

from pipeline.config.settings import ServeSettings
from pipeline.errors import PipelineError
from pipeline.hub.auth.grants import Grant
from pipeline.hub.auth.limits import ConnectionCounter, RateLimiter
from pipeline.hub.fanout import Sink, Subscriber
from pipeline.hub.frames import INVALID, error_text
from pipeline.hub.ingest_sessions import IngestSessions
from pipeline.hub.service import Service
from pipeline.protocol.close_codes import CloseCode, Disconnect

FIRST_MESSAGE_TIMEOUT = 10.0  #: seconds for the first message of a socket
TOKEN_TIMEOUT = 5.0  #: seconds for its token, if that is the first message
BURST_SECONDS = 4  #: commands of this many seconds may arrive at once
MAX_ERRORS = 20  #: refused messages, then the socket is closed

logger = logging.getLogger(__name__)


class Peer(Sink, Protocol):
    """Client at the other end of one socket."""

    @property
    def grant(self) -> Grant:
        """Access rights of the client."""
        ...

    async def receive(self) -> bytes | str:
        """Return the next message. Raises ``Disconnect`` when the connection has ended."""
        ...

    async def send(self, text: bytes) -> None:
        """Send one message, within the time limit. Raises ``Disconnect`` when that fails."""
        ...

    async def close_now(self, disconnect: Disconnect) -> None:
        """Close the socket now, before its handler has finished."""
        ...


class Replies(Protocol):
    """Output to a source: its session's events in the source's format."""

    async def run(self) -> None:
        """Send replies until cancelled. Raises ``Disconnect``."""
        ...

    async def caught_up(self) -> None: ...


class ErrorReplies:
    """Error replies to a peer's refused messages, up to ``MAX_ERRORS``.

    Without a peer, because its format has no error message, errors are logged.
    """

    def __init__(self, peer: Peer | None) -> None:
        self._peer = peer
        self._count = 0

    async def send(
        self, error: PipelineError, *, session_id: str = "", kind: str = INVALID
    ) -> None:
        code = error.code if isinstance(error, Disconnect) else None
        if code != CloseCode.NO_SESSION:  # a session may have ended meanwhile
            self._count += 1
        if self._peer is None:
            logger.warning("session %s: %s", session_id, error)
        else:
            await self._peer.send(error_text(str(error), kind, code=code, session_id=session_id))
        if self._count >= MAX_ERRORS:
            raise Disconnect(f"{MAX_ERRORS} messages were refused", code=CloseCode.BAD_REQUEST)


class CommandCounter:
    """Rate limit of one connection's commands, because each costs more than its bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rate_limiter = RateLimiter(most, BURST_SECONDS * most)

    def count(self) -> None:
        """Count one command. Raises ``Disconnect`` past the limit."""
        if not self._rate_limiter.take(anyio.current_time()):
            raise Disconnect(
                f"more than {self._most} commands a second (serve.commands_per_second)",
                code=CloseCode.LIMIT,
            )


class HubState:
    """State shared by all sockets."""

    def __init__(self, service: Service, settings: ServeSettings) -> None:
        self.service = service
        self.reattach_timeout = settings.reattach  #: seconds for a lost source to reattach
        self.idle = settings.idle  #: seconds without a message from a source; 0: unlimited
        self.heartbeat_subscribers: set[Subscriber] = set()  #: subscribers to send heartbeats to
        self.ingest_sessions = IngestSessions()
        self.session_counts = ConnectionCounter(
            settings.max_sessions_per_token,
            "{most} sessions of {name} are open, the most that serve.max_sessions_per_token allows",
        )
        self._commands = settings.commands_per_second

    def commands(self) -> CommandCounter:
        return CommandCounter(self._commands)


async def first_message(peer: Peer) -> bytes | str:
    with anyio.move_on_after(FIRST_MESSAGE_TIMEOUT):
        return await peer.receive()
    raise Disconnect(f"no message in {FIRST_MESSAGE_TIMEOUT:g} s", code=CloseCode.IDLE)


class _AuthenticateMessage(
    Struct, tag_field="type", tag="session.authenticate", forbid_unknown_fields=True
):
    token: str


_authenticate = msgspec.json.Decoder(_AuthenticateMessage)


async def read_token(peer: Peer) -> str:
    """Return the token that is the peer's first message. Raises ``Disconnect`` without one."""
    with anyio.move_on_after(TOKEN_TIMEOUT):
        try:
            return _authenticate.decode(await peer.receive()).token
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            reason = "the first message must be session.authenticate with a token"
            # "from None": the original error may contain the token
            raise Disconnect(reason, code=CloseCode.UNAUTHORIZED) from None
    raise Disconnect(f"no token in {TOKEN_TIMEOUT:g} s", code=CloseCode.UNAUTHORIZED)


async def send_replies(
    replies: Replies, until: anyio.CancelScope, disconnect: list[Disconnect]
) -> None:
    try:
        await replies.run()
    except Disconnect as disconnected:
        disconnect.append(disconnected.without_traceback())
        until.cancel()
