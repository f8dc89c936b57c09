"""Fan-out: subscribers that keep up are written to at once, lagging ones by their own task."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from pipeline.hub.cursor import CursorLimits
from pipeline.hub.fanout import MAX_DIRECT, Subscriber, Topic, Topics
from pipeline.journal.log import SessionLog
from pipeline.protocol.close_codes import CloseCode, Disconnect
from pipeline.protocol.events import (
    Event,
    Heartbeat,
    ResponseDelta,
    ServerEvent,
    SessionEnded,
    SessionResync,
    SpeechStartedEvent,
    Totals,
    UnknownEvent,
    decode_event,
)

LIMITS = CursorLimits(events=20, resyncs=1, batch=8)


class FakeSink:
    """Takes frames while it has room."""

    def __init__(self) -> None:
        self.events: list[ServerEvent | UnknownEvent] = []
        self.writes = 0
        self._room = anyio.Event()
        self._room.set()

    def block(self) -> None:
        self._room = anyio.Event()

    def free(self) -> None:
        self._room.set()

    def write(self, wire: bytes) -> bool:
        if not self._room.is_set():
            return False
        self.writes += 1
        while wire:
            size, head = wire[1], 2
            if size == 126:
                size, head = int.from_bytes(wire[2:4], "big"), 4
            self.events.append(decode_event(wire[head : head + size]))
            wire = wire[head + size :]
        return True

    async def ready(self) -> None:
        await self._room.wait()

    @property
    def numbers(self) -> list[int]:
        return [
            event.seq for event in self.events if not isinstance(event, UnknownEvent | Heartbeat)
        ]


class Stage:
    """One session, and subscribers with running tasks."""

    def __init__(self) -> None:
        self.topics = Topics()
        self.log = SessionLog("s1")
        self.topic = self.topics.open(self.log)

    def say(self, *events: Event) -> None:
        for event in events:
            self.log.append(event, t=0, ts="")

    def deltas(self, text: str) -> None:
        self.say(*(ResponseDelta(response_id="r1", delta=letter) for letter in text))

    @asynccontextmanager
    async def subscriber(
        self, after_seq: int | None = 0, events: tuple[str, ...] = ()
    ) -> AsyncGenerator[FakeSink]:
        sink = FakeSink()
        subscriber = Subscriber(sink, limits=LIMITS)
        subscriber.subscribe(self.topic, after_seq=after_seq, events=events)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(subscriber.run)
            yield sink
            tasks.cancel_scope.cancel()


def text_of(sink: FakeSink) -> str:
    return "".join(event.delta for event in sink.events if isinstance(event, ResponseDelta))


async def test_a_subscriber_that_has_caught_up_is_written_to_before_publish_returns() -> None:
    stage = Stage()
    async with stage.subscriber() as sink:
        stage.deltas("a")
        assert sink.numbers == [1]


async def test_a_replay_joins_the_live_events_without_gap_or_double() -> None:
    stage = Stage()
    stage.deltas("abcdefghijkl")
    async with stage.subscriber(after_seq=2) as sink:
        stage.deltas("mn")
        await anyio.wait_all_tasks_blocked()
        stage.deltas("o")
        assert text_of(sink) == "cdefghijklmno"


async def test_a_subscriber_that_lags_gets_merged_deltas_and_then_lives_on() -> None:
    stage = Stage()
    async with stage.subscriber() as sink, stage.subscriber() as neighbour:
        sink.block()
        stage.deltas("abcde")
        assert neighbour.numbers == [1, 2, 3, 4, 5]
        sink.free()
        await anyio.wait_all_tasks_blocked()
        stage.deltas("f")
    assert sink.numbers == [5, 6]
    assert text_of(sink) == "abcdef"


async def test_a_subscriber_that_lags_too_far_gets_the_state_and_is_then_closed() -> None:
    stage = Stage()
    sink = FakeSink()
    subscriber = Subscriber(sink, limits=LIMITS)
    subscriber.subscribe(stage.topic, after_seq=0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lag_twice, stage, sink)
        with pytest.raises(Disconnect) as closed:
            await subscriber.run()
        assert closed.value.code == CloseCode.SLOW
    assert [type(event) for event in sink.events] == [SessionResync]
    assert stage.topic.subscribers == 0


async def lag_twice(stage: Stage, sink: FakeSink) -> None:
    for _ in range(2):
        sink.block()
        stage.say(*(SpeechStartedEvent() for _ in range(21)))
        sink.free()
        await anyio.wait_all_tasks_blocked()


async def test_a_filtered_subscriber_learns_of_what_was_held_back() -> None:
    stage = Stage()
    async with stage.subscriber(events=("speech.*",)) as sink:
        stage.deltas("ab")
        stage.say(SpeechStartedEvent())
        (event,) = sink.events
        assert isinstance(event, SpeechStartedEvent)
        assert (event.from_seq, event.seq) == (1, 3)


async def test_a_large_audience_is_written_to_once_a_turn_of_the_loop() -> None:
    stage = Stage()
    async with anyio.create_task_group() as tasks:
        sinks = [FakeSink() for _ in range(MAX_DIRECT + 1)]
        for sink in sinks:
            subscriber = Subscriber(sink)
            subscriber.subscribe(stage.topic, after_seq=0)
            tasks.start_soon(subscriber.run)
        await anyio.wait_all_tasks_blocked()
        stage.deltas("abc")
        async with stage.subscriber() as late:
            assert all(sink.numbers == [] for sink in sinks)
            await anyio.wait_all_tasks_blocked()
            assert all(sink.numbers == late.numbers == [1, 2, 3] for sink in sinks)
            assert all(sink.writes == 1 for sink in sinks)
            stage.deltas("d")
            stage.say(SessionEnded(reason="client", totals=Totals()))
            assert all(sink.numbers == [1, 2, 3, 4, 5] for sink in [*sinks, late])
        tasks.cancel_scope.cancel()


async def test_a_heartbeat_names_the_head_and_waits_for_what_lags() -> None:
    stage = Stage()
    sink = FakeSink()
    subscriber = Subscriber(sink)
    subscriber.subscribe(stage.topic, after_seq=0)
    stage.deltas("a")
    subscriber.beat()
    sink.block()
    stage.deltas("b")
    subscriber.beat()
    heads = [event.head for event in sink.events if isinstance(event, Heartbeat)]
    assert heads == [1]


async def test_subscribing_again_starts_over() -> None:
    stage = Stage()
    stage.deltas("ab")
    sink = FakeSink()
    subscriber = Subscriber(sink)
    subscriber.subscribe(stage.topic, after_seq=2)
    subscriber.subscribe(stage.topic, after_seq=0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(subscriber.run)
        await anyio.wait_all_tasks_blocked()
        assert (sink.numbers, stage.topic.subscribers) == ([1, 2], 1)
        tasks.cancel_scope.cancel()


async def test_a_subscriber_that_leaves_is_removed() -> None:
    stage = Stage()
    async with stage.subscriber():
        assert stage.topic.subscribers == 1
    assert stage.topic.subscribers == 0
    stage.deltas("a")


def test_watchers_hear_of_new_sessions_before_their_first_event() -> None:
    topics = Topics()
    heard: list[tuple[str, int]] = []

    def watcher(topic: Topic) -> None:
        heard.append((topic.id, topic.log.visible))

    topics.watch(watcher)
    topics.open(SessionLog("s1"))
    topics.unwatch(watcher)
    topics.open(SessionLog("s2"))
    assert heard == [("s1", 0)]
    assert [topic.id for topic in topics] == ["s1", "s2"]


async def test_ended_sessions_take_no_room_from_new_ones() -> None:
    topics, sink = Topics(), FakeSink()
    subscriber = Subscriber(sink, most=3)
    for number in range(10):
        log = SessionLog(f"s{number}")
        subscriber.subscribe(topics.open(log), after_seq=0)
        log.append(SessionEnded(reason="client", totals=Totals()), t=0, ts="")
    assert len(sink.events) == 10
    live = [topics.open(SessionLog(f"live{number}")) for number in range(4)]
    for topic in live[:3]:
        subscriber.subscribe(topic, after_seq=0)
    with pytest.raises(Disconnect, match="at most 3 sessions"):
        subscriber.subscribe(live[3], after_seq=0)


async def test_an_ended_session_that_is_still_being_sent_keeps_its_place() -> None:
    topics, sink = Topics(), FakeSink()
    subscriber = Subscriber(sink, most=1)
    log = SessionLog("s1")
    subscriber.subscribe(topics.open(log), after_seq=0)
    sink.block()
    log.append(SessionEnded(reason="client", totals=Totals()), t=0, ts="")
    with pytest.raises(Disconnect, match="at most 1 sessions"):
        subscriber.subscribe(topics.open(SessionLog("s2")), after_seq=0)


async def test_a_heartbeat_covers_what_a_filter_held_back() -> None:
    stage = Stage()
    sink = FakeSink()
    subscriber = Subscriber(sink)
    subscriber.subscribe(stage.topic, after_seq=0, events=("speech.*",))
    stage.deltas("ab")
    subscriber.beat()
    stage.deltas("c")
    stage.say(SpeechStartedEvent())
    *_, beat, event = sink.events
    assert isinstance(beat, Heartbeat)
    assert isinstance(event, SpeechStartedEvent)
    assert (beat.head, event.from_seq, event.seq) == (2, 3, 4)


async def test_one_who_catches_up_gets_no_pending_frame_twice() -> None:
    log, due = SessionLog("s1"), list[Callable[[], None]]()
    topic = Topic(log, defer=due.append)
    log.listen(topic.publish)
    sinks = [FakeSink() for _ in range(MAX_DIRECT + 1)]
    for sink in sinks:
        Subscriber(sink).subscribe(topic, after_seq=0)
    log.append(SpeechStartedEvent(), t=0, ts="")  # pending: the next turn of the loop writes it
    late = FakeSink()
    subscriber = Subscriber(late)
    subscriber.subscribe(topic, after_seq=0)
    subscriber.step(0)
    assert not subscriber.lagging
    for flush in due:
        flush()
    assert [sink.numbers for sink in (late, *sinks)] == [[1]] * (MAX_DIRECT + 2)
