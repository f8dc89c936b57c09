"""Places for calls in flight, over all sessions: turns before guesses. Pure.

As many places as the gateway has connections, so nothing ever waits inside a connection pool.
A guess takes a place only while enough are free; a turn that finds none free takes a guess's.
"""

from collections import deque
from collections.abc import Callable
from math import ceil

SPARE = 0.25  #: the share of places that guesses leave free


class Slots:
    """Who holds a place, and who waits for one, first come first served."""

    def __init__(self, places: int) -> None:
        if places < 1:
            raise ValueError(f"at least one place is needed, not {places}")
        self._places = places
        self._spare = ceil(places * SPARE) if places > 1 else 0
        self._held = 0
        self._guesses: dict[str, Callable[[], None]] = {}
        self._waiting: deque[tuple[str, Callable[[], None]]] = deque()

    def __repr__(self) -> str:
        return (
            f"<Slots {self._held}/{self._places} held, {len(self._guesses)} by guesses,"
            f" {len(self._waiting)} waiting>"
        )

    @property
    def held(self) -> int:
        return self._held

    def take(self, key: str, wake: Callable[[], None]) -> bool:
        """Take a place for a committed request, or queue: ``wake`` is called once it is yours.

        When all places are held, one guess is told to give its own up.
        """
        if self._held < self._places and not self._waiting:
            self._held += 1
            return True
        self._waiting.append((key, wake))
        if self._guesses:
            _, evict = self._guesses.popitem()
            evict()
        return False

    def take_guess(self, key: str, evict: Callable[[], None]) -> bool:
        """Take a place for a guess, if enough are free. ``evict`` asks to give it up."""
        if self._waiting or self._held + self._spare >= self._places:
            return False
        self._held += 1
        self._guesses[key] = evict
        return True

    def commit(self, key: str) -> None:
        """The guess was adopted: its place cannot be taken away any more."""
        self._guesses.pop(key, None)

    def give(self, key: str) -> None:
        """Give a place back; who has waited longest gets it."""
        self._guesses.pop(key, None)
        if self._waiting:
            _, wake = self._waiting.popleft()
            wake()
        else:
            self._held -= 1

    def leave(self, key: str) -> bool:
        """Stop waiting; return whether ``key`` still was in the queue."""
        for at, (waiting, _) in enumerate(self._waiting):
            if waiting == key:
                del self._waiting[at]
                return True
        return False
