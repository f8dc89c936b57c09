"""Retry decision after a delivery attempt: done, retry, give up, or unsubscribe. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct

JITTER = 0.1  #: random share added to a wait, so that deliveries that failed together spread out
MAX_RETRY_AFTER = 86400.0  #: seconds; longest accepted Retry-After


class DeliveryResponse(Struct, frozen=True):
    """Response of a receiver to one POST."""

    status: int | None  #: None: no response
    text: str = ""  #: the start of the body, or the reason why there was no response
    retry_after: float | None = None  #: seconds


@dataclass(frozen=True)
class Delivered:
    """Success: the receiver returned 2xx."""


@dataclass(frozen=True)
class RetryLater:
    """Retry after ``wait`` seconds."""

    wait: float
    hold: float  #: seconds in which no other delivery is sent to the receiver either


@dataclass(frozen=True)
class RetriesExhausted:
    """Failure of the last attempt."""


@dataclass(frozen=True)
class Unsubscribed:
    """Refusal of all further deliveries (410 Gone)."""


Step = Delivered | RetryLater | RetriesExhausted | Unsubscribed


def next_step(
    answer: DeliveryResponse, tries: int, retries: Sequence[float], jitter: float
) -> Step:
    """Decide the step after attempt number ``tries``, from 1; ``jitter`` is between 0 and 1."""
    if answer.status is not None and 200 <= answer.status < 300:
        return Delivered()
    if answer.status == 410:
        return Unsubscribed()
    if tries > len(retries):
        return RetriesExhausted()
    hold = min(answer.retry_after or 0.0, MAX_RETRY_AFTER)
    return RetryLater(max(retries[tries - 1] * (1 + JITTER * jitter), hold), hold=hold)


def reason_of(answer: DeliveryResponse) -> str:
    """Return a failure as text."""
    if answer.status is None:
        return answer.text
    return f"HTTP {answer.status}: {answer.text}".rstrip(": ")
