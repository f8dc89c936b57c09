"""Source sockets: audio and commands in, the session's events out."""

import logging
import math
from collections.abc import Iterable, Sequence

import anyio
import anyio.lowlevel
from msgspec.structs import replace

from pipeline.errors import InputError, PipelineError
from pipeline.hub.auth.grants import Grant
from pipeline.hub.cursor import Filter
from pipeline.hub.fanout import Subscriber, Topic
from pipeline.hub.frames import error_text, text_frame
from pipeline.hub.ingest_sessions import IngestSession
from pipeline.hub.peers import (
    CommandCounter,
    ErrorReplies,
    HubState,
    Peer,
    Replies,
    first_message,
    send_replies,
)
from pipeline.hub.refusals import disconnecting
from pipeline.hub.service import LiveSession
from pipeline.interfaces.ingest import Adapter, Order
from pipeline.protocol.close_codes import CloseCode, Disconnect, may_reconnect
from pipeline.protocol.commands import SessionEndCommand, StartCommand
from pipeline.protocol.events import AudioAck, Frame, encode, type_of
from pipeline.runtime.tasks import BackgroundTasks, plain_errors

FLUSH_TIMEOUT = 2.0  #: seconds to send a session's last events to its source
ACK_INTERVAL = 1.0  #: seconds between two acknowledgements of audio
BATCH = 64  #: events read from the log at a time

logger = logging.getLogger(__name__)


async def ingest(
    peer: Peer, hub_state: HubState, adapter: Adapter, *, source: str, events: Sequence[str]
) -> None:
    """Serve one source until its session has ended or the source is disconnected.

    Raises ``Disconnect`` at the end.
    """
    disconnect: Disconnect | None = None
    try:
        hub_state.ingest_sessions.check()
        start, rest = await read_start(peer, adapter, hub_state.idle)
        start = _granted(peer.grant, start)
        with hub_state.ingest_sessions.track():
            source_socket = _Source(peer, adapter, start, events, hub_state.commands())
            ingest_session = hub_state.ingest_sessions.find(start, takes_over=adapter.takes_over)
            if ingest_session is None:
                disconnect = await _open_session(source_socket, rest, hub_state, source)
            else:
                disconnect = await source_socket.serve(ingest_session, rest, hub_state)
    except PipelineError as error:
        if adapter.takes_events:
            code = error.code if isinstance(error, Disconnect) else None
            await peer.send(error_text(str(error), code=code))
        else:
            logger.warning("a source of %s was refused: %s", source, error)
        if isinstance(error, Disconnect):
            raise
        raise Disconnect(str(error), code=CloseCode.BAD_REQUEST) from error
    raise disconnect or Disconnect("the session has ended", code=CloseCode.ENDED)


async def _open_session(
    source_socket: "_Source", orders: Iterable[Order], hub_state: HubState, source: str
) -> Disconnect | None:
    """Open a session and hold it until its end, also if another source takes it over."""
    disconnect: Disconnect | None = None
    with hub_state.session_counts.counting(source_socket.holder), disconnecting():
        async with hub_state.service.open(source_socket.start, source=source) as session:
            with hub_state.ingest_sessions.begin(session, source_socket.start) as ingest_session:
                async with plain_errors(), anyio.create_task_group() as tasks:
                    background = BackgroundTasks(tasks)
                    background.start(_finish_when_over, ingest_session, hub_state.reattach_timeout)
                    disconnect = await source_socket.serve(ingest_session, orders, hub_state)
                    await session.topic.ended.wait()
                    await background.cancel()
    return disconnect


async def _finish_when_over(ingest_session: IngestSession, patience: float) -> None:
    await ingest_session.until_over(patience)
    if not ingest_session.session.topic.ended.is_set():
        await ingest_session.session.finish(ingest_session.reason)


