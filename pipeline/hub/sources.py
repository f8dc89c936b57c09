"""What goes on over a source's socket: its audio and commands, and what is sent back."""

import logging
from collections.abc import Iterable, Sequence

import anyio
import anyio.lowlevel
from msgspec.structs import replace

from pipeline.errors import InputError, PipelineError
from pipeline.hub.auth.grants import Grant
from pipeline.hub.fanout import Subscriber, Topic
from pipeline.hub.frames import error_text, text_frame
from pipeline.hub.ingest_sessions import IngestSession
from pipeline.hub.peers import (
    FIRST_MESSAGE,
    CommandCounter,
    ErrorReplies,
    HubState,
    Peer,
    Replies,
    push,
)
from pipeline.hub.refusals import disconnecting
from pipeline.interfaces.ingest import Adapter, Order
from pipeline.protocol.close_codes import CloseCode, Disconnect, may_reconnect
from pipeline.protocol.commands import SessionEndCommand, StartCommand
from pipeline.protocol.events import Frame
from pipeline.runtime.tasks import BackgroundTasks, plain_errors

FLUSH = 2.0  #: seconds to write a session's last events to its source
BATCH = 64  #: events read from the log at a time

logger = logging.getLogger(__name__)


async def ingest(
    peer: Peer, hub_state: HubState, adapter: Adapter, *, source: str, events: Sequence[str]
) -> None:
    """Serve one source until its session has ended, or it is gone.

    Raises ``Disconnect`` at the end.
    """
    disconnect: Disconnect | None = None
    try:
        hub_state.ingest_sessions.check()
        start, rest = await _opening(peer, adapter)
        start = _within(peer.grant, start)
        with hub_state.ingest_sessions.track():
            feeding = _Source(peer, adapter, start, events, hub_state.commands())
            stay = hub_state.ingest_sessions.find(start)
            if stay is None:
                disconnect = await _host(feeding, rest, hub_state, source)
            else:
                disconnect = await feeding.attend(stay, rest, hub_state)
    except PipelineError as error:
        if adapter.takes_events:
            code = error.code if isinstance(error, Disconnect) else None
            await peer.send(error_text(str(error), code=code))
        else:
            logger.warning("a source of %s was sent away: %s", source, error)
        if isinstance(error, Disconnect):
            raise
        raise Disconnect(str(error), code=CloseCode.BAD_REQUEST) from error
    raise disconnect or Disconnect("the session has ended", code=CloseCode.ENDED)


async def _host(
    feeding: "_Source", orders: Iterable[Order], hub_state: HubState, source: str
) -> Disconnect | None:
    """Begin a session, and stay with it to its end, whoever feeds it then."""
    disconnect: Disconnect | None = None
    with hub_state.hosts.place(feeding.holder), disconnecting():
        async with hub_state.service.open(feeding.start, source=source) as session:
            with hub_state.ingest_sessions.begin(session, feeding.start) as stay:
                async with plain_errors(), anyio.create_task_group() as tasks:
                    background = BackgroundTasks(tasks)
                    background.start(_see_out, stay, hub_state.patience)
                    disconnect = await feeding.attend(stay, orders, hub_state)
                    await session.topic.ended.wait()
                    await background.cancel()
    return disconnect


async def _see_out(stay: IngestSession, patience: float) -> None:
    await stay.until_over(patience)
    if not stay.session.topic.ended.is_set():
        await stay.session.finish(stay.reason)


def _within(grant: Grant, start: StartCommand) -> StartCommand:
    """Return ``start`` for the session the grant is for. Raises ``Disconnect`` for another one."""
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
    raise Disconnect(f"nothing was said in {FIRST_MESSAGE:g} s", code=CloseCode.IDLE)


class SourceReplies:
    """Tells a source what its own format has to say of its session's events.

    It is its own subscriber's sink: bytes that come are the sign that there is news in the log.
    """

    def __init__(self, peer: Peer, stay: IngestSession, adapter: Adapter) -> None:
        topic = stay.session.topic
        self._peer = peer
        self._log = topic.log
        self._stay = stay
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
            if frame.seq <= self._stay.answered:
                continue  # the source before this one was told; the adapter had to know, too
            if wire:
                await self._peer.ready()
                if not self._peer.write(wire):
                    raise Disconnect("the connection is closing", code=CloseCode.SLOW)
            self._stay.answered = frame.seq


