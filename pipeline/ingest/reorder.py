"""Reorder buffer of numbered audio chunks. Pure."""

from typing import Generic, TypeVar

T = TypeVar("T")

WINDOW = 5  #: chunks buffered for a missing one; 100 ms if each is 20 ms


class Reorder(Generic[T]):
    """Returns chunks in the order of their numbers, each once; drops late ones.

    A missing chunk is skipped when more than ``WINDOW`` later ones are buffered.
    """

    def __init__(self) -> None:
        self._next: int | None = None
        self._held: dict[int, T] = {}

    def feed(self, number: int, chunk: T) -> list[T]:
        """Return the chunks that are now in order."""
        if self._next is None:  # number 1 may still arrive
            self._next = number if number > WINDOW else min(number, 1)
        if number < self._next or number in self._held:
            return []
        self._held[number] = chunk
        ready = self._take()
        if len(self._held) > WINDOW:
            self._next = min(self._held)
            ready += self._take()
        return ready

    def flush(self) -> list[T]:
        """Return all buffered chunks, in order."""
        held, self._held = self._held, {}
        return [held[number] for number in sorted(held)]

    def _take(self) -> list[T]:
        ready: list[T] = []
        at = self._next or 0
        while at in self._held:
            ready.append(self._held.pop(at))
            at += 1
        self._next = at
        return ready
