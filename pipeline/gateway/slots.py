"""Who may have a connection now: committed requests first, then speculative ones. Pure."""

from collections import deque
from dataclasses import dataclass, field


@dataclass(eq=False)
class Ticket:
    """One request's claim to a slot."""

    speculative: bool = False
    holds: bool = False  #: has a slot
    gave_way: bool = False  #: lost it to a committed request


@dataclass
class Slots:
    """At most ``limit`` tickets hold a slot at once.

    A committed ticket never waits behind a speculative one: it overtakes those that wait, and
    takes the slot of the youngest that holds one. So it waits only while committed tickets
    hold every slot.
    """

    limit: int
    _held: int = 0
    _guests: list[Ticket] = field(default_factory=list[Ticket])  # speculative holders, oldest first
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
        return self._held < self.limit or (not ticket.speculative and bool(self._guests))

    def claim(self, ticket: Ticket) -> Ticket | None:
        """Give ``ticket`` a slot or a place in the queue; return the one that must give way."""
        if self._held < self.limit:
            self._grant(ticket)
            return None
        if not ticket.speculative and self._guests:
            return self._oust(ticket)
        (self._speculative if ticket.speculative else self._committed).append(ticket)
        return None

    def commit(self, ticket: Ticket) -> Ticket | None:
        """A speculative ticket was adopted: nobody may take its slot, and it waits for none.

        Returns the one that must give way to it.
        """
        if not ticket.speculative:
            return None
        ticket.speculative = False
        if ticket.holds:
            self._guests.remove(ticket)
        elif ticket in self._speculative:
            self._speculative.remove(ticket)
            return self.claim(ticket)
        return None

    def release(self, ticket: Ticket) -> Ticket | None:
        """Take the slot or the place back, at any time; return who got the slot instead."""
        if not ticket.holds:
            for queue in (self._committed, self._speculative):
                if ticket in queue:
                    queue.remove(ticket)
            return None
        ticket.holds = False
        self._held -= 1
        if ticket.speculative:
            self._guests.remove(ticket)
        heir = next((queue for queue in (self._committed, self._speculative) if queue), None)
        if heir is None:
            return None
        chosen = heir.popleft()
        self._grant(chosen)
        return chosen

    def _oust(self, ticket: Ticket) -> Ticket:
        loser = self._guests.pop()
        loser.holds, loser.gave_way = False, True
        self._held -= 1
        self._grant(ticket)
        return loser

    def _grant(self, ticket: Ticket) -> None:
        ticket.holds = True
        self._held += 1
        if ticket.speculative:
            self._guests.append(ticket)
