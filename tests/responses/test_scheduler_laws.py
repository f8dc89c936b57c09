"""The laws of requests, over random histories of turns, calls, ticks and commands."""

import itertools
from collections.abc import Sequence
from math import inf
from typing import NamedTuple, get_args

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pipeline.config.settings import Prompt
from pipeline.errors import (
    GatewayBusy,
    GatewayError,
    GatewayLost,
    GatewayRefused,
    GatewayTimeout,
    RefusalCause,
)
from pipeline.interfaces.llm import Accepted, Ending, Finished, Piece, TextDelta, Usage
from pipeline.interfaces.turns import (
    SpeechStarted,
    TurnChanged,
    TurnEnded,
    TurnEvent,
    TurnPaused,
    TurnRevised,
    TurnStarted,
)
from pipeline.responses.alignment import PlaybackReport
from pipeline.responses.conversation import ConversationState
from pipeline.responses.rate_limit import Budget
from pipeline.responses.scheduler import ResponseScheduler
from pipeline.responses.steps import Step
from tests.responses.oracle import Oracle, plain

TEXTS = st.sampled_from(["yes", "mhm", "no", "book it", "book it now please", "wait wait"])
SPEAKERS = st.sampled_from([None, "A", "B"])
DELTAS = st.sampled_from(["Well", ". ", "It is booked. ", "x", "\n", "Good bye."])
MANY = st.integers(0, 10_000)  # an index into what there is
CHANNELS = st.sampled_from([0, 0, 0, 1])  # a turn of each may be open


@st.composite
def prompts(draw: st.DrawFn, name: str) -> Prompt:
    trigger = draw(st.sampled_from(["turn", "turn", "turn", "every", "silence", "end"]))
    return Prompt(
        system=draw(st.sampled_from(["", "Be {{vars.tone}}.", "So far: {{transcript}}"])),
        user=draw(st.sampled_from(["{{turn}}", "{{turn}}", "{{speaker}} said {{turn}}"])),
        model=draw(st.sampled_from(["one", "two"])),
        siblings=draw(st.sampled_from([(), ("three",), ("three", "four")])),
        extra={"prompt": name},
        policy=draw(st.sampled_from(["supersede", "supersede", "queue", "parallel", "conflate"])),
        parallel=draw(st.integers(1, 3)),
        every_turns=2 if trigger == "every" else 1,
        after_silence=2.0 if trigger == "silence" else 0.0,
        at_end=trigger == "end",
        min_words=draw(st.sampled_from([0, 0, 0, 2])),
        speaker=draw(st.sampled_from(["", "", "", "A"])),
        keyword=draw(st.sampled_from(["", "", "", "book"])),
        speculate=draw(st.sampled_from([True, True, False])),
        interrupt=draw(st.sampled_from(["speech", "words", "turn", "turn", "never"])),
        interrupt_words=2,
        history=draw(st.sampled_from([0, 1, 20])),
        sentences=draw(st.booleans()),
    )


class Open(NamedTuple):
    """A turn that is being spoken."""

    turn: int
    text: str
    speaker: str | None


