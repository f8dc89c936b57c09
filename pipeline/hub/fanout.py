"""Fan-out of a session's log to its subscribers; the publisher never waits."""

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

MAX_DIRECT = 32  #: caught-up subscribers written to at once; more are written once per loop turn


class Sink(Protocol):
    """Output of one subscriber: complete websocket frames, in order."""

    def write(self, wire: bytes) -> bool:
        """Accept ``wire`` at once, or nothing and return False when congested or closing."""
        ...

    async def ready(self) -> None:
        """Wait until ``write`` accepts more. Raises ``Disconnect`` when it never will."""
        ...


class LiveLog(EventLog, Protocol):
    """Log that calls a function for each frame that becomes visible."""

    def listen(self, on_visible: Callable[[Frame], object]) -> None: ...


class Subscription:
    """Subscription of one socket to one session."""

    __slots__ = ("cursor", "sink", "subscriber", "topic")

    def __init__(self, topic: "Topic", subscriber: "Subscriber", cursor: Cursor) -> None:
        self.topic = topic
        self.subscriber = subscriber
        self.sink = subscriber.sink
        self.cursor = cursor


def call_soon(call: Callable[[], None]) -> None:
    """Call ``call`` in the event loop's next turn."""
    get_running_loop().call_soon(call)


class Topic:
    """One session's log and its subscribers.

    ``publish`` is called with each frame as it becomes visible. A subscriber that has caught up
    and has room receives the bytes at once; any other is served from the log by its own task.
    Many subscribers are written to once per turn of the event loop, with all frames published
    in it: a write costs the kernel about 7 µs, whatever its length.
    """

    def __init__(
        self, log: EventLog, *, defer: Callable[[Callable[[], None]], object] = call_soon
    ) -> None:
        self._defer = defer  # calls a function once, in the next turn of the event loop
        self.log = log
        self.ended = anyio.Event()  #: set once ``session.ended`` is visible
        self._all: dict[Subscription, None] = {}
        self._plain: dict[Subscription, None] = {}  # caught up, no filter
        self._filtered: dict[Subscription, None] = {}  # caught up, with a filter
        self._pending: list[Frame] = []  # published, to be written in the next turn

    @property
    def id(self) -> str:
        return self.log.session_id

    @property
    def subscribers(self) -> int:
        return len(self._all)

    def publish(self, frame: Frame) -> None:
        """Send ``frame``, the newest in the log, to subscribers. Never waits, never fails."""
        self._pending.append(frame)
        ended = frame.type == "session.ended"
        if ended or len(self._plain) + len(self._filtered) <= MAX_DIRECT:
            self.flush()
        elif len(self._pending) == 1:
            self._defer(self.flush)
        if ended:
            self.ended.set()

    def flush(self) -> None:
        """Write the pending frames."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        stuck: list[Subscription] = []
        if self._plain:
            wire = b"".join([text_frame(frame.data) for frame in pending])
            seq = pending[-1].seq
            for subscription in self._plain:
                if subscription.sink.write(wire):
                    subscription.cursor.advance(seq)
                else:
                    stuck.append(subscription)
        if self._filtered:
            self._flush_filtered(pending, stuck)
        for subscription in stuck:
            self.fall_behind(subscription)

    def _flush_filtered(self, pending: Sequence[Frame], stuck: list[Subscription]) -> None:
        # Subscribers with equal filters and equal coverage receive the same bytes.
        wires_by_filter: dict[tuple[tuple[str, ...], int], tuple[bytes, int]] = {}
        for subscription in tuple(self._filtered):
            cursor = subscription.cursor
            key = cursor.event_filter.globs, cursor.covered
            if key not in wires_by_filter:
                wires_by_filter[key] = _filtered_wire(pending, cursor.event_filter, cursor.covered)
            wire, covered = wires_by_filter[key]
            if wire and not subscription.sink.write(wire):
                del self._filtered[subscription]
                stuck.append(subscription)
            else:
                cursor.seen, cursor.covered = pending[-1].seq, covered

    def announce(self, text: bytes) -> None:
        """Send a message outside the log to subscribers that have caught up and have room."""
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
        """Serve ``subscription``, which has received everything, from ``publish``."""
        self.flush()  # pending frames are for the others only: it has received them
        group = self._filtered if subscription.cursor.event_filter else self._plain
        group[subscription] = None

    def fall_behind(self, subscription: Subscription) -> None:
        """Serve ``subscription`` from its subscriber's own task."""
        self._plain.pop(subscription, None)
        self._filtered.pop(subscription, None)
        subscription.subscriber.wake(subscription)


def _filtered_wire(
    pending: Sequence[Frame], event_filter: Filter, covered: int
) -> tuple[bytes, int]:
    """Return the frames that pass the filter, as bytes, and the newest number they cover."""
    wires: list[bytes] = []
    for frame in pending:
        if event_filter(frame.type):
            wires.append(text_frame(covering(frame, covered + 1)))
            covered = frame.seq
    return b"".join(wires), covered


def weak_callback(publish: Callable[[Frame], None]) -> Callable[[Frame], None]:
    """Wrap a method in a weak reference: the topic holds its log, which holds the callback."""
    found = WeakMethod(publish)

    def show(frame: Frame) -> None:
        method = found()
        if method is not None:  # else the topic, and with it every subscriber, is gone
            method(frame)

    return show


