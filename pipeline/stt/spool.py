"""Overflow file of the replay buffer: unnamed, deleted with the session."""

import tempfile
from typing import BinaryIO


class FileSpool:
    """Ring buffer in a file that is created at the first write.

    Writes go to the page cache and are seconds of audio each, so they need no thread.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity  #: bytes
        self._file: BinaryIO | None = None

    def write(self, position: int, data: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="pipeline-audio-", buffering=0)  # noqa: SIM115 (closed by its owner)
        if len(data) > self.capacity:
            position += len(data) - self.capacity
            data = data[-self.capacity :]
        at = position % self.capacity
        first = min(len(data), self.capacity - at)
        self._file.seek(at)
        self._file.write(data[:first])
        if first < len(data):
            self._file.seek(0)
            self._file.write(data[first:])

    def read(self, position: int, size: int) -> bytes:
        if self._file is None:
            return b""
        at = position % self.capacity
        first = min(size, self.capacity - at)
        self._file.seek(at)
        data = self._file.read(first)
        if first < size:
            self._file.seek(0)
            data += self._file.read(size - first)
        return data

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