def _granted(grant: Grant, start: StartCommand) -> StartCommand:
    """Return ``start`` with the grant's session id. Raises ``Disconnect`` for another id."""
    if start.session_id is None and grant.session_id != "*":
        return replace(start, session_id=grant.session_id)
    grant.check(start.session_id or "*")
    return start


async def read_start(
    peer: Peer, adapter: Adapter, idle: float
) -> tuple[StartCommand, Sequence[Order]]:
    """Read until the session can start; some formats send other messages first.

    A source that has sent one is no stray connection, and is given as long as one in a session:
    a participant of a meeting may be muted at first.
    """
    message = await first_message(peer)
    while True:
        orders = adapter.receive(message)
        if orders:
            start, *rest = orders
            assert isinstance(start, StartCommand), "nothing comes before the start"
            return start, rest
        with anyio.move_on_after(idle or math.inf) as waiting:
            message = await peer.receive()
        if waiting.cancelled_caught:
            text = f"no audio for {idle:g} s (serve.idle): no session was started"
            raise Disconnect(text, code=CloseCode.IDLE)


class SourceReplies:
    """Replies to a source in its own format, made from its session's events.

    It is the sink of its own subscriber: written bytes only signal new events in the log.
    """

    def __init__(self, peer: Peer, ingest_session: IngestSession, adapter: Adapter) -> None:
        topic = ingest_session.session.topic
        self._peer = peer
        self._log = topic.log
        self._stay = ingest_session
        self._encode = adapter.answer
        self._seen = 0
        self._changed = anyio.Event()
        self._idle = anyio.Event()
        self._subscriber = Subscriber(self)
        self._subscriber.subscribe(topic)
        self._changed.set()  # for events already in the log

    def write(self, wire: bytes) -> bool:
        self._changed.set()
        if self._idle.is_set():
            self._idle = anyio.Event()
        return True

    async def ready(self) -> None: ...

    async def caught_up(self) -> None:
        await self._idle.wait()

    async def run(self) -> None:
        try:
            while True:
                await self._changed.wait()
                self._changed = anyio.Event()
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
            wire = b"".join(map(text_frame, self._encode(frame)))
            if frame.seq <= self._stay.answered:
                continue  # sent to the previous source; the adapter needs it for its state
            if wire:
                await self._peer.ready()
                if not self._peer.write(wire):
                    raise Disconnect("the connection is closing", code=CloseCode.SLOW)
            self._stay.answered = frame.seq