Watcher = Callable[[Topic], None]


class Topics:
    """Topics of all readable sessions, with callbacks for new ones."""

    def __init__(self) -> None:
        self._topics: dict[str, Topic] = {}
        self._watchers: dict[Watcher, None] = {}

    def open(self, log: LiveLog) -> Topic:
        """Create the topic of a new session; frames of ``log`` are published from now on."""
        assert log.session_id not in self._topics, f"session {log.session_id} is open already"
        topic = self._topics[log.session_id] = Topic(log)
        log.listen(weak_callback(topic.publish))
        for watcher in tuple(self._watchers):
            watcher(topic)
        return topic

    def get(self, session_id: str) -> Topic | None:
        return self._topics.get(session_id)

    def remove(self, session_id: str) -> None:
        """Remove an ended session: it cannot be read any more."""
        self._topics.pop(session_id, None)

    def __iter__(self) -> Iterator[Topic]:
        return iter(tuple(self._topics.values()))

    def __len__(self) -> int:
        return len(self._topics)

    def watch(self, watcher: Watcher) -> None:
        """Call ``watcher`` with the topic of each new session, before its first event."""
        self._watchers[watcher] = None

    def unwatch(self, watcher: Watcher) -> None:
        self._watchers.pop(watcher, None)


class Subscriber:
    """Subscriptions of one socket, and the task that serves those that are behind."""

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
        """Subscribe to ``topic`` after ``after_seq``: 0 from the start, None from now on.

        Subscribing again replaces the subscription. Without anything to replay a heartbeat is
        sent, so that the client knows its position. Raises ``Disconnect`` past a limit.
        """
        event_filter = Filter(events)
        self.unsubscribe(topic)
        if len(self._subscriptions) >= self._most:
            self._unsubscribe_ended()
        if len(self._subscriptions) >= self._most:
            raise Disconnect(f"at most {self._most} sessions on a socket", code=CloseCode.LIMIT)
        cursor = Cursor(
            topic.log,
            after_seq=after_seq,
            epoch=epoch,
            event_filter=event_filter,
            limits=self._limits,
        )
        subscription = Subscription(topic, self, cursor)
        self._subscriptions[topic.id] = subscription
        topic.attach(subscription)
        if cursor.seen > 0 or after_seq is None:
            self._beat(subscription)

    def unsubscribe(self, topic: Topic) -> None:
        subscription = self._subscriptions.pop(topic.id, None)
        if subscription is not None:
            subscription.topic.detach(subscription)  # perhaps an earlier topic of the same id
            self._behind.pop(subscription, None)

    def _unsubscribe_ended(self) -> None:
        """Drop ended sessions whose last event was sent: they take no room from live ones."""
        for subscription in tuple(self._subscriptions.values()):
            if subscription.topic.ended.is_set() and subscription not in self._behind:
                self.unsubscribe(subscription.topic)

    def follows(self, topic: Topic) -> bool:
        return topic.id in self._subscriptions

    def position_in(self, topic: Topic) -> int:
        """Return up to which number of ``topic`` an earlier topic of its id was sent."""
        subscription = self._subscriptions.get(topic.id)
        if subscription is None:
            return 0
        covered, epoch = subscription.cursor.covered, subscription.topic.log.epoch
        return covered if topic.log.continues(covered, epoch) else 0

    @property
    def lagging(self) -> bool:
        """Whether ``step`` has work left."""
        return bool(self._behind)

    def close(self) -> None:
        """Unsubscribe from every topic."""
        for subscription in tuple(self._subscriptions.values()):
            self.unsubscribe(subscription.topic)

    def beat(self) -> None:
        """Send a heartbeat for each live session whose subscription has caught up."""
        for subscription in self._subscriptions.values():
            if not subscription.topic.ended.is_set():
                self._beat(subscription)

    def _beat(self, subscription: Subscription) -> None:
        cursor = subscription.cursor
        subscription.topic.flush()
        if subscription not in self._behind and self.sink.write(text_frame(cursor.heartbeat())):
            cursor.covered = cursor.seen

    def wake(self, subscription: Subscription) -> None:
        self._behind[subscription] = None
        self._wake.set()
        if self._idle.is_set():
            self._idle = anyio.Event()

    async def caught_up(self) -> None:
        """Wait until all visible frames are written, or the subscriber has stopped."""
        await self._idle.wait()

    async def run(self) -> None:
        """Serve subscriptions that are behind, until cancelled. Raises ``Disconnect``."""
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
        """Fetch the frames of the next subscription if they are older than memory."""
        subscription = next(iter(self._behind), None)
        if subscription is not None and subscription.cursor.needs_recall:
            log, cursor = subscription.topic.log, subscription.cursor
            cursor.add_recalled(await log.recall(cursor.seen) if log.recall else ())

    def step(self, now: float) -> None:
        """Write the next batch of one subscription that is behind. Raises ``Disconnect``."""
        if not self._behind:
            return
        subscription = next(iter(self._behind))
        del self._behind[subscription]
        cursor = subscription.cursor
        texts = cursor.take(now)
        if texts and not self.sink.write(b"".join(map(text_frame, texts))):
            raise Disconnect("the connection is closing", code=CloseCode.SLOW)
        if cursor.behind:
            self._behind[subscription] = None  # to the end of the queue: the others first
        else:
            subscription.topic.catch_up(subscription)
