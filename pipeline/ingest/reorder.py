"""Reorder buffer of numbered audio chunks. Pure."""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

WINDOW = 5  #: chunks buffered for a missing one; 100 ms if each is 20 ms
REPEATS = 3  #: numbers given before, in a row, after which they are a new count
GAPS = 8  #: gaps of which late chunks are recognised


class Reorder(Generic[T]):
    """Returns chunks in the order of their numbers, each once; drops late ones.

    A missing chunk is skipped when more than ``WINDOW`` later ones are buffered. Numbers may begin
    again, as after a transfer of the call: chunks whose numbers were given before, ``REPEATS`` in
    a row, are no repetition but a new count. Where they all have the same number, the numbers
    mean nothing, and chunks keep the order of their arrival.
    """

    def __init__(self) -> None:
        self._next: int | None = None
        self._held: dict[int, T] = {}
        self._gaps: deque[range] = deque(maxlen=GAPS)  # numbers that were skipped
        self._repeated: list[tuple[int, T]] = []  # in a row
        self._is_numbered = True

    def feed(self, number: int, chunk: T) -> list[T]:
        """Return the chunks that are now in order."""
        if not self._is_numbered:
            return [chunk]
        if self._next is None:  # number 1 may still arrive
            self._next = number if number > WINDOW else min(number, 1)
        if number < self._next:
            return self._repeat(number, chunk)
        self._repeated.clear()
        if number in self._held:
            return []
        self._held[number] = chunk
        ready = self._take()
        if len(self._held) > WINDOW:
            self._gaps.append(range(self._next, min(self._held)))
            self._next = min(self._held)
            ready += self._take()
        return ready

    def flush(self) -> list[T]:
        """Return all buffered chunks, in order."""
        held, self._held = self._held, {}
        return [held[number] for number in sorted(held)]

    def _repeat(self, number: int, chunk: T) -> list[T]:
        """Take a chunk whose number is past; return the chunks of a new count, if it is one."""
        if any(number in gap for gap in self._gaps):
            return []  # it is late
        self._repeated.append((number, chunk))
        del self._repeated[: -2 * REPEATS]
        numbers = [number for number, _ in self._repeated]
        if len(numbers) >= REPEATS and len(set(numbers)) == 1:
            self._is_numbered = False
            return [*self.flush(), *self._taken()]
        if len(set(numbers)) < REPEATS or max(numbers) - min(numbers) > WINDOW:
            return []
        before = self.flush()
        self._gaps.clear()
        self._next, self._held = min(numbers), dict(reversed(self._repeated))
        self._repeated.clear()
        return [*before, *self._take()]

    def _taken(self) -> list[T]:
        chunks = [chunk for _, chunk in self._repeated]
        self._repeated.clear()
        return chunks

    def _take(self) -> list[T]:
        ready: list[T] = []
        at = self._next or 0
        while at in self._held:
            ready.append(self._held.pop(at))
            at += 1
        self._next = at
        return ready
