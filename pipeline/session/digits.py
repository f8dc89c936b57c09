"""Keys that a caller presses, gathered to numbers by an end key or a pause. Pure."""

from math import inf

from pipeline.config.settings import DtmfSettings

MOST_DIGITS = 64  #: keys of one number; further ones begin the next


class DigitCollector:
    """Gathers keys to numbers.

    A number ends with the key ``end``, which is no part of it, or ``pause`` seconds after its
    last key. An end key on its own is a number of one key: callers use it to confirm.
    """

    def __init__(self, settings: DtmfSettings) -> None:
        self._end = settings.end
        self._pause = settings.pause
        self._open = ""
        self.deadline = inf  #: seconds; when ``flush`` is due

    def press(self, digits: str, now: float) -> list[str]:
        """Take keys; return the numbers that they complete."""
        numbers: list[str] = []
        for digit in digits:
            if digit == self._end:
                numbers.append(self._open or digit)
                self._open = ""
                continue
            self._open += digit
            if len(self._open) == MOST_DIGITS:
                numbers += self.flush()
        self.deadline = now + self._pause if self._open else inf
        return numbers

    def flush(self) -> list[str]:
        """End the open number; return it, if there is one."""
        numbers = [self._open] if self._open else []
        self._open, self.deadline = "", inf
        return numbers