class _Source:
    """One source, and the session that it feeds."""

    def __init__(
        self,
        peer: Peer,
        adapter: Adapter,
        start: StartCommand,
        events: Sequence[str],
        commands: CommandCounter,
    ) -> None:
        self.start = start
        self.holder = peer.grant.holder
        self._commands = commands
        self._peer = peer
        self._adapter = adapter
        self._events = events
        self._errors = ErrorReplies(peer if adapter.takes_events else None)
        self._reading = anyio.CancelScope()
        self._disconnect: list[Disconnect] = []
        self._idle: Disconnect | None = None  # it said nothing for too long
        self._active = anyio.current_time()  # when it last said something

    async def attend(
        self, stay: IngestSession, orders: Iterable[Order], hub_state: HubState
    ) -> Disconnect | None:
        """Feed the session and send back what comes of it, until the source is over or gone.

        Returns why it is gone, when the session goes on without it or did not like it.
        """
        replies = self._replies(stay)
        topic = stay.session.topic
        if isinstance(replies, Subscriber):
            hub_state.heartbeat_subscribers.add(replies)
        try:
            async with anyio.create_task_group() as tasks:
                background = BackgroundTasks(tasks)
                background.start(push, replies, self._reading, self._disconnect)
                background.start(_until_ended, topic, self._reading)
                if hub_state.idle:
                    background.start(self._until_idle, stay, hub_state.idle)
                await self._feed(stay, orders)
                if stay.over:
                    await topic.ended.wait()
                    with anyio.move_on_after(FLUSH):
                        await replies.caught_up()
                await background.cancel()
        finally:
            if isinstance(replies, Subscriber):
                hub_state.heartbeat_subscribers.discard(replies)
        disconnect = self._disconnect[0] if self._disconnect else None
        if disconnect is not None and not stay.over:
            await self._peer.close_now(disconnect)
        if disconnect is None or disconnect.code == CloseCode.ENDED:
            return self._idle
        return disconnect

    async def _until_idle(self, stay: IngestSession, patience: float) -> None:
        """End the session when its source is there and silent: speech-to-text bills meanwhile."""
        left = patience
        while left > 0:
            await anyio.sleep(left)
            left = self._active + patience - anyio.current_time()
        if stay.is_of(self._reading):
            text = f"nothing came for {patience:g} s (serve.idle): the session has ended"
            self._idle = Disconnect(text, code=CloseCode.ENDED)
            stay.reason = "idle"
            stay.end()

    def _replies(self, stay: IngestSession) -> Replies:
        """Return what goes back over the source's own socket."""
        if not self._adapter.takes_events:
            return SourceReplies(self._peer, stay, self._adapter)
        subscriber = Subscriber(self._peer)
        after = self.start.after_seq or 0
        subscriber.subscribe(stay.session.topic, after_seq=after, events=self._events)
        return subscriber

    async def _feed(self, stay: IngestSession, orders: Iterable[Order]) -> None:
        stay.enter(self._reading)
        try:
            with self._reading:
                await self._pass_on(stay, orders)
        except Disconnect as goodbye:
            self._disconnect.append(goodbye.without_traceback())
        finally:
            if stay.is_of(self._reading):
                stay.leave(for_good=not self._is_lost)
            else:
                taken = Disconnect("another source feeds this session", code=CloseCode.TAKEN)
                self._disconnect.insert(0, taken)

    @property
    def _is_lost(self) -> bool:
        """Whether it went without a goodbye, so that it may come back."""
        return bool(self._disconnect) and may_reconnect(self._disconnect[0].code)

    async def _pass_on(self, stay: IngestSession, orders: Iterable[Order]) -> None:
        """Pass on what the peer sends, until the source is over."""
        if await self._carry_out(stay, orders):
            return
        while True:
            message = await self._peer.receive()
            if isinstance(message, str) and self._adapter.takes_events:
                self._commands.count()
            try:
                orders = self._adapter.receive(message)
            except InputError as error:
                await self._errors.tell(error, session_id=stay.session.id)
                continue
            if await self._carry_out(stay, orders):
                return

    async def _carry_out(self, stay: IngestSession, orders: Iterable[Order]) -> bool:
        session = stay.session
        for order in orders:
            self._active = anyio.current_time()
            if isinstance(order, bytes):
                await session.audio(order)
            elif isinstance(order, SessionEndCommand):
                return True
            else:
                try:
                    if self._adapter.takes_events:  # what another format implies, its source may
                        self._peer.grant.check_command(order)
                    await session.command(order)
                except PipelineError as error:
                    await self._errors.tell(error, session_id=session.id)
        return False


async def _until_ended(topic: Topic, reading: anyio.CancelScope) -> None:
    await topic.ended.wait()
    reading.cancel()
