"""What follows a try: it is done, tried again later, given up, or nobody wants any more. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct

JITTER = 0.1  #: of a wait is added at random, so that what failed together does not come together
LONGEST_ASKED = 86400.0  #: seconds that a receiver may have us wait


class DeliveryResponse(Struct, frozen=True):
    """How a receiver took one POST."""

    status: int | None  #: None: there was no answer
    said: str = ""  #: the beginning of it, or why there was none
    retry_after: float | None = None  #: seconds


@dataclass(frozen=True)
class Delivered:
    """It was taken."""


@dataclass(frozen=True)
class RetryLater:
    """Try again after ``wait`` seconds."""

    wait: float
    hold: float  #: seconds in which the receiver wants nothing else either


@dataclass(frozen=True)
class GiveUp:
    """That was the last try."""


@dataclass(frozen=True)
class Unsubscribed:
    """The receiver wants nothing any more."""


Step = Delivered | RetryLater | GiveUp | Unsubscribed


def after(answer: DeliveryResponse, tries: int, retries: Sequence[float], jitter: float) -> Step:
    """Decide what follows the try number ``tries``, from 1; ``jitter`` is between 0 and 1."""
    if answer.status is not None and 200 <= answer.status < 300:
        return Delivered()
    if answer.status == 410:
        return Unsubscribed()
    if tries > len(retries):
        return GiveUp()
    asked = min(answer.retry_after or 0.0, LONGEST_ASKED)
    return RetryLater(max(retries[tries - 1] * (1 + JITTER * jitter), asked), hold=asked)


def told(answer: DeliveryResponse) -> str:
    """Return a failure in words."""
    if answer.status is None:
        return answer.said
    return f"it answered {answer.status}: {answer.said}".rstrip(": ")
