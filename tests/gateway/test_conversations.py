"""The decisions about conversations, on random histories and case by case."""

from typing import Any, cast, get_args

from hypothesis import given
from hypothesis import strategies as st

from pipeline.gateway.conversations import (
    KEPT,
    MAX_KEPT,
    MAX_REQUESTS,
    POLICIES,
    Asked,
    BeginCall,
    Commit,
    Conversations,
    Drop,
    End,
    Join,
    Proceed,
    Step,
)
from pipeline.interfaces.completions import ConversationPolicy


def ask(number: int, body: str = "a", **more: Any) -> Asked:
    asked: dict[str, Any] = {"tenant": "t", "conversation": "c", **more}
    return Asked(id=number, body=body.encode(), **asked)


class Rig:
    """Carries the steps out on paper, and checks what must hold after each."""

    def __init__(self) -> None:
        self.machine = Conversations()
        self.asked: dict[int, Asked] = {}
        self.call_of: dict[int, int] = {}
        self.bodies: dict[int, tuple[object, bytes]] = {}  # of calls that are not dropped
        self.reading: set[int] = set()
        self.ended: dict[int, str] = {}
        self.dropped: list[int] = []
        self.committed: set[int] = set()
        self.over: set[int] = set()

    @property
    def open_calls(self) -> list[int]:
        return [call for call in self.bodies if call not in self.over]

    def open(self, asked: Asked, now: float = 0.0) -> list[Step]:
        self.asked[asked.id] = asked
        return self.apply(self.machine.opened(asked, now))

    def leave(self, number: int, now: float = 0.0) -> list[Step]:
        steps = self.machine.left(number, now)
        if number not in self.ended:
            self.ended[number] = "left"
            self.reading.discard(number)
        return self.apply(steps)

    def finish(self, call: int, *, complete: bool = True) -> None:
        self.over.add(call)
        self.machine.finished(call, complete=complete)

    def apply(self, steps: list[Step]) -> list[Step]:
        for step in steps:
            match step:
                case BeginCall(request, call):
                    assert call not in self.bodies
                    asked = self.asked[request]
                    self.bodies[call] = (asked.tenant, asked.body)
                    self.call_of[request] = call
                    self.reading.add(request)
                case Join(request, call):
                    asked = self.asked[request]
                    assert self.bodies[call] == (asked.tenant, asked.body)
                    self.call_of[request] = call
                case Proceed(request):
                    assert request in self.call_of
                    self.reading.add(request)
                case End(request, why):
                    assert request not in self.ended
                    self.ended[request] = why
                    self.reading.discard(request)
                case Commit(call):
                    assert call not in self.committed
                    self.committed.add(call)
                case Drop(call):
                    del self.bodies[call]
                    self.dropped.append(call)
        assert all(self.call_of[number] in self.bodies for number in self.reading)
        return steps


ASKED = st.builds(
    dict[str, Any],
    body=st.sampled_from("ab"),
    tenant=st.sampled_from("tu"),
    conversation=st.sampled_from(["", "c", "d"]),
    policy=st.sampled_from(get_args(ConversationPolicy)),
    speculative=st.booleans(),
    share=st.booleans(),
)
MOVES = st.one_of(
    st.tuples(st.just("open"), ASKED),
    st.tuples(st.just("leave"), st.integers(0, 30)),
    st.tuples(st.just("finish"), st.tuples(st.integers(0, 30), st.booleans())),
    st.tuples(st.just("wait"), st.floats(0, KEPT)),
)


def alive(rig: Rig) -> list[int]:
    return [number for number in rig.asked if number not in rig.ended]


@given(st.lists(MOVES, max_size=40))
def test_each_request_ends_once_and_nothing_is_left(moves: list[tuple[str, Any]]) -> None:
    rig, now = Rig(), 0.0
    for move, what in moves:
        calls = rig.open_calls
        if move == "open":
            rig.open(ask(len(rig.asked), **what), now)
        elif move == "leave" and rig.asked:
            rig.leave(what % len(rig.asked), now)
        elif move == "finish" and calls:
            place, complete = cast("tuple[int, bool]", what)
            rig.finish(calls[place % len(calls)], complete=complete)
        elif move == "wait":
            now += what
    while left := alive(rig):
        ready = [number for number in left if number in rig.reading]
        assert ready, "requests wait for nothing"
        rig.leave(ready[0], now)
    rig.apply(rig.machine.left(-1, now + KEPT))
    assert len(rig.machine) == 0
    assert set(rig.ended) == set(rig.asked)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.booleans()), max_size=30))
def test_a_conversation_that_supersedes_has_one_request_of_each_kind(
    asks: list[tuple[str, bool, bool]],
) -> None:
    rig = Rig()
    for number, (body, speculative, share) in enumerate(asks):
        rig.open(ask(number, body, speculative=speculative, share=share))
        kinds = [rig.asked[each].speculative for each in alive(rig)]
        assert len(kinds) == len(set(kinds))
        assert len(rig.bodies) <= len(kinds)