class _Source:
    """Source and its session."""

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
        self._idle: Disconnect | None = None  # set when it was silent for too long
        self._last_message = anyio.current_time()

    async def serve(
        self, ingest_session: IngestSession, orders: Iterable[Order], hub_state: HubState
    ) -> Disconnect | None:
        """Feed the session and send its events back, until the source has ended.

        Returns the reason if the source ended before the session, or was idle.
        """
        replies = self._replies(ingest_session)
        topic = ingest_session.session.topic
        if isinstance(replies, Subscriber):
            hub_state.heartbeat_subscribers.add(replies)
        try:
            async with plain_errors(), anyio.create_task_group() as tasks:
                background = BackgroundTasks(tasks)
                background.start(send_replies, replies, self._reading, self._disconnect)
                background.start(_until_ended, topic, self._reading)
                if self._wants_acks:
                    session = ingest_session.session
                    background.start(self._acknowledge, session, session.position)
                if hub_state.idle:
                    background.start(self._until_idle, ingest_session, hub_state.idle)
                await self._feed(ingest_session, orders)
                if ingest_session.over:
                    await ingest_session.until_ended()
                    with anyio.move_on_after(FLUSH_TIMEOUT):
                        await replies.caught_up()
                await background.cancel()
        finally:
            if isinstance(replies, Subscriber):
                hub_state.heartbeat_subscribers.discard(replies)
        disconnect = self._disconnect[0] if self._disconnect else None
        if disconnect is not None and not ingest_session.over:
            await self._peer.close_now(disconnect)
        if disconnect is None or disconnect.code == CloseCode.ENDED:
            return self._idle
        return disconnect

    @property
    def _wants_acks(self) -> bool:
        wanted = self._adapter.takes_events and self.start.audio is not None
        return wanted and Filter(self._events)(type_of(AudioAck(position=0)))

    async def _acknowledge(self, session: LiveSession, received: float) -> None:
        """Send the position of the audio received so far, so that what was lost can be resent.

        ``received``: seconds that were received when this source came.
        """
        acknowledged = 0.0
        if not received:
            await anyio.sleep(ACK_INTERVAL)
        while True:
            position = session.position
            if position != acknowledged:
                ack = AudioAck(
                    session_id=session.id,
                    epoch=session.topic.log.epoch,
                    position=int(position * 1000),
                )
                if self._peer.write(text_frame(encode(ack))):
                    acknowledged = position
            await anyio.sleep(ACK_INTERVAL)

    async def _until_idle(self, ingest_session: IngestSession, patience: float) -> None:
        """End the session of a silent source, because speech-to-text is billed meanwhile."""
        left = patience
        while left > 0:
            await anyio.sleep(left)
            left = self._last_message + patience - anyio.current_time()
        if ingest_session.is_of(self._reading):
            text = f"no message for {patience:g} s (serve.idle): the session has ended"
            self._idle = Disconnect(text, code=CloseCode.ENDED)
            ingest_session.end("idle")

    def _replies(self, ingest_session: IngestSession) -> Replies:
        """Return the output over the source's own socket."""
        if not self._adapter.takes_events:
            return SourceReplies(self._peer, ingest_session, self._adapter)
        subscriber = Subscriber(self._peer)
        after = self.start.after_seq or 0
        subscriber.subscribe(
            ingest_session.session.topic,
            after_seq=after,
            epoch=self.start.epoch,
            events=self._events,
        )
        return subscriber

    async def _feed(self, ingest_session: IngestSession, orders: Iterable[Order]) -> None:
        ingest_session.enter(self._reading)
        try:
            with self._reading:
                await self._pass_on(ingest_session, orders)
        except Disconnect as disconnect:
            self._disconnect.append(disconnect.without_traceback())
        finally:
            if ingest_session.is_of(self._reading):
                ingest_session.leave(for_good=not self._is_lost)
            else:
                taken = Disconnect("another source feeds this session", code=CloseCode.TAKEN)
                self._disconnect.insert(0, taken)

    @property
    def _is_lost(self) -> bool:
        """Whether the connection was lost without a close, so that it may reattach."""
        return bool(self._disconnect) and may_reconnect(self._disconnect[0].code)

    async def _pass_on(self, ingest_session: IngestSession, orders: Iterable[Order]) -> None:
        """Execute what the source sends, until it has ended."""
        if await self._carry_out(ingest_session, orders):
            return
        while True:
            message = await self._peer.receive()
            if isinstance(message, str) and self._adapter.takes_events:
                self._commands.count()
            try:
                orders = self._adapter.receive(message)
            except InputError as error:
                await self._errors.send(error, session_id=ingest_session.session.id)
                continue
            if await self._carry_out(ingest_session, orders):
                return

    async def _carry_out(self, ingest_session: IngestSession, orders: Iterable[Order]) -> bool:
        session = ingest_session.session
        for order in orders:
            self._last_message = ingest_session.heard_at = anyio.current_time()
            if isinstance(order, bytes):
                await session.audio(order)
            elif isinstance(order, SessionEndCommand):
                return True
            else:
                try:
                    # Commands that an adapter derives from another format need no scope.
                    if self._adapter.takes_events:
                        self._peer.grant.check_command(order)
                    await session.command(order)
                except PipelineError as error:
                    await self._errors.send(error, session_id=session.id)
        return False


async def _until_ended(topic: Topic, reading: anyio.CancelScope) -> None:
    await topic.ended.wait()
    reading.cancel()
