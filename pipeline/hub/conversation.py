"""What goes on over one socket: a subscriber's commands, or a source's audio."""

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Protocol

import anyio
import anyio.lowlevel
import msgspec
from msgspec.structs import replace

from pipeline.errors import InputError, PipelineError
from pipeline.events import (
    Frame,
    SessionEndCommand,
    StartCommand,
    SubscribeCommand,
    decode_command,
)
from pipeline.hub.access import ANYBODY, Grant
from pipeline.hub.fanout import Sink, Subscriber, Topic, Topics
from pipeline.hub.feeds import Feeds
from pipeline.hub.protocol import CloseCode, Goodbye, error_text, text_frame
from pipeline.hub.service import Adapter, LiveSession, Order, Service

FIRST_MESSAGE = 10.0  #: seconds for a socket to say what it wants
FLUSH = 2.0  #: seconds to write a session's last events to its source
MAX_ERRORS = 20  #: refused messages, then the socket is closed
BATCH = 64  #: events read from the log at a time

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

    async def tell(self, error: PipelineError, *, session_id: str = "") -> None:
        code = error.code if isinstance(error, Goodbye) else None
        if code != CloseCode.NO_SESSION:  # a session may be gone by no fault of the peer
            self._count += 1
        if self._peer is None:
            logger.warning("session %s: %s", session_id, error)
        else:
            await self._peer.send(error_text(str(error), code=code, session_id=session_id))
        if self._count >= MAX_ERRORS:
            raise Goodbye(f"{MAX_ERRORS} messages were refused", code=CloseCode.BAD_REQUEST)


async def _first(peer: Peer) -> bytes | str:
    with anyio.move_on_after(FIRST_MESSAGE):
        return await peer.receive()
    raise Goodbye(f"nothing was said in {FIRST_MESSAGE:g} s", code=CloseCode.IDLE)


# --- subscribers -----------------------------------------------------------------------------


class Following:
    """What one socket subscribes to."""

    def __init__(self, subscriber: Subscriber, topics: Topics, grant: Grant = ANYBODY) -> None:
        self._subscriber = subscriber
        self._grant = grant
        self._topics = topics
        self._events: tuple[str, ...] = ()

    def follow(self, command: SubscribeCommand) -> None:
        """Carry ``command`` out. Raises ``Goodbye`` when it cannot be."""
        if command.after_seq is not None and command.after_seq < 0:
            raise Goodbye("after_seq is negative", code=CloseCode.BAD_REQUEST)
        self._grant.check(command.session_id)
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


async def subscribe(peer: Peer, house: "House", command: SubscribeCommand | None) -> None:
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
            tasks.start_soon(_push, subscriber, tasks.cancel_scope, farewell)
            try:
                await _take_commands(peer, following, asked=command is not None)
            except Goodbye as goodbye:
                farewell.append(goodbye)
            tasks.cancel_scope.cancel()
    finally:
        house.circle.discard(subscriber)
        following.close()
    raise farewell[0]


async def _take_commands(peer: Peer, following: Following, *, asked: bool) -> None:
    errors = Errors(peer)
    while True:
        message = await (peer.receive() if asked else _first(peer))
        asked = True
        session_id = ""
        try:
            command = _subscription(message)
            session_id = command.session_id
            following.follow(command)
        except PipelineError as error:
            await errors.tell(error, session_id=session_id)


def _subscription(message: bytes | str) -> SubscribeCommand:
    try:
        command = decode_command(message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"not a command: {error}") from error
    if not isinstance(command, SubscribeCommand):
        raise InputError("on /v1/events the one command is session.subscribe")
    return command


async def _push(replies: Replies, until: anyio.CancelScope, farewell: list[Goodbye]) -> None:
    try:
        await replies.run()
    except Goodbye as goodbye:
        farewell.append(goodbye)
        until.cancel()


# --- sources ---------------------------------------------------------------------------------


