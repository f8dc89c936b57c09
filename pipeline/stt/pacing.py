"""Pace of audio and of messages: a token bucket. Pure."""


class TokenBucket:
    """Lets ``burst`` seconds of audio, or messages, through at once, then ``rate`` per second.

    With a rate of 0 there is no limit.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate  #: times real time, or messages per second
        self._burst = burst
        self._level = burst
        self._filled: float | None = None

    def ready(self, seconds: float, now: float) -> bool:
        """Take ``seconds`` if that needs no wait; return whether they were taken."""
        if not self.rate:
            return True
        self._fill(now)
        if self._level < seconds:
            return False
        self._level -= seconds
        return True

    def until(self, amount: float, now: float) -> float:
        """Return how long it takes until ``amount`` would be ready."""
        if not self.rate:
            return 0.0
        self._fill(now)
        return max(0.0, (amount - self._level) / self.rate)

    def take(self, seconds: float, now: float) -> float:
        """Take ``seconds`` and return how long to wait before they are used."""
        if not self.rate:
            return 0.0
        self._fill(now)
        self._level -= seconds
        return max(0.0, -self._level / self.rate)

    def _fill(self, now: float) -> None:
        if self._filled is not None:
            self._level = min(self._burst, self._level + (now - self._filled) * self.rate)
        self._filled = now


def slower(rate: float, default: float) -> float:
    """Return the rate after the server found the audio too fast: half as far above real time."""
    return 1 + (rate - 1) / 2 if rate > 1 else default
