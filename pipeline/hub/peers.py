"""The interface of one socket, and what all sockets of the server share."""

import logging
from typing import Protocol

import anyio
import msgspec
from msgspec import Struct

from pipeline.config.settings import ServeSettings
from pipeline.errors import PipelineError
from pipeline.hub.auth.grants import Grant
from pipeline.hub.auth.limits import Bucket, ConnectionCounter
from pipeline.hub.fanout import Sink, Subscriber
from pipeline.hub.frames import INVALID, error_text
from pipeline.hub.ingest_sessions import IngestSessions
from pipeline.hub.service import Service
from pipeline.protocol.close_codes import CloseCode, Disconnect

FIRST_MESSAGE = 10.0  #: seconds for a socket to say what it wants
INTRODUCTION = 5.0  #: seconds for it to say who it is
BURST = 4  #: seconds' worth of commands that may come at once
MAX_ERRORS = 20  #: refused messages, then the socket is closed

logger = logging.getLogger(__name__)


class Peer(Sink, Protocol):
    """The other end of one socket."""

    @property
    def grant(self) -> Grant:
        """What it may do."""
        ...

    async def receive(self) -> bytes | str:
        """Return the next message. Raises ``Disconnect`` when there will be none."""
        ...

    async def send(self, text: bytes) -> None:
        """Send one message, within bounds. Raises ``Disconnect`` when that cannot be done."""
        ...

    async def close_now(self, goodbye: Disconnect) -> None:
        """Close the socket now, although its conversation may have more to do."""
        ...


class Replies(Protocol):
    """Keeps the other end of a source's socket informed."""

    async def run(self) -> None:
        """Send what there is to send, until cancelled. Raises ``Disconnect``."""
        ...

    async def caught_up(self) -> None: ...


class ErrorReplies:
    """Tells a peer what was wrong with its messages, and has enough at some point.

    Without a peer that would understand, the log is told.
    """

    def __init__(self, peer: Peer | None) -> None:
        self._peer = peer
        self._count = 0

    async def tell(
        self, error: PipelineError, *, session_id: str = "", kind: str = INVALID
    ) -> None:
        code = error.code if isinstance(error, Disconnect) else None
        if code != CloseCode.NO_SESSION:  # a session may be gone by no fault of the peer
            self._count += 1
        if self._peer is None:
            logger.warning("session %s: %s", session_id, error)
        else:
            await self._peer.send(error_text(str(error), kind, code=code, session_id=session_id))
        if self._count >= MAX_ERRORS:
            raise Disconnect(f"{MAX_ERRORS} messages were refused", code=CloseCode.BAD_REQUEST)


class CommandCounter:
    """Counts the commands of one connection: what each costs is more than its bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bucket = Bucket(most, BURST * most)

    def count(self) -> None:
        """Count one. Raises ``Disconnect`` when there are too many."""
        if not self._bucket.take(anyio.current_time()):
            raise Disconnect(
                f"more than {self._most} commands a second (serve.commands_per_second)",
                code=CloseCode.LIMIT,
            )


class HubState:
    """What every conversation shares."""

    def __init__(self, service: Service, settings: ServeSettings) -> None:
        self.service = service
        self.patience = settings.reattach  #: seconds for a source that was cut off to come back
        self.idle = settings.idle  #: seconds in which a source may say nothing; 0 is for ever
        self.heartbeat_subscribers: set[Subscriber] = set()  #: who gets heartbeats
        self.ingest_sessions = IngestSessions()
        self.hosts = ConnectionCounter(
            settings.max_sessions_per_token,
            "{most} sessions of {name} are open, the most that serve.max_sessions_per_token allows",
        )
        self._commands = settings.commands_per_second

    def commands(self) -> CommandCounter:
        return CommandCounter(self._commands)


async def first_message(peer: Peer) -> bytes | str:
    with anyio.move_on_after(FIRST_MESSAGE):
        return await peer.receive()
    raise Disconnect(f"nothing was said in {FIRST_MESSAGE:g} s", code=CloseCode.IDLE)


class _Authenticate(
    Struct, tag_field="type", tag="session.authenticate", forbid_unknown_fields=True
):
    token: str


_authenticate = msgspec.json.Decoder(_Authenticate)


async def read_token(peer: Peer) -> str:
    """Return the token that is the peer's first message. Raises ``Disconnect`` without one."""
    with anyio.move_on_after(INTRODUCTION):
        try:
            return _authenticate.decode(await peer.receive()).token
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            said = "the first message must be session.authenticate with a token"
            raise Disconnect(said, code=CloseCode.UNAUTHORIZED) from None  # which might repeat it
    raise Disconnect(f"no token came in {INTRODUCTION:g} s", code=CloseCode.UNAUTHORIZED)


async def push(replies: Replies, until: anyio.CancelScope, disconnect: list[Disconnect]) -> None:
    try:
        await replies.run()
    except Disconnect as goodbye:
        disconnect.append(goodbye.without_traceback())
        until.cancel()
