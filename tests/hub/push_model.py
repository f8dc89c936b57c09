"""The push protocol against a model: random events, subscribers, crashes, in random order."""

from collections.abc import Callable, Coroutine

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from pipeline.hub import fanout
from pipeline.hub.cursor import CursorLimits
from pipeline.hub.fanout import Subscriber, Topic
from pipeline.journal.log import SessionLog
from pipeline.journal.recovery import lost_responses
from pipeline.protocol.close_codes import Disconnect
from pipeline.protocol.events import (
    Event,
    Frame,
    RequestInfo,
    ResponseCreated,
    ResponseDelta,
    ResponseDone,
    SpeechStartedEvent,
    Times,
    TokenUsage,
    TurnCompleted,
    TurnUpdated,
    UnknownEvent,
    decode_event,
    encode,
)
from tests.support.oracle import Client, Model, parse

LIMITS = CursorLimits(events=8, size=20_000, seconds=5.0, resyncs=2, window=20.0, batch=5)
KEEP = 14  #: events that can still be read
CLIENTS = 3
GLOBS = ((), (), ("turn.*",), ("response.*",), ("response.done", "speech.*"), ("none",))


class OracleSink:
    """Hands whole frames to the oracle while it has room."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.room = True

    def write(self, wire: bytes) -> bool:
        if not self.room:
            return False
        while wire:
            size, head = wire[1], 2
            if size >= 126:
                head = 4 if size == 126 else 10
                size = int.from_bytes(wire[2:head], "big")
            self._client.receive(wire[head : head + size])
            wire = wire[head + size :]
        return True

    async def ready(self) -> None:
        raise AssertionError("the machine steps by itself")


def at_once(task: Coroutine[None, None, None]) -> None:
    """Run what has nothing to wait for."""
    try:
        task.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


class Seat:
    """One client, connected or not."""

    def __init__(self, model: Model) -> None:
        self.client = Client(model)
        self.sink: OracleSink | None = None
        self.subscriber: Subscriber | None = None


class PushMachine(RuleBasedStateMachine):
    """One session with a durable log, its topic, and a few subscribers."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.seats = [Seat(self.model) for _ in range(CLIENTS)]
        self.stored: list[Frame] = []
        self.later: list[Callable[[], object]] = []
        self.now = 0.0
        self.epoch = 1
        self.epochs = {1}  # used so far
        self.responses = 0
        self.turn = 1
        self.open: dict[str, str] = {}
        self.lanes: dict[int, str] = {}

    @initialize(
        audience=st.sampled_from([0, 1, 32]),
        slow_disk=st.booleans(),
        archived=st.sampled_from([0, 0, 3, 1000]),
    )
    def begin(self, audience: int, slow_disk: bool, archived: int) -> None:
        fanout.MAX_DIRECT = audience
        self.slow_disk = slow_disk
        self.archived = archived  # events behind those in memory that can be read back
        self.log = SessionLog("s1", keep=KEEP, store=lambda _, frame: self.stored.append(frame))
        self._set_stage()
        for seat in range(CLIENTS - 1):
            self.connect(seat=seat, how="start", globs=(), back=1)

    async def _recall(self, after_seq: int) -> list[Frame]:
        if after_seq < self.log.oldest - self.archived:
            return []
        events = self.model.events[after_seq : min(after_seq + 5, self.model.shown)]
        return [Frame(event["seq"], event["type"], encode(event)) for event in events]

    def _set_stage(self) -> None:
        self.log.recall = self._recall if self.archived else None
        self.topic = Topic(self.log, defer=self.later.append)
        self.log.listen(self.topic.publish)

    def say(self, event: Event) -> None:
        frame = self.log.append(event, t=int(self.now * 1000), ts="")
        self.model.events.append(parse(frame.data))
        if not self.slow_disk:
            self.commit(4)

    # --- what happens in the session ---

    @rule(lane=st.integers(0, 1), texts=st.lists(st.text("ab", min_size=1), min_size=1, max_size=4))
    def respond(self, lane: int, texts: list[str]) -> None:
        """Some deltas of one of two parallel responses."""
        response_id = self.lanes.get(lane)
        if response_id is None or response_id not in self.open:
            self.responses += 1
            response_id = self.lanes[lane] = f"r{self.responses}"
            self.open[response_id] = ""
            self.say(
                ResponseCreated(
                    response_id=response_id, prompt="p", turns=(1,), model="m", speculative=False
                )
            )
        for text in texts:
            self.open[response_id] += text
            self.say(ResponseDelta(response_id=response_id, delta=text))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        response_id = data.draw(st.sampled_from(sorted(self.open)))
        self.say(
            ResponseDone(
                response_id=response_id,
                status="completed",
                text=self.open.pop(response_id),
                usage=TokenUsage(input_tokens=0, output_tokens=0, estimated=False),
                times=Times(),
                request=RequestInfo(id=None, model="m", region=None),
            )
        )

    @rule(text=st.text("xy", max_size=3))
    def partial(self, text: str) -> None:
        self.say(TurnUpdated(turn=self.turn, text=text))

    @rule(text=st.text("xy", max_size=3))
    def end_turn(self, text: str) -> None:
        self.say(TurnCompleted(turn=self.turn, text=text, end_of_turn_delay=None))
        self.turn += 1

    @rule(count=st.integers(1, 6))
    def noise(self, count: int) -> None:
        for _ in range(count):
            self.say(SpeechStartedEvent())

    # --- what happens to the process ---

    @rule(share=st.integers(1, 4))
    def commit(self, share: int) -> None:
        if not self.stored:
            return
        count = max(1, len(self.stored) * share // 4)
        batch, self.stored[:] = self.stored[:count], self.stored[count:]
        self.model.shown = batch[-1].seq
        self.log.confirm(batch[-1].seq)

    @rule()
    def turn_of_the_loop(self) -> None:
        due, self.later[:] = self.later[:], []
        for call in due:
            call()

    @rule(seconds=st.sampled_from([0.5, 6.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def crash(self) -> None:
        """The process dies: events that were not stored are lost, and no client has seen them."""
        for seat in self.seats:
            self._disconnect(seat)
        self.later.clear()
        self.stored.clear()
        while self.epoch in self.epochs:
            self.epoch += 1
        self.epochs.add(self.epoch)
        del self.model.events[self.model.shown :]
        log = SessionLog(
            "s1", epoch=self.epoch, keep=KEEP, store=lambda _, frame: self.stored.append(frame)
        )
        for event in self.model.events:
            text = encode(event)
            decoded = decode_event(text)
            assert not isinstance(decoded, UnknownEvent)
            log.restore(Frame(event["seq"], event["type"], text), decoded)
        if log.epoch != self.epoch:
            log.take_over(self.epoch)
        self.log = log
        self._set_stage()
        for ending in lost_responses(log.snapshot):
            self.say(ending)
        self.open = {}
        self.turn = len(self.model.turns_at(len(self.model.events))) + 1

    @rule(epoch=st.integers(1, 1 << 53))
    def begin_anew(self, epoch: int) -> None:
        """The session is deleted, expires or is lost, and its id is used for another history."""
        for seat in self.seats:
            self._disconnect(seat)
        self.later.clear()
        self.stored.clear()
        while epoch in self.epochs:
            epoch += 1
        self.epochs.add(epoch)
        self.epoch = epoch
        self.model.begin_anew()
        self.log = SessionLog(
            "s1", epoch=epoch, keep=KEEP, store=lambda _, frame: self.stored.append(frame)
        )
        self._set_stage()
        self.open = {}
        self.turn = 1

    # --- what subscribers do ---

    @rule(
        seat=st.integers(0, CLIENTS - 1),
        how=st.sampled_from(["resume", "resume", "tail", "start", "back", "ahead"]),
        globs=st.sampled_from(GLOBS),
        back=st.integers(1, 20),
    )
    def connect(self, seat: int, how: str, globs: tuple[str, ...], back: int) -> None:
        chair = self.seats[seat]
        self._disconnect(chair)
        place = chair.client.place
        after_seq = {
            "resume": place,
            "tail": None,
            "start": 0,
            "back": max(0, place - back),
            "ahead": self.log.visible + back,
        }[how]
        chair.client.connected(after_seq, globs)
        chair.sink = OracleSink(chair.client)
        chair.subscriber = Subscriber(chair.sink, limits=LIMITS)
        chair.subscriber.subscribe(
            self.topic, after_seq=after_seq, epoch=chair.client.epoch, events=globs
        )

    @rule(seat=st.integers(0, CLIENTS - 1))
    def leave(self, seat: int) -> None:
        self._disconnect(self.seats[seat])

    @rule(seat=st.integers(0, CLIENTS - 1), room=st.booleans())
    def congest(self, seat: int, room: bool) -> None:
        sink = self.seats[seat].sink
        if sink is not None:
            sink.room = room

    @rule(seat=st.integers(0, CLIENTS - 1))
    def serve(self, seat: int) -> None:
        self._step(self.seats[seat])

    @rule(seat=st.integers(0, CLIENTS - 1))
    def recall(self, seat: int) -> None:
        """A requested range is fetched; other events may happen before it is sent."""
        subscriber = self.seats[seat].subscriber
        if subscriber is not None:
            at_once(subscriber.recall())

    @rule(
        seat=st.integers(0, CLIENTS - 1),
        lane=st.integers(0, 1),
        texts=st.lists(st.text("ab", min_size=1), min_size=2, max_size=5),
        turn=st.booleans(),
    )
    def lag(self, seat: int, lane: int, texts: list[str], turn: bool) -> None:
        """A subscriber stops reading for a while."""
        self.congest(seat, room=False)
        self.respond(lane, texts)
        if turn:
            self.partial("x")
            self.respond(1 - lane, texts[:2])
            self.partial("xy")
        self.commit(4)
        self.turn_of_the_loop()
        self.congest(seat, room=True)
        self.serve(seat)

    @rule(seat=st.integers(0, CLIENTS - 1))
    def beat(self, seat: int) -> None:
        subscriber = self.seats[seat].subscriber
        if subscriber is not None:
            subscriber.beat()

    def _step(self, seat: Seat) -> bool:
        if seat.subscriber is None or seat.sink is None or not seat.sink.room:
            return False
        at_once(seat.subscriber.recall())
        try:
            seat.subscriber.step(self.now)
        except Disconnect:
            self._disconnect(seat)
            return False
        return seat.subscriber.lagging

    def _disconnect(self, seat: Seat) -> None:
        if seat.subscriber is not None:
            seat.subscriber.close()
        seat.subscriber = seat.sink = None

    def teardown(self) -> None:
        """A subscriber that stays connected and reads gets everything; each response ends."""
        if not hasattr(self, "log"):
            return
        self._let_all_catch_up()
        for seat in self.seats:
            if seat.subscriber is not None:
                seat.subscriber.beat()
                assert seat.client.place == self.log.visible
        everything = len(self.model.events)
        started = set(self.model.texts_at(everything))
        assert started - self.model.ended_at(everything) == set(self.open)
        fanout.MAX_DIRECT = 32

    def _let_all_catch_up(self) -> None:
        self.commit(4)
        for seat in self.seats:
            if seat.sink is not None:
                seat.sink.room = True
        for _ in range(2):
            self.turn_of_the_loop()
            for seat in self.seats:
                while self._step(seat):
                    pass
