"""Outbox of webhook deliveries. Values only.

``journal`` stores deliveries, ``webhooks`` posts them, the command line lists the remaining ones.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

Wanted = Callable[[str], Sequence[str]]  #: returns the webhooks subscribed to an event type


class Delivery(Struct, frozen=True):
    """One event for one webhook."""

    id: str  #: the same at every attempt
    type: str  #: of the event
    event: bytes  #: as sent to subscribers
    tries: int  #: attempts so far


class Due(Struct, frozen=True):
    """Due deliveries of one webhook."""

    due: Sequence[Delivery]  #: the longest due first
    next: float | None  #: Unix seconds of the first delivery that is due later


class Remaining(Struct, frozen=True):
    """Numbers of undelivered deliveries of one webhook."""

    pending: int = 0
    failed: int = 0  #: given up


class StoredDelivery(Struct, frozen=True, kw_only=True):
    """An undelivered delivery, as listed."""

    id: str
    hook: str
    session_id: str
    seq: int
    type: str
    failed: bool  #: given up
    tries: int
    due: float  #: Unix seconds; for a failed one the time when it was given up
    error: str | None  #: of the last attempt


class Outbox(Protocol):
    """Store of deliveries until they are made. Its async methods raise ``JournalError``."""

    def listen(self, wake: Callable[[], object]) -> None:
        """Call ``wake`` whenever a new delivery is due."""
        ...

    async def fetch_due(self, hook: str, now: float, limit: int) -> Due:
        """Return at most ``limit`` deliveries that are due at ``now``, in Unix seconds."""
        ...

    async def mark_delivered(self, delivery_id: str) -> None:
        """Delete a delivery that was made."""
        ...

    async def reschedule(self, delivery_id: str, due: float, error: str) -> None:
        """Count a failed attempt; the next one is due at ``due``."""
        ...

    async def give_up(self, delivery_id: str, now: float, error: str) -> None:
        """Count the last failed attempt and mark the delivery as failed."""
        ...

    async def give_up_all(self, hook: str, now: float, error: str) -> None:
        """Mark all pending deliveries of ``hook`` as failed."""
        ...

    async def retry(self, now: float) -> None:
        """Make all failed deliveries pending again, from the first attempt."""
        ...

    async def remaining(self) -> Mapping[str, Remaining]:
        """Return the numbers of undelivered deliveries, by webhook."""
        ...
