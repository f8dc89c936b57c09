"""Numbered chunks of audio, put back in order. Pure."""

from typing import Generic, TypeVar

T = TypeVar("T")

WINDOW = 5  #: chunks that are held for a missing one; of 20 ms each they are 100 ms


class Reorder(Generic[T]):
    """Gives chunks out by their numbers; each number once, and late ones not at all.

    A chunk that is missing is waited for until ``WINDOW`` later ones are there.
    """

    def __init__(self) -> None:
        self._next: int | None = None
        self._held: dict[int, T] = {}

    def feed(self, number: int, chunk: T) -> list[T]:
        """Return the chunks whose turn it is now."""
        if self._next is None:  # 1 may still be on its way
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
        """Return everything that is held, in order."""
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
