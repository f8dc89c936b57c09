"""Replay buffer: audio that no ended turn covers, for a resend after a loss. Pure.

Positions are bytes of the session's audio. The newest audio is in memory; older audio goes to
a spool, if there is one; what exceeds both is lost and reported by ``lost``.
"""

from typing import Protocol


class Spool(Protocol):
    """Store of the latest ``capacity`` bytes written to it, by position."""

    capacity: int

    def write(self, position: int, data: bytes) -> None: ...

    def read(self, position: int, size: int) -> bytes: ...

    def close(self) -> None: ...


class Replay:
    """Bounded audio buffer: appended at its end, released at its start, read anywhere."""

    def __init__(self, memory: int, spool: Spool | None = None) -> None:
        self.start = 0  #: the first byte that can still be read
        self.end = 0  #: where the next byte goes
        self._needed = 0  # the first byte that no ended turn covers
        self._memory = memory
        self._bound = memory + (0 if spool is None else spool.capacity)
        self._slack = 0 if spool is None else memory // 16  # moved to the spool at once
        self._tail = bytearray()  # the newest bytes
        self._spool = spool

    def __repr__(self) -> str:
        return f"<Replay {self.start}..{self.end} memory={len(self._tail)}>"

    @property
    def in_memory(self) -> int:
        return len(self._tail)

    def append(self, data: bytes) -> None:
        self._tail += data
        self.end += len(data)
        if len(self._tail) > self._memory + self._slack:
            self._spill(len(self._tail) - self._memory)
        self.start = max(self.start, self.end - self._bound)

    def first(self, margin: int) -> int:
        """Return the first byte of a resend, and release the audio before it.

        While old audio is being lost, that is ``margin`` bytes later, so that it is still there.
        """
        if self.start > self._needed:
            self.start = min(self.start + margin, self.end)
        return self.start

    def release(self, position: int) -> None:
        """Release the audio before ``position``: ended turns cover it."""
        self._needed = max(self._needed, min(position, self.end))
        if position > self.start:
            self.start = min(position, self.end)
            kept = self.end - len(self._tail)
            if self.start > kept:
                del self._tail[: self.start - kept]

    def read(self, position: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``position``, which must not be before ``start``."""
        kept = self.end - len(self._tail)
        if position >= kept:
            return bytes(self._tail[position - kept : position - kept + size])
        assert self._spool is not None
        older = self._spool.read(position, min(size, kept - position))
        return older + bytes(self._tail[: size - len(older)])

    def lost(self) -> tuple[int, int] | None:
        """Return the range that is needed and lost, once; after that None."""
        if self.start <= self._needed:
            return None
        gone = (self._needed, self.start)
        self._needed = self.start
        return gone

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()

    def _spill(self, size: int) -> None:
        if self._spool is not None:
            self._spool.write(self.end - len(self._tail), bytes(self._tail[:size]))
        del self._tail[:size]
