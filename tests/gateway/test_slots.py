"""Connection slots: committed before speculative, and never more than the limit."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline.gateway.slots import Slots, Ticket


def test_up_to_the_limit_no_ticket_waits() -> None:
    slots, tickets = Slots(2), [Ticket(), Ticket(), Ticket()]
    for ticket in tickets:
        assert slots.claim(ticket) is None
    assert [ticket.holds for ticket in tickets] == [True, True, False]


def test_a_slot_goes_to_the_ticket_that_waits_longest() -> None:
    slots, first, second, third = Slots(1), Ticket(), Ticket(), Ticket()
    for ticket in (first, second, third):
        slots.claim(ticket)
    assert slots.release(first) is second
    assert second.holds


def test_a_committed_request_overtakes_speculative_ones_that_wait() -> None:
    slots, holder = Slots(1), Ticket()
    speculative, asked = Ticket(speculative=True), Ticket()
    for ticket in (holder, speculative, asked):
        slots.claim(ticket)
    assert slots.release(holder) is asked


def test_the_newest_speculative_request_is_preempted_by_a_committed_one() -> None:
    slots, old, young, asked = Slots(2), Ticket(True), Ticket(True), Ticket()
    slots.claim(old)
    slots.claim(young)
    assert slots.claim(asked) is young
    assert young.preempted
    assert asked.holds
    assert slots.release(young) is None
    assert slots.held == 2


def test_an_adopted_request_is_not_preempted() -> None:
    slots, speculative, asked = Slots(1), Ticket(True), Ticket()
    slots.claim(speculative)
    slots.commit(speculative)
    assert slots.claim(asked) is None
    assert speculative.holds
    assert not asked.holds


def test_a_waiting_request_that_is_adopted_takes_the_slot_of_a_speculative_one() -> None:
    slots, holder, speculative = Slots(1), Ticket(True), Ticket(True)
    slots.claim(holder)
    slots.claim(speculative)
    assert slots.commit(speculative) is holder
    assert speculative.holds


def test_a_ticket_that_stops_waiting_leaves_no_trace() -> None:
    slots, holder, gone = Slots(1), Ticket(), Ticket()
    slots.claim(holder)
    slots.claim(gone)
    slots.release(gone)
    assert slots.release(holder) is None
    assert slots.held == slots.waiting == 0


class AnyHistory(RuleBasedStateMachine):
    """Slots never leak, and no committed ticket waits while a speculative one holds."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots(3)
        self.tickets: list[Ticket] = []

    @rule(speculative=st.booleans())
    def claim(self, speculative: bool) -> None:
        ticket = Ticket(speculative)
        self.tickets.append(ticket)
        self.slots.claim(ticket)

    @precondition(lambda self: self.tickets)
    @rule(place=st.integers(min_value=0))
    def release(self, place: int) -> None:
        self.slots.release(self.tickets.pop(place % len(self.tickets)))

    @precondition(lambda self: self.tickets)
    @rule(place=st.integers(min_value=0))
    def commit(self, place: int) -> None:
        self.slots.commit(self.tickets[place % len(self.tickets)])

    @invariant()
    def the_count_is_right(self) -> None:
        holders = [ticket for ticket in self.tickets if ticket.holds]
        waiting = [t for t in self.tickets if not t.holds and not t.preempted]
        assert self.slots.held == len(holders) <= 3
        assert self.slots.waiting == len(waiting)
        assert len(holders) == 3 or not waiting

    @invariant()
    def no_committed_ticket_waits_behind_a_speculative_one(self) -> None:
        if any(not t.speculative and not t.holds and not t.preempted for t in self.tickets):
            assert not any(t.speculative and t.holds for t in self.tickets)


TestAnyHistory = AnyHistory.TestCase
