"""What goes on over a subscriber's socket, and what all conversations share."""

import logging
from contextlib import suppress
from typing import Protocol

import anyio
import msgspec
from msgspec import Struct

from pipeline.commands import ControlCommand, SubscribeCommand, decode_command
from pipeline.errors import InputError, PipelineError
from pipeline.events import type_of
from pipeline.hub.fanout import Sink, Subscriber, Topic, Topics
from pipeline.hub.grants import ANYBODY, EVERY, Grant
from pipeline.hub.limits import Bucket, Crowd
from pipeline.hub.protocol import INVALID, REFUSED, CloseCode, Goodbye, error_text
from pipeline.hub.service import Service
from pipeline.hub.stays import Stays
from pipeline.settings import ServeSettings
from pipeline.tasks import Helpers

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
        """Return the next message. Raises ``Goodbye`` when there will be none."""
        ...

    async def send(self, text: bytes) -> None:
        """Send one message, within bounds. Raises ``Goodbye`` when that cannot be done."""
        ...

    async def dismiss(self, goodbye: Goodbye) -> None:
        """Close the socket now, although its conversation may have more to do."""
        ...


class Replies(Protocol):
    """Keeps the other end of a source's socket informed."""

    async def run(self) -> None:
        """Send what there is to send, until cancelled. Raises ``Goodbye``."""
        ...

    async def caught_up(self) -> None: ...


class Errors:
    """Tells a peer what was wrong with its messages, and has enough at some point.

    Without a peer that would understand, the log is told.
    """

    def __init__(self, peer: Peer | None) -> None:
        self._peer = peer
        self._count = 0

    async def tell(
        self, error: PipelineError, *, session_id: str = "", kind: str = INVALID
    ) -> None:
        code = error.code if isinstance(error, Goodbye) else None
        if code != CloseCode.NO_SESSION:  # a session may be gone by no fault of the peer
            self._count += 1
        if self._peer is None:
            logger.warning("session %s: %s", session_id, error)
        else:
            await self._peer.send(error_text(str(error), kind, code=code, session_id=session_id))
        if self._count >= MAX_ERRORS:
            raise Goodbye(f"{MAX_ERRORS} messages were refused", code=CloseCode.BAD_REQUEST)


class Commands:
    """Counts the commands of one connection: what each costs is more than its bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bucket = Bucket(most, BURST * most)

    def count(self) -> None:
        """Count one. Raises ``Goodbye`` when there are too many."""
        if not self._bucket.take(anyio.current_time()):
            raise Goodbye(
                f"more than {self._most} commands a second (serve.commands_per_second)",
                code=CloseCode.LIMIT,
            )


class House:
    """What every conversation shares."""

    def __init__(self, service: Service, settings: ServeSettings) -> None:
        self.service = service
        self.patience = settings.reattach  #: seconds for a source that was cut off to come back
        self.idle = settings.idle  #: seconds in which a source may say nothing; 0 is for ever
        self.circle: set[Subscriber] = set()  #: who gets heartbeats
        self.stays = Stays()
        self.hosts = Crowd(
            settings.max_sessions_per_token,
            "{most} sessions of {name} are open, the most that serve.max_sessions_per_token allows",
        )
        self._commands = settings.commands_per_second

    def commands(self) -> Commands:
        return Commands(self._commands)


async def _first(peer: Peer) -> bytes | str:
    with anyio.move_on_after(FIRST_MESSAGE):
        return await peer.receive()
    raise Goodbye(f"nothing was said in {FIRST_MESSAGE:g} s", code=CloseCode.IDLE)


class _Authenticate(
    Struct, tag_field="type", tag="session.authenticate", forbid_unknown_fields=True
):
    token: str


_authenticate = msgspec.json.Decoder(_Authenticate)


async def introduction(peer: Peer) -> str:
    """Return the token that is the peer's first message. Raises ``Goodbye`` without one."""
    with anyio.move_on_after(INTRODUCTION):
        try:
            return _authenticate.decode(await peer.receive()).token
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            said = "the first message must be session.authenticate with a token"
            raise Goodbye(said, code=CloseCode.UNAUTHORIZED) from None  # which might repeat it
    raise Goodbye(f"no token came in {INTRODUCTION:g} s", code=CloseCode.UNAUTHORIZED)


# --- subscribers -----------------------------------------------------------------------------


