"""From one session's log to its subscribers: the publisher waits for nobody."""

from asyncio import get_running_loop
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol
from weakref import WeakMethod

import anyio
import anyio.lowlevel

from pipeline.hub.cursor import LIMITS, Cursor, CursorLimits, EventLog, Filter
from pipeline.hub.frames import covering, text_frame
from pipeline.protocol.close_codes import CloseCode, Disconnect
from pipeline.protocol.events import Frame

DIRECT = 32  #: so many caught-up subscribers are written to at once; more, once per loop turn


class Sink(Protocol):
    """Where a subscriber's bytes go: whole websocket frames, in order."""

    def write(self, wire: bytes) -> bool:
        """Take ``wire`` at once, or take nothing and return False: congested or closing."""
        ...

    async def ready(self) -> None:
        """Return once ``write`` will take more. Raises ``Disconnect`` when it never will."""
        ...


class LiveLog(EventLog, Protocol):
    """A log that says what becomes visible."""

    def listen(self, show: Callable[[Frame], object]) -> None: ...


class Subscription:
    """One session as one socket sees it."""

    __slots__ = ("cursor", "sink", "subscriber", "topic")

    def __init__(self, topic: "Topic", subscriber: "Subscriber", cursor: Cursor) -> None:
        self.topic = topic
        self.subscriber = subscriber
        self.sink = subscriber.sink
        self.cursor = cursor


def soon(call: Callable[[], None]) -> None:
    """Have ``call`` called in the event loop's next turn."""
    get_running_loop().call_soon(call)


class Topic:
    """One session's log and who follows it.

    ``publish`` is called with each frame as it becomes visible. Who has caught up and has room
    gets the bytes there and then; everybody else is served from the log by a task of its own.
    A large audience is written to once per turn of the event loop, with all that was published
    in it: a write costs the kernel some 7 µs each, whatever its length.
    """

    def __init__(
        self, log: EventLog, *, later: Callable[[Callable[[], None]], object] = soon
    ) -> None:
        self._later = later  # calls something once, in the next turn of the event loop
        self.log = log
        self.ended = anyio.Event()  #: set once ``session.ended`` is visible
        self._all: dict[Subscription, None] = {}
        self._plain: dict[Subscription, None] = {}  # caught up, no filter
        self._filtered: dict[Subscription, None] = {}  # caught up, with a filter
        self._held: list[Frame] = []  # published, but not yet written: until the next turn

    @property
    def id(self) -> str:
        return self.log.session_id

    @property
    def subscribers(self) -> int:
        return len(self._all)

    def publish(self, frame: Frame) -> None:
        """Show ``frame``, the newest in the log. Never waits, never fails."""
        self._held.append(frame)
        ended = frame.type == "session.ended"
        if ended or len(self._plain) + len(self._filtered) <= DIRECT:
            self.flush()
        elif len(self._held) == 1:
            self._later(self.flush)
        if ended:
            self.ended.set()

    def flush(self) -> None:
        """Write what is held back for the large audience."""
        held, self._held = self._held, []
        if not held:
            return
        stuck: list[Subscription] = []
        if self._plain:
            wire = b"".join([text_frame(frame.data) for frame in held])
            seq = held[-1].seq
            for subscription in self._plain:
                if subscription.sink.write(wire):
                    subscription.cursor.advance(seq)
                else:
                    stuck.append(subscription)
        if self._filtered:
            self._flush_filtered(held, stuck)
        for subscription in stuck:
            self.fall_behind(subscription)

    def _flush_filtered(self, held: Sequence[Frame], stuck: list[Subscription]) -> None:
        # Those with one filter who were told as much get the same bytes.
        made: dict[tuple[tuple[str, ...], int], tuple[bytes, int]] = {}
        for subscription in tuple(self._filtered):
            cursor = subscription.cursor
            key = cursor.wants.globs, cursor.told
            if key not in made:
                made[key] = _filtered_wire(held, cursor.wants, cursor.told)
            wire, told = made[key]
            if wire and not subscription.sink.write(wire):
                del self._filtered[subscription]
                stuck.append(subscription)
            else:
                cursor.seen, cursor.told = held[-1].seq, told

    def announce(self, text: bytes) -> None:
        """Send something that has no place in the log to whoever has caught up and has room."""
        self.flush()
        wire = text_frame(text)
        for subscription in (*self._plain, *self._filtered):
            subscription.sink.write(wire)

    def attach(self, subscription: Subscription) -> None:
        self._all[subscription] = None
        if subscription.cursor.behind:
            self.fall_behind(subscription)
        else:
            self.catch_up(subscription)

    def detach(self, subscription: Subscription) -> None:
        for group in (self._all, self._plain, self._filtered):
            group.pop(subscription, None)

    def catch_up(self, subscription: Subscription) -> None:
        """Serve ``subscription``, which has seen everything, from ``publish``."""
        self.flush()  # what it has seen already is for the others
        group = self._filtered if subscription.cursor.wants else self._plain
        group[subscription] = None

    def fall_behind(self, subscription: Subscription) -> None:
        """Leave ``subscription`` to its subscriber's own task."""
        self._plain.pop(subscription, None)
        self._filtered.pop(subscription, None)
        subscription.subscriber.wake(subscription)


def _filtered_wire(held: Sequence[Frame], wants: Filter, told: int) -> tuple[bytes, int]:
    """Return what of ``held`` is wanted, behind ``told``, and up to where that tells."""
    wires: list[bytes] = []
    for frame in held:
        if wants(frame.type):
            wires.append(text_frame(covering(frame, told + 1)))
            told = frame.seq
    return b"".join(wires), told


