"""What goes on over one socket: a subscriber's commands, or a source's audio."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Protocol

import anyio
import msgspec

from pipeline.errors import InputError, PipelineError
from pipeline.events import (
    SessionEndCommand,
    StartCommand,
    SubscribeCommand,
    decode_command,
)
from pipeline.hub.fanout import Sink, Subscriber, Topic, Topics
from pipeline.hub.protocol import CloseCode, Goodbye, error_text
from pipeline.hub.service import Adapter, LiveSession, Order, Service

FIRST_MESSAGE = 10.0  #: seconds for a socket to say what it wants
FLUSH = 2.0  #: seconds to write a session's last events to its source
MAX_ERRORS = 20  #: refused messages, then the socket is closed


class Peer(Sink, Protocol):
    """The other end of one socket."""

    async def receive(self) -> bytes | str:
        """Return the next message. Raises ``Goodbye`` when there will be none."""
        ...

    async def send(self, text: bytes) -> None:
        """Send one message, within bounds. Raises ``Goodbye`` when that cannot be done."""
        ...


class Errors:
    """Tells a peer what was wrong with its messages, and has enough at some point."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._count = 0

    async def tell(self, error: PipelineError, *, session_id: str = "") -> None:
        code = error.code if isinstance(error, Goodbye) else None
        if code != CloseCode.NO_SESSION:  # a session may be gone by no fault of the peer
            self._count += 1
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

    def __init__(self, subscriber: Subscriber, topics: Topics) -> None:
        self._subscriber = subscriber
        self._topics = topics
        self._events: tuple[str, ...] = ()

    def follow(self, command: SubscribeCommand) -> None:
        """Carry ``command`` out. Raises ``Goodbye`` when it cannot be."""
        if command.after_seq is not None and command.after_seq < 0:
            raise Goodbye("after_seq is negative", code=CloseCode.BAD_REQUEST)
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
    following = Following(subscriber, house.service.topics)
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
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"not a command: {error}") from error
    if not isinstance(command, SubscribeCommand):
        raise InputError("on /v1/events the one command is session.subscribe")
    return command


async def _push(subscriber: Subscriber, until: anyio.CancelScope, farewell: list[Goodbye]) -> None:
    try:
        await subscriber.run()
    except Goodbye as goodbye:
        farewell.append(goodbye)
        until.cancel()


# --- sources ---------------------------------------------------------------------------------


class Feeds:
    """The sources that are being read, so that all can be ended at once."""

    def __init__(self) -> None:
        self._open: set[anyio.CancelScope] = set()
        self._none = anyio.Event()
        self._none.set()
        self.refusing = False

    def check(self) -> None:
        """Raise ``Goodbye`` when no new source is taken."""
        if self.refusing:
            raise Goodbye("no new sessions: the server is about to stop", code=CloseCode.LATER)

    def enter(self, scope: anyio.CancelScope) -> None:
        self.check()
        if not self._open:
            self._none = anyio.Event()
        self._open.add(scope)

    def leave(self, scope: anyio.CancelScope) -> None:
        self._open.discard(scope)
        if not self._open:
            self._none.set()

    async def drain(self) -> None:
        """Read no source any more, take no new one, and wait until the last has ended."""
        self.refusing = True
        for scope in self._open:
            scope.cancel()
        await self._none.wait()


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
        start, rest = _opening(adapter.receive(await _first(peer)))
        house.feeds.enter(reading)
        async with house.service.open(start, source=source) as session:
            await _run_session(_Source(peer, adapter, session, reading), rest, events, house)
    except Goodbye as goodbye:
        await peer.send(error_text(str(goodbye), code=goodbye.code))
        raise
    except PipelineError as error:
        await peer.send(error_text(str(error)))
        raise Goodbye(str(error), code=CloseCode.BAD_REQUEST) from error
    finally:
        house.feeds.leave(reading)
    raise Goodbye("the session has ended", code=CloseCode.ENDED)


def _opening(orders: Sequence[Order]) -> tuple[StartCommand, Sequence[Order]]:
    start, *rest = orders
    assert isinstance(start, StartCommand), "an adapter lets nothing through before the start"
    return start, rest


class _Source:
    """One source and its session."""

    def __init__(
        self, peer: Peer, adapter: Adapter, session: LiveSession, reading: anyio.CancelScope
    ) -> None:
        self.peer = peer
        self.session = session
        self.reading = reading
        self._adapter = adapter
        self._errors = Errors(peer)

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
    subscriber = Subscriber(source.peer)
    subscriber.subscribe(session.topic, after_seq=0, events=events)
    house.circle.add(subscriber)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_push, subscriber, reading, farewell)
            tasks.start_soon(_until_ended, session.topic, reading)
            with reading, suppress(Goodbye):
                await source.feed(orders)
            if not session.topic.ended.is_set():
                await session.finish()
            with anyio.move_on_after(FLUSH):
                await session.topic.ended.wait()  # an event is shown once it is on disk
                await subscriber.caught_up()
            tasks.cancel_scope.cancel()
    finally:
        house.circle.discard(subscriber)


async def _until_ended(topic: Topic, reading: anyio.CancelScope) -> None:
    await topic.ended.wait()
    reading.cancel()
