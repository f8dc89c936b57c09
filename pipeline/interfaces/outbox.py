"""What is to be posted to webhooks, and who keeps it until it was. Values only.

``journal`` keeps it, ``webhooks`` posts it, the command line shows what is left.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

Wanted = Callable[[str], Sequence[str]]  #: returns the webhooks that want events of a type


class Delivery(Struct, frozen=True):
    """One event for one webhook."""

    id: str  #: the same at every try
    type: str  #: of the event
    event: bytes  #: as a subscriber got it
    tries: int  #: so far


class Due(Struct, frozen=True):
    """What there is to do for one webhook."""

    due: Sequence[Delivery]  #: the longest due first
    next: float | None  #: Unix seconds of the first that is due later


class Remaining(Struct, frozen=True):
    """How many deliveries of one webhook there are."""

    pending: int = 0
    failed: int = 0  #: given up


class StoredDelivery(Struct, frozen=True, kw_only=True):
    """A delivery that was not made, as it is listed."""

    id: str
    hook: str
    session_id: str
    seq: int
    type: str
    failed: bool  #: given up
    tries: int
    due: float  #: Unix seconds; of a failed one when it was given up
    error: str | None  #: of the last try


class Outbox(Protocol):
    """Keeps deliveries until they were made. Those that wait raise ``JournalError``."""

    def listen(self, wake: Callable[[], object]) -> None:
        """Have ``wake`` called whenever something new is due."""
        ...

    async def look(self, hook: str, now: float, limit: int) -> Due:
        """Return at most ``limit`` deliveries that are due at ``now``, in Unix seconds."""
        ...

    async def made(self, delivery_id: str) -> None:
        """It was delivered: let go of it."""
        ...

    async def put_off(self, delivery_id: str, due: float, error: str) -> None:
        """Count a try that failed; the next is due at ``due``."""
        ...

    async def give_up(self, delivery_id: str, now: float, error: str) -> None:
        """Count a try that failed, the last one."""
        ...

    async def give_up_all(self, hook: str, now: float, error: str) -> None:
        """Give up whatever is pending of ``hook``."""
        ...

    async def retry(self, now: float) -> None:
        """Have whatever was given up tried again, from the start."""
        ...

    async def left(self) -> Mapping[str, Remaining]:
        """Return how many deliveries there are, by webhook."""
        ...