def weakly(publish: Callable[[Frame], None]) -> Callable[[Frame], None]:
    """Return a method that does not hold its topic: that holds its log, which holds this."""
    found = WeakMethod(publish)

    def show(frame: Frame) -> None:
        method = found()
        if method is not None:  # else nobody can follow it any more
            method(frame)

    return show


Watcher = Callable[[Topic], None]


class Topics:
    """Every session that can be subscribed to, and who wants to hear of new ones."""

    def __init__(self) -> None:
        self._topics: dict[str, Topic] = {}
        self._watchers: dict[Watcher, None] = {}

    def open(self, log: LiveLog) -> Topic:
        """Make the topic of a new session: whatever ``log`` shows is published from now on."""
        assert log.session_id not in self._topics, f"session {log.session_id} is open already"
        topic = self._topics[log.session_id] = Topic(log)
        log.listen(weakly(topic.publish))
        for watcher in tuple(self._watchers):
            watcher(topic)
        return topic

    def get(self, session_id: str) -> Topic | None:
        return self._topics.get(session_id)

    def forget(self, session_id: str) -> None:
        """Let go of an ended session: it cannot be read any more."""
        self._topics.pop(session_id, None)

    def __iter__(self) -> Iterator[Topic]:
        return iter(tuple(self._topics.values()))

    def __len__(self) -> int:
        return len(self._topics)

    def watch(self, watcher: Watcher) -> None:
        """Have ``watcher`` called with the topic of each new session, before its first event."""
        self._watchers[watcher] = None

    def unwatch(self, watcher: Watcher) -> None:
        self._watchers.pop(watcher, None)


class Subscriber:
    """One socket: its subscriptions, and the one task that serves those that lag."""

    def __init__(self, sink: Sink, *, limits: CursorLimits = LIMITS, most: int = 1000) -> None:
        self.sink = sink
        self._limits = limits
        self._most = most  # subscriptions on one socket
        self._subscriptions: dict[str, Subscription] = {}
        self._behind: dict[Subscription, None] = {}
        self._wake = anyio.Event()
        self._idle = anyio.Event()
        self._idle.set()

    def subscribe(
        self,
        topic: Topic,
        *,
        after_seq: int | None = None,
        epoch: int | None = None,
        events: Sequence[str] = (),
    ) -> None:
        """Follow ``topic`` behind ``after_seq``: 0 from the start, None from now on.

        Subscribing again starts over. A heartbeat answers when there is nothing to replay, so
        that the other side knows from where on it is served. Raises ``Disconnect`` past a limit.
        """
        wants = Filter(events)
        self.unsubscribe(topic)
        if len(self._subscriptions) >= self._most:
            raise Disconnect(f"at most {self._most} sessions on a socket", code=CloseCode.LIMIT)
        cursor = Cursor(
            topic.log, after_seq=after_seq, epoch=epoch, wants=wants, limits=self._limits
        )
        subscription = Subscription(topic, self, cursor)
        self._subscriptions[topic.id] = subscription
        topic.attach(subscription)
        if cursor.seen > 0 or after_seq is None:
            self._beat(subscription)

    def unsubscribe(self, topic: Topic) -> None:
        subscription = self._subscriptions.pop(topic.id, None)
        if subscription is not None:
            topic.detach(subscription)
            self._behind.pop(subscription, None)

    def follows(self, topic: Topic) -> bool:
        return topic.id in self._subscriptions

    @property
    def lagging(self) -> bool:
        """Whether there is something left to ``step`` for."""
        return bool(self._behind)

    def close(self) -> None:
        """Leave every topic."""
        for subscription in tuple(self._subscriptions.values()):
            self.unsubscribe(subscription.topic)

    def beat(self) -> None:
        """Send a heartbeat for each live session that has nothing else to send."""
        for subscription in self._subscriptions.values():
            if not subscription.topic.ended.is_set():
                self._beat(subscription)

    def _beat(self, subscription: Subscription) -> None:
        cursor = subscription.cursor
        subscription.topic.flush()
        if subscription not in self._behind and self.sink.write(text_frame(cursor.heartbeat())):
            cursor.told = cursor.seen

    def wake(self, subscription: Subscription) -> None:
        self._behind[subscription] = None
        self._wake.set()
        if self._idle.is_set():
            self._idle = anyio.Event()

    async def caught_up(self) -> None:
        """Wait until everything that is visible has been written, or nothing more will be."""
        await self._idle.wait()

    async def run(self) -> None:
        """Serve what lags, until cancelled. Raises ``Disconnect`` if the socket must be closed."""
        try:
            while True:
                await self._wake.wait()
                self._wake = anyio.Event()
                while self._behind:
                    await anyio.lowlevel.checkpoint()  # a long replay lets others run
                    await self.sink.ready()
                    await self.recall()
                    self.step(anyio.current_time())
                self._idle.set()
        finally:
            self.close()
            self._idle.set()

    async def recall(self) -> None:
        """Fetch what the next to be served needs, where it is older than memory goes back."""
        subscription = next(iter(self._behind), None)
        if subscription is not None and subscription.cursor.forgotten:
            log, cursor = subscription.topic.log, subscription.cursor
            cursor.remember(await log.recall(cursor.seen) if log.recall else ())

    def step(self, now: float) -> None:
        """Write the next batch of one session that lags, if any. Raises ``Disconnect``."""
        if not self._behind:
            return
        subscription = next(iter(self._behind))
        del self._behind[subscription]
        cursor = subscription.cursor
        texts = cursor.take(now)
        if texts and not self.sink.write(b"".join(map(text_frame, texts))):
            raise Disconnect("the connection is closing", code=CloseCode.SLOW)
        if cursor.behind:
            self._behind[subscription] = None  # to the end: the others first
        else:
            subscription.topic.catch_up(subscription)
