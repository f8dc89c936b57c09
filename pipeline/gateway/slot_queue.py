"""Who has a connection and who waits for one: ``slots``, with the waiting."""

from typing import Protocol

import anyio

from pipeline.gateway.slots import Slots, Ticket


class Preemptible(Protocol):
    """A speculative call, which may have to go."""

    def give_way(self) -> None:
        """A committed call needs the slot; the ticket has lost it already."""
        ...


class SlotQueue:
    """The slots of one server."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._granted: dict[Ticket, anyio.Event] = {}
        self._preemptible: dict[Ticket, Preemptible] = {}

    def has_room(self, ticket: Ticket) -> bool:
        """Return whether ``ticket`` would get a slot at once."""
        return self._slots.has_room(ticket)

    async def acquire(self, ticket: Ticket, preemptible: Preemptible) -> None:
        """Wait for a slot."""
        if self.claim(ticket, preemptible):
            return
        granted = self._granted[ticket] = anyio.Event()
        try:
            await granted.wait()
        except BaseException:
            self.release(ticket)
            raise
        finally:
            del self._granted[ticket]

    def claim(self, ticket: Ticket, preemptible: Preemptible) -> bool:
        """Take a slot, or a place in the queue; return whether it is a slot."""
        self._give_way(self._slots.claim(ticket))
        if ticket.speculative:
            self._preemptible[ticket] = preemptible
        return ticket.holds

    def release(self, ticket: Ticket) -> None:
        """Give the slot back, or the place in the queue."""
        self._preemptible.pop(ticket, None)
        heir = self._slots.release(ticket)
        if heir is not None:
            self._granted[heir].set()

    def commit(self, ticket: Ticket) -> None:
        """A speculative call was adopted."""
        self._preemptible.pop(ticket, None)
        self._give_way(self._slots.commit(ticket))
        if ticket.holds and ticket in self._granted:
            self._granted[ticket].set()

    def _give_way(self, loser: Ticket | None) -> None:
        if loser is not None:
            self._preemptible.pop(loser).give_way()