def test_a_newer_request_supersedes_and_cancels_the_older() -> None:
    rig = Rig()
    rig.open(ask(1))
    assert rig.open(ask(2)) == [End(1, "superseded"), Drop(1), BeginCall(2, 2)]


def test_conversations_of_different_tokens_never_meet() -> None:
    rig = Rig()
    rig.open(ask(1, share=True, tenant="t"))
    assert rig.open(ask(2, share=True, tenant="u")) == [BeginCall(2, 2)]


def test_queued_requests_go_one_after_another() -> None:
    rig = Rig()
    rig.open(ask(1))
    assert rig.open(ask(2, policy="queue")) == []
    assert rig.open(ask(3, policy="queue")) == []
    assert rig.leave(1) == [Drop(1), BeginCall(2, 2)]
    assert rig.leave(3) == []
    assert rig.leave(2) == [Drop(2)]


def test_parallel_requests_stand_beside_each_other() -> None:
    rig = Rig()
    rig.open(ask(1))
    assert rig.open(ask(2, policy="parallel")) == [BeginCall(2, 2)]


def test_conflate_lets_the_running_one_finish_and_sends_the_newest() -> None:
    rig = Rig()
    rig.open(ask(1))
    rig.open(ask(2, policy="conflate"))
    assert rig.open(ask(3, policy="conflate")) == [End(2, "superseded")]
    assert rig.leave(1) == [Drop(1), BeginCall(3, 2)]


def test_an_equal_committed_request_adopts_a_speculative_one() -> None:
    rig = Rig()
    rig.open(ask(1, speculative=True))
    steps = rig.open(ask(2))
    assert steps == [Join(2, 1), Commit(1), End(1, "adopted"), Proceed(2)]
    assert rig.leave(1) == []


def test_a_different_committed_request_cancels_a_speculative_one() -> None:
    for policy in POLICIES:
        rig = Rig()
        rig.open(ask(1, speculative=True))
        steps = rig.open(ask(2, "b", policy=policy))
        assert steps == [End(1, "superseded"), Drop(1), BeginCall(2, 2)]


def test_a_speculative_request_leaves_a_committed_one_alone() -> None:
    rig = Rig()
    rig.open(ask(1))
    assert rig.open(ask(2, speculative=True)) == [BeginCall(2, 2)]


def test_a_complete_speculative_answer_is_kept_for_a_while() -> None:
    for later, is_adopted in ((KEPT - 1, True), (KEPT, False)):
        rig = Rig()
        rig.open(ask(1, speculative=True))
        rig.finish(1)
        assert rig.leave(1, 0.0) == []
        steps = rig.open(ask(2), later)
        assert (Join(2, 1) in steps) is is_adopted
        assert (Drop(1) in steps) is not is_adopted


def test_one_answer_is_kept_for_each_conversation_that_shared_it() -> None:
    rig = Rig()
    for number, name in enumerate("cd"):
        rig.open(ask(number, speculative=True, share=True, conversation=name))
    rig.finish(1)
    rig.leave(0)
    rig.leave(1)
    assert rig.open(ask(2, "b")) == [BeginCall(2, 2)]
    assert Join(3, 1) in rig.open(ask(3, conversation="d"))


def test_kept_answers_are_bounded() -> None:
    rig = Rig()
    for number in range(MAX_KEPT + 10):
        rig.open(ask(number, speculative=True, conversation=f"c{number}"))
        rig.finish(rig.call_of[number])
        rig.leave(number)
    assert len(rig.machine) == MAX_KEPT


def test_a_failed_speculative_call_is_not_adopted() -> None:
    rig = Rig()
    rig.open(ask(1, speculative=True))
    rig.finish(1, complete=False)
    assert rig.open(ask(2)) == [End(1, "superseded"), Drop(1), BeginCall(2, 2)]


def test_a_sharer_that_leaves_or_is_superseded_cancels_no_other() -> None:
    rig = Rig()
    rig.open(ask(1, share=True))
    assert rig.open(ask(2, share=True, conversation="d")) == [Join(2, 1), Proceed(2)]
    assert rig.open(ask(3, share=True, conversation="")) == [Join(3, 1), Proceed(3)]
    assert rig.open(ask(4, "b")) == [End(1, "superseded"), BeginCall(4, 2)]
    assert rig.leave(2) == []
    assert rig.leave(3) == [Drop(1)]


def test_only_requests_that_both_allow_it_share() -> None:
    rig = Rig()
    rig.open(ask(1, conversation=""))
    assert rig.open(ask(2, conversation="", share=True)) == [BeginCall(2, 2)]
    assert rig.open(ask(3, conversation="")) == [BeginCall(3, 3)]


def test_a_full_conversation_refuses_and_a_superseding_request_still_enters() -> None:
    rig = Rig()
    for number in range(MAX_REQUESTS):
        rig.open(ask(number, policy="queue"))
    assert rig.open(ask(100, policy="queue")) == [End(100, "full")]
    assert rig.open(ask(101))[-1] == BeginCall(101, 2)
    assert alive(rig) == [101]
