"""Connection slots with priority: committed requests before speculative ones. Pure."""

from collections import deque
from dataclasses import dataclass, field


@dataclass(eq=False)
class Ticket:
    """One request's claim to a slot."""

    speculative: bool = False
    holds: bool = False  #: has a slot
    preempted: bool = False  #: its slot was given to a committed request


@dataclass
class Slots:
    """Slots of one server: at most ``limit`` tickets hold one at a time.

    A committed ticket never waits behind a speculative one: it is queued before all speculative
    tickets, and preempts the newest speculative holder. So it waits only while committed
    tickets hold every slot.
    """

    limit: int
    _held: int = 0
    _speculative_holders: list[Ticket] = field(
        default_factory=list[Ticket]
    )  # speculative holders, oldest first
    _committed: deque[Ticket] = field(default_factory=deque[Ticket])
    _speculative: deque[Ticket] = field(default_factory=deque[Ticket])

    @property
    def held(self) -> int:
        return self._held

    @property
    def waiting(self) -> int:
        return len(self._committed) + len(self._speculative)

    def has_room(self, ticket: Ticket) -> bool:
        """Return whether ``ticket`` would get a slot at once."""
        return self._held < self.limit or (
            not ticket.speculative and bool(self._speculative_holders)
        )

    def claim(self, ticket: Ticket) -> Ticket | None:
        """Give ``ticket`` a slot or queue it; return the ticket that it preempts."""
        if self._held < self.limit:
            self._grant(ticket)
            return None
        if not ticket.speculative and self._speculative_holders:
            return self._preempt(ticket)
        (self._speculative if ticket.speculative else self._committed).append(ticket)
        return None

    def commit(self, ticket: Ticket) -> Ticket | None:
        """Make an adopted speculative ticket committed; return the ticket that it preempts."""
        if not ticket.speculative:
            return None
        ticket.speculative = False
        if ticket.holds:
            self._speculative_holders.remove(ticket)
        elif ticket in self._speculative:
            self._speculative.remove(ticket)
            return self.claim(ticket)
        return None

    def release(self, ticket: Ticket) -> Ticket | None:
        """Release the slot, or leave the queue; return the ticket that gets the slot."""
        if not ticket.holds:
            for queue in (self._committed, self._speculative):
                if ticket in queue:
                    queue.remove(ticket)
            return None
        ticket.holds = False
        self._held -= 1
        if ticket.speculative:
            self._speculative_holders.remove(ticket)
        waiting = next((queue for queue in (self._committed, self._speculative) if queue), None)
        if waiting is None:
            return None
        next_ticket = waiting.popleft()
        self._grant(next_ticket)
        return next_ticket

    def _preempt(self, ticket: Ticket) -> Ticket:
        evicted = self._speculative_holders.pop()
        evicted.holds, evicted.preempted = False, True
        self._held -= 1
        self._grant(ticket)
        return evicted

    def _grant(self, ticket: Ticket) -> None:
        ticket.holds = True
        self._held += 1
        if ticket.speculative:
            self._speculative_holders.append(ticket)
