"""Source of epochs, each of which names one history of a session."""

from collections.abc import Callable
from secrets import randbits

RANDOM_BITS = 20  #: with Unix seconds before them, below 2**53, which JavaScript represents

NewEpoch = Callable[[int], int]  #: returns an epoch greater than the given one


def epoch_source(clock: Callable[[], float], random: Callable[[int], int] = randbits) -> NewEpoch:
    """Return a source of unique epochs; ``clock`` returns Unix seconds."""

    def new_epoch(previous: int) -> int:
        return max(previous + 1, int(clock()) << RANDOM_BITS | random(RANDOM_BITS))

    return new_epoch
