"""Waits for a free connection slot; ``slots`` holds the priority rules."""

from typing import Protocol

import anyio

from pipeline.gateway.slots import Slots, Ticket


class Preemptible(Protocol):
    """A speculative call that a committed one may preempt."""

    def preempt(self) -> None:
        """Stop the call: a committed call has taken the slot."""
        ...


class SlotQueue:
    """Queue for the slots of one server."""

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
        """Take a slot or join the queue; return whether a slot was taken."""
        self._preempt(self._slots.claim(ticket))
        if ticket.speculative:
            self._preemptible[ticket] = preemptible
        return ticket.holds

    def release(self, ticket: Ticket) -> None:
        """Release the slot, or leave the queue."""
        self._preemptible.pop(ticket, None)
        next_ticket = self._slots.release(ticket)
        if next_ticket is not None:
            self._granted[next_ticket].set()

    def commit(self, ticket: Ticket) -> None:
        """Mark an adopted speculative call as committed."""
        self._preemptible.pop(ticket, None)
        self._preempt(self._slots.commit(ticket))
        if ticket.holds and ticket in self._granted:
            self._granted[ticket].set()

    def _preempt(self, evicted: Ticket | None) -> None:
        if evicted is not None:
            self._preemptible.pop(evicted).preempt()