class Conversation(RuleBasedStateMachine):
    """Random inputs to a scheduler; the oracle checks every step."""

    @initialize(
        prompt_schedulers=st.tuples(prompts("a"), prompts("b"), prompts("c")),
        count=st.integers(1, 3),
        limit=st.sampled_from([0, 0, 4, 12, 30]),
    )
    def begin(self, prompt_schedulers: tuple[Prompt, ...], count: int, limit: int) -> None:
        self.prompts = dict(zip("abc", prompt_schedulers[:count], strict=False))
        ids = itertools.count(1)
        self.scheduler = ResponseScheduler(
            self.prompts, ConversationState(Budget(limit), "one", lambda: f"r{next(ids)}")
        )
        self.oracle = Oracle(self.prompts, limit)
        self.now = 100.0
        self.turn = 0
        self.open: dict[int, Open] = {}  # by channel
        self.ended: list[int] = []  # turns, in the order of their ends
        self.calls: list[str] = []

    # --- turns -------------------------------------------------------------------------------

    @rule(speaker=SPEAKERS)
    def speech_begins(self, speaker: str | None) -> None:
        self.hear(SpeechStarted(self.now, speaker))

    @rule(channel=CHANNELS, text=TEXTS, speaker=SPEAKERS)
    def words_arrive(self, channel: int, text: str, speaker: str | None) -> None:
        before = self.open.get(channel)
        if before is None:
            self.turn += 1
            for watched in self.oracle.prompt_schedulers.values():
                if watched.live:
                    watched.met.add(self.turn)
            self.hear(TurnStarted(self.turn, self.now, speaker))
        self.changes(channel, Open(before.turn if before else self.turn, text, speaker))

    @precondition(lambda self: self.open)
    @rule(pick=MANY, capital=st.booleans())
    def formatting_changes(self, pick: int, capital: bool) -> None:
        channel, turn = self.some_turn(pick)
        text = f"{turn.text.strip('.').capitalize()}." if capital else turn.text.lower()
        self.changes(channel, turn._replace(text=text))

    @precondition(lambda self: self.open)
    @rule(pick=MANY)
    def a_silence(self, pick: int) -> None:
        self.pauses(self.some_turn(pick)[0])

    @rule(channel=CHANNELS, text=TEXTS, speaker=SPEAKERS)
    def a_hesitant_turn(self, channel: int, text: str, speaker: str | None) -> None:
        """Speak and pause: the commonest start of a speculative call."""
        self.words_arrive(channel, text, speaker)
        self.pauses(channel)

    @rule(channel=CHANNELS, text=TEXTS, speaker=SPEAKERS)
    def a_whole_turn(self, channel: int, text: str, speaker: str | None) -> None:
        self.words_arrive(channel, text, speaker)
        self.ends(channel, text)

    @precondition(lambda self: self.open)
    @rule(pick=MANY, capital=st.booleans())
    def the_turn_ends(self, pick: int, capital: bool) -> None:
        channel, turn = self.some_turn(pick)
        self.ends(channel, f"{turn.text.strip('.').capitalize()}." if capital else turn.text)

    @precondition(lambda self: self.open)
    @rule(pick=MANY, text=TEXTS)
    def the_turn_ends_in_other_words(self, pick: int, text: str) -> None:
        self.ends(self.some_turn(pick)[0], text)

    @precondition(lambda self: len(self.oracle.transcript) > 1)
    @rule(pick=MANY, speaker=SPEAKERS, text=st.one_of(st.none(), TEXTS))
    def a_turn_is_revised(self, pick: int, speaker: str | None, text: str | None) -> None:
        turns = list(self.oracle.transcript)[:-1]  # the last one may be asked anew
        turn = turns[pick % len(turns)]
        who, said = self.oracle.transcript[turn]
        self.hear(TurnRevised(turn, text, speaker))
        self.oracle.transcript[turn] = (speaker or who, text or said)
        # What asked for that turn already keeps what it was asked by.

    def some_turn(self, pick: int) -> tuple[int, Open]:
        return list(self.open.items())[pick % len(self.open)]

    def changes(self, channel: int, turn: Open) -> None:
        self.open[channel] = turn
        event = TurnChanged(*turn)
        guesses = {
            prompt_scheduler.name: prompt_scheduler.guess
            for prompt_scheduler in self.oracle.prompt_schedulers.values()
        }
        self.hear(event)
        for name, guess in guesses.items():
            if guess is not None:
                same = guess.turn != turn.turn or plain(guess.text) == plain(turn.text)
                kept = self.oracle.prompt_schedulers[name].guess is guess
                assert kept == same, "law 6: cancelled if and only if the words differ"

    def pauses(self, channel: int) -> None:
        self.oracle.pausing = turn = self.open[channel]
        others = {
            name: prompt_scheduler.guess
            for name, prompt_scheduler in self.oracle.prompt_schedulers.items()
            if prompt_scheduler.guess is not None
            and prompt_scheduler.guess.turn != turn.turn
            and not self.oracle.wants(prompt_scheduler.prompt, turn.text, turn.speaker)
        }
        self.hear(TurnPaused(turn.turn, turn.text, 0.0, turn.speaker))
        self.oracle.pausing = None
        for name, guess in others.items():
            assert self.oracle.prompt_schedulers[name].guess is guess, (
                "cancelled without a committed call in need of its slot"
            )

    def ends(self, channel: int, text: str) -> None:
        turn, _, speaker = self.open.pop(channel)
        event = TurnEnded(turn, text, speaker=speaker)
        oracle = self.oracle
        oracle.transcript[turn] = (speaker, text)
        oracle.speakers[turn] = speaker
        self.ended.append(turn)
        expected = {
            prompt_scheduler.name: oracle.must_adopt(prompt_scheduler, event)
            for prompt_scheduler in oracle.prompt_schedulers.values()
        }
        guesses = {
            prompt_scheduler.name: prompt_scheduler.guess
            for prompt_scheduler in oracle.prompt_schedulers.values()
        }
        for prompt_scheduler in oracle.prompt_schedulers.values():
            prompt_scheduler.texts[turn] = text
            if oracle.wants(prompt_scheduler.prompt, text, speaker):
                prompt_scheduler.wanted.append(turn)
        must_skip = [
            watched
            for watched in oracle.prompt_schedulers.values()
            if turn in watched.wanted and watched.live and oracle.is_murmur(watched.prompt, text)
        ]
        self.hear(event)
        assert all(turn in watched.skipped for watched in must_skip), "a murmur was taken up"
        for name, must in expected.items():
            guess, prompt_scheduler = guesses[name], oracle.prompt_schedulers[name]
            kept = guess is not None and guess.turn != turn and turn not in prompt_scheduler.wanted
            assert (prompt_scheduler.guess is guess) if kept else prompt_scheduler.guess is None, (
                "law 6: for another turn"
            )
            adopted = guess is not None and guess.id in prompt_scheduler.records
            skipped = turn in prompt_scheduler.skipped
            assert must is None or skipped or adopted == must, f"law 5: adopted {adopted}, {name}"
            assert not (skipped and adopted)

    # --- calls -------------------------------------------------------------------------------

    @precondition(lambda self: self.calls)
    @rule(pick=MANY, deltas=st.lists(DELTAS, max_size=3), head=st.booleans())
    def a_call_brings(self, pick: int, deltas: list[str], head: bool) -> None:
        pieces: list[Piece] = [Accepted("request")] if head else []
        self.receive(self.some_call(pick), [*pieces, *map(TextDelta, deltas)])

    @precondition(lambda self: self.oracle.running)
    @rule(pick=MANY, deltas=st.lists(DELTAS, min_size=1, max_size=3))
    def a_running_call_speaks(self, pick: int, deltas: list[str]) -> None:
        self.receive(self.running_call(pick), [TextDelta(delta) for delta in deltas])

    @precondition(lambda self: self.guesses)
    @rule(delta=DELTAS, completes=st.booleans())
    def the_guesses_speak(self, delta: str, completes: bool) -> None:
        over: list[Piece] = [Finished("stop", True)] if completes else []
        for key in self.guesses:
            self.receive(key, [TextDelta(delta), *over])

    @precondition(lambda self: self.calls)
    @rule(
        pick=MANY,
        deltas=st.lists(DELTAS, max_size=2),
        reason=st.sampled_from(["stop", "stop", "length", None]),
        counted=st.booleans(),
        more=st.booleans(),
    )
    def a_call_is_over(
        self, pick: int, deltas: list[str], reason: str | None, counted: bool, more: bool
    ) -> None:
        usage = Usage(7, 3) if counted else None
        pieces: list[Piece] = [*map(TextDelta, deltas)]
        ending: Ending = "limit" if reason == "length" else "whole"
        pieces.append(Finished(reason, reason is not None, usage, ending=ending))
        key = self.some_call(pick)
        self.receive(key, [*pieces, *pieces[-1:]] if more else pieces)

    @precondition(lambda self: self.oracle.running)
    @rule(pick=MANY, speaks=st.booleans())
    def a_running_call_completes(self, pick: int, speaks: bool) -> None:
        said: list[Piece] = [TextDelta("Done.")] if speaks else []
        self.receive(self.running_call(pick), [*said, Finished("stop", True)])

    @precondition(lambda self: self.calls)
    @rule(
        pick=MANY,
        how=st.sampled_from(["lost", "timeout", "evicted", "busy", "busy long", "refused"]),
        cause=st.sampled_from(get_args(RefusalCause)),
    )
    def a_call_fails(self, pick: int, how: str, cause: RefusalCause) -> None:
        key = self.some_call(pick)
        errors: dict[str, GatewayError] = {
            "lost": GatewayLost("cut"),
            "timeout": GatewayTimeout("slow"),
            "evicted": GatewayBusy("place"),
            "busy": GatewayBusy("busy", status=429),
            "busy long": GatewayBusy("busy", status=429, retry_after=20.0),
            "refused": GatewayRefused("no", status=400),
        }
        error = errors[how]
        error.cause = cause if how == "refused" else None
        if how.startswith("busy") and key in self.oracle.running:
            model = self.oracle.models[key]
            until = self.now + (20.0 if "long" in how else 1.0)
            self.oracle.blocked[model] = max(self.oracle.blocked.get(model, -inf), until)
        self.oracle.running.discard(key)
        self.do(self.scheduler.failed(key, error, self.now))

    @precondition(lambda self: self.calls)
    @rule(pick=MANY)
    def a_request_leaves(self, pick: int) -> None:
        self.scheduler.sent(self.some_call(pick), self.now)

    # --- time and clients ----------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.1, 0.9, 2.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.pass_time(self.now + seconds)

    @rule(pick=MANY, every=st.booleans())
    def a_client_cancels(self, pick: int, every: bool) -> None:
        live = [
            key
            for prompt_scheduler in self.oracle.prompt_schedulers.values()
            for key in prompt_scheduler.live
        ]
        targets = set(live) if every else {self.some_call(pick)} if self.calls else set[str]()
        self.do(self.scheduler.cancel(None if every else next(iter(targets), "none"), self.now))
        for key in targets:
            record = self.oracle.owner[key].records.get(key)
            assert record is None or record.done is not None, "cancelled, but live"

    @rule(pick=MANY, every=st.booleans())
    def a_client_asks(self, pick: int, every: bool) -> None:
        names = list(self.prompts)
        name = None if every else names[pick % len(names)]
        for prompt_scheduler in self.oracle.prompt_schedulers.values():
            if self.oracle.transcript and name in (None, prompt_scheduler.name):
                last = list(self.oracle.transcript)[-1]
                prompt_scheduler.again.add(last)
                prompt_scheduler.texts[last] = self.oracle.transcript[last][
                    1
                ]  # not as it was guessed
        self.do(self.scheduler.create(name, self.now))

    @precondition(lambda self: self.calls)
    @rule(pick=MANY, characters=st.integers(0, 12), as_text=st.booleans())
    def a_client_tells_what_was_played(self, pick: int, characters: int, as_text: bool) -> None:
        key = self.some_call(pick)
        record = self.oracle.owner[key].records.get(key)
        text = record.text[:characters] if record else "anything"
        report = PlaybackReport(text=text) if as_text else PlaybackReport(characters=characters)
        steps = self.scheduler.played(key, report, self.now)
        assert not steps or record is not None, "law 4: a client reached a guess"
        self.do(steps)

    @rule(tone=st.sampled_from(["kind", "brief"]))
    def a_client_sets_a_variable(self, tone: str) -> None:
        self.scheduler.set_vars({"tone": tone})
        self.oracle.vars["tone"] = tone

    # --- inside ------------------------------------------------------------------------------

    def hear(self, event: TurnEvent) -> None:
        self.do(self.scheduler.heard(event, self.now, self.now - 0.4))

    def receive(self, key: str, pieces: Sequence[Piece]) -> None:
        if any(isinstance(piece, Finished) for piece in pieces):
            self.oracle.running.discard(key)
        self.do(self.scheduler.received(key, pieces, self.now))

    def do(self, steps: Sequence[Step]) -> None:
        self.oracle.now = self.now
        self.oracle.see(steps)
        self.calls = list(self.oracle.owner)

    def pass_time(self, until: float) -> None:
        """Go to ``until``, ticking whenever a deadline is due, as the shell does."""
        for _ in range(500):
            if self.scheduler.deadline > until:
                break
            self.now = max(self.now, self.scheduler.deadline)
            self.do(self.scheduler.tick(self.now))
        else:
            raise AssertionError("the deadline does not move on")
        self.now = self.oracle.now = until

    def some_call(self, pick: int) -> str:
        return self.calls[pick % len(self.calls)]

    def running_call(self, pick: int) -> str:
        running = sorted(self.oracle.running)
        return running[pick % len(running)]

    @property
    def guesses(self) -> list[str]:
        """The guesses whose calls still run."""
        held = [
            prompt_scheduler.guess.id
            for prompt_scheduler in self.oracle.prompt_schedulers.values()
            if prompt_scheduler.guess
        ]
        return [key for key in held if key in self.oracle.running]

    @invariant()
    def nothing_waits_that_may_go(self) -> None:
        self.pass_time(self.now)
        self.oracle.check_waiting()

    @invariant()
    def idle_says_whether_anything_is_left(self) -> None:
        if all(x.plain_trigger for x in self.oracle.prompt_schedulers.values()):
            if self.scheduler.idle:
                assert self.oracle.is_idle()
            elif not any(
                prompt_scheduler.again
                for prompt_scheduler in self.oracle.prompt_schedulers.values()
            ):
                assert not self.oracle.is_idle()

    def teardown(self) -> None:
        """End the session, complete the running calls, and check the end."""
        if not hasattr(self, "scheduler"):
            return
        while self.open:
            channel, turn = self.some_turn(0)
            self.ends(channel, turn.text)
        self.do(self.scheduler.finish(self.now))
        for _ in range(300):
            if self.scheduler.idle:
                break
            for key in sorted(self.oracle.running):
                self.receive(key, [TextDelta("ok"), Finished("stop", True)])
            if not self.oracle.running and self.scheduler.deadline < inf:
                self.pass_time(self.scheduler.deadline)
        assert self.scheduler.idle, "the scheduler stalled"
        self.check_the_end()

    def check_the_end(self) -> None:
        oracle, totals = self.oracle, self.scheduler.totals(1.0)
        records = [
            one
            for prompt_scheduler in oracle.prompt_schedulers.values()
            for one in prompt_scheduler.records.values()
        ]
        assert all(one.done is not None for one in records), "law 1: one never ended"
        assert not oracle.running
        assert totals.responses == len(records)
        ended = totals.completed + totals.cancelled + totals.incomplete + totals.failed
        assert ended == len(records)
        assert totals.speculative == oracle.guesses == totals.adopted + totals.discarded
        assert totals.adopted == oracle.adopted
        for prompt_scheduler in oracle.prompt_schedulers.values():
            assert not prompt_scheduler.waiting(), "a wanted turn was never sent"
            newest = [self.ended.index(one.turns[-1]) for one in prompt_scheduler.records.values()]
            assert newest == sorted(newest), "answered in another order than they ended in"


TestSchedulerLaws = Conversation.TestCase