class Following:
    """What one socket subscribes to."""

    def __init__(self, subscriber: Subscriber, topics: Topics, grant: Grant = ANYBODY) -> None:
        self._subscriber = subscriber
        self._grant = grant
        self._topics = topics
        self._events: tuple[str, ...] = ()
        self._asked: set[str] = set()  # the sessions named in subscriptions, or *

    def follow(self, command: SubscribeCommand) -> None:
        """Carry ``command`` out. Raises ``Goodbye`` when it cannot be."""
        if command.after_seq is not None and command.after_seq < 0:
            raise Goodbye("after_seq is negative", code=CloseCode.BAD_REQUEST)
        self._grant.check(command.session_id)
        self._asked.add(command.session_id)
        if command.session_id == "*":
            self._follow_all(command)
            return
        topic = self._topics.get(command.session_id)
        if topic is None:
            name = command.session_id[:64]
            raise Goodbye(f"there is no session {name!r}", code=CloseCode.NO_SESSION)
        self._subscriber.subscribe(
            topic, after_seq=command.after_seq, epoch=command.epoch, events=command.events
        )

    def meant(self, command: ControlCommand) -> str:
        """Return the session that ``command`` is about. Raises a ``PipelineError``."""
        session_id = command.session_id
        if session_id is None and len(self._asked) == 1 and EVERY not in self._asked:
            (session_id,) = self._asked
        if session_id is None:
            raise InputError(f"{type_of(command)}: session_id says which session is meant")
        self._grant.check(session_id)
        return session_id

    def close(self) -> None:
        self._topics.unwatch(self._follow_new)
        self._subscriber.close()

    def _follow_all(self, command: SubscribeCommand) -> None:
        """Follow every session not followed yet, and those to come, these from the start."""
        if command.after_seq:
            raise Goodbye(
                "after_seq of every session is 0 or absent; resume each by its session_id",
                code=CloseCode.BAD_REQUEST,
            )
        for topic in self._topics:
            if not self._subscriber.follows(topic):
                self._subscriber.subscribe(
                    topic, after_seq=command.after_seq, events=command.events
                )
        self._events = command.events
        self._topics.watch(self._follow_new)

    def _follow_new(self, topic: Topic) -> None:
        with suppress(Goodbye):  # its limit of sessions: the new one is left out
            self._subscriber.subscribe(topic, after_seq=0, events=self._events)


async def subscribe(peer: Peer, house: House, command: SubscribeCommand | None) -> None:
    """Serve one subscriber until it leaves or must: then a ``Goodbye`` is raised.

    ``command`` is what its address asks for already.
    """
    subscriber = Subscriber(peer)
    following = Following(subscriber, house.service.topics, peer.grant)
    farewell: list[Goodbye] = []
    house.circle.add(subscriber)
    try:
        if command is not None:
            following.follow(command)
        async with anyio.create_task_group() as tasks:
            helpers = Helpers(tasks)
            helpers.start(push, subscriber, tasks.cancel_scope, farewell)
            try:
                await _take_commands(peer, following, house, asked=command is not None)
            except Goodbye as goodbye:
                farewell.append(goodbye.alone())
            await helpers.call_off()
    finally:
        house.circle.discard(subscriber)
        following.close()
    raise farewell[0]


async def _take_commands(peer: Peer, following: Following, house: House, *, asked: bool) -> None:
    errors, commands = Errors(peer), house.commands()
    while True:
        message = await (peer.receive() if asked else _first(peer))
        commands.count()
        asked = True
        session_id, kind = "", INVALID
        try:
            command = _wanted(message, peer.grant)
            session_id = command.session_id or ""
            if isinstance(command, SubscribeCommand):
                following.follow(command)
            else:
                kind = REFUSED  # what is followed stays so
                session_id = following.meant(command)
                await house.service.steer(session_id, command)
        except PipelineError as error:
            await errors.tell(error, session_id=session_id, kind=kind)


def _wanted(message: bytes | str, grant: Grant) -> SubscribeCommand | ControlCommand:
    try:
        command = decode_command(message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"not a command: {error}") from error
    grant.check_command(command)
    if not isinstance(command, SubscribeCommand | ControlCommand):
        raise InputError(f"{type_of(command)} belongs on the socket of the session's source")
    return command


async def push(replies: Replies, until: anyio.CancelScope, farewell: list[Goodbye]) -> None:
    try:
        await replies.run()
    except Goodbye as goodbye:
        farewell.append(goodbye.alone())
        until.cancel()