class House:
    """What every conversation shares."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.circle: set[Subscriber] = set()  #: who gets heartbeats
        self.feeds = Feeds()


async def ingest(
    peer: Peer, house: House, adapter: Adapter, *, source: str, events: Sequence[str]
) -> None:
    """Serve one source until its session has ended. Raises ``Goodbye`` at the end."""
    reading = anyio.CancelScope()
    try:
        house.feeds.check()
        start, rest = await _opening(peer, adapter)
        start = _within(peer.grant, start)
        house.feeds.enter(reading)
        async with house.service.open(start, source=source) as session:
            await _run_session(_Source(peer, adapter, session, reading), rest, events, house)
    except PipelineError as error:
        if adapter.takes_events:
            code = error.code if isinstance(error, Goodbye) else None
            await peer.send(error_text(str(error), code=code))
        else:
            logger.warning("a source of %s was sent away: %s", source, error)
        if isinstance(error, Goodbye):
            raise
        raise Goodbye(str(error), code=CloseCode.BAD_REQUEST) from error
    finally:
        house.feeds.leave(reading)
    raise Goodbye("the session has ended", code=CloseCode.ENDED)


def _within(grant: Grant, start: StartCommand) -> StartCommand:
    """Return ``start`` for the session the grant is for. Raises ``Goodbye`` for another one."""
    if start.session_id is None and grant.session_id != "*":
        return replace(start, session_id=grant.session_id)
    grant.check(start.session_id or "*")
    return start


async def _opening(peer: Peer, adapter: Adapter) -> tuple[StartCommand, Sequence[Order]]:
    """Read on until the session can begin; a format may say other things first."""
    with anyio.move_on_after(FIRST_MESSAGE):
        while True:
            orders = adapter.receive(await peer.receive())
            if orders:
                start, *rest = orders
                assert isinstance(start, StartCommand), "nothing comes before the start"
                return start, rest
    raise Goodbye(f"nothing was said in {FIRST_MESSAGE:g} s", code=CloseCode.IDLE)


class Answers:
    """Tells a source what its own format has to say of its session's events.

    It is its own subscriber's sink: bytes that come are the sign that there is news in the log.
    """

    def __init__(self, peer: Peer, topic: Topic, adapter: Adapter) -> None:
        self._peer = peer
        self._log = topic.log
        self._answer = adapter.answer
        self._seen = 0
        self._news = anyio.Event()
        self._idle = anyio.Event()
        self._subscriber = Subscriber(self)
        self._subscriber.subscribe(topic)
        self._news.set()  # what the log holds already

    def write(self, wire: bytes) -> bool:
        self._news.set()
        if self._idle.is_set():
            self._idle = anyio.Event()
        return True

    async def ready(self) -> None: ...

    async def caught_up(self) -> None:
        await self._idle.wait()

    async def run(self) -> None:
        try:
            while True:
                await self._news.wait()
                self._news = anyio.Event()
                while frames := self._log.read(self._seen, BATCH):
                    await self._pass_on(frames)
                    await anyio.lowlevel.checkpoint()  # a long replay lets others run
                self._idle.set()
        finally:
            self._subscriber.close()
            self._idle.set()

    async def _pass_on(self, frames: Iterable[Frame]) -> None:
        for frame in frames:
            self._seen = frame.seq
            wire = b"".join(map(text_frame, self._answer(frame)))
            if wire:
                await self._peer.ready()
                if not self._peer.write(wire):
                    raise Goodbye("the connection is closing", code=CloseCode.SLOW)


class _Source:
    """One source and its session."""

    def __init__(
        self, peer: Peer, adapter: Adapter, session: LiveSession, reading: anyio.CancelScope
    ) -> None:
        self.peer = peer
        self.session = session
        self.reading = reading
        self._adapter = adapter
        self._errors = Errors(peer if adapter.takes_events else None)

    def replies(self, events: Sequence[str]) -> Replies:
        """Return what goes back over the source's own socket."""
        topic = self.session.topic
        if not self._adapter.takes_events:
            return Answers(self.peer, topic, self._adapter)
        subscriber = Subscriber(self.peer)
        subscriber.subscribe(topic, after_seq=0, events=events)
        return subscriber

    async def feed(self, orders: Iterable[Order]) -> None:
        """Pass on what the peer sends, until the source is over or the peer gone."""
        if await self._carry_out(orders):
            return
        while True:
            message = await self.peer.receive()
            try:
                orders = self._adapter.receive(message)
            except InputError as error:
                await self._errors.tell(error, session_id=self.session.id)
                continue
            if await self._carry_out(orders):
                return

    async def _carry_out(self, orders: Iterable[Order]) -> bool:
        for order in orders:
            if isinstance(order, bytes):
                await self.session.audio(order)
            elif isinstance(order, SessionEndCommand):
                return True
            else:
                try:
                    await self.session.command(order)
                except PipelineError as error:
                    await self._errors.tell(error, session_id=self.session.id)
        return False


async def _run_session(
    source: _Source, orders: Iterable[Order], events: Sequence[str], house: House
) -> None:
    session, reading = source.session, source.reading
    farewell: list[Goodbye] = []
    replies = source.replies(events)
    if isinstance(replies, Subscriber):
        house.circle.add(replies)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_push, replies, reading, farewell)
            tasks.start_soon(_until_ended, session.topic, reading)
            with reading:
                try:
                    await source.feed(orders)
                except Goodbye as goodbye:
                    farewell.append(goodbye)
            if not session.topic.ended.is_set():
                await session.finish()
            with anyio.move_on_after(FLUSH):
                await session.topic.ended.wait()  # an event is shown once it is on disk
                await replies.caught_up()
            tasks.cancel_scope.cancel()
    finally:
        if isinstance(replies, Subscriber):
            house.circle.discard(replies)
    if farewell and farewell[0].code == CloseCode.BAD_REQUEST:
        raise farewell[0]


async def _until_ended(topic: Topic, reading: anyio.CancelScope) -> None:
    await topic.ended.wait()
    reading.cancel()
