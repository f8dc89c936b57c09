"""The directory of recordings: files that can be played at any moment. A door."""

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from pipeline.errors import RecordingError
from pipeline.recordings.retention import Kept, name_of, of_session, session_of, spent
from pipeline.recordings.wav import HEAD, LONGEST, Shape, head_of, shape_in

PIECE = 1 << 20  #: bytes read at once
_PRIVATE = 0o600  # voices: for the service's own user


class StoredRecording(Struct, frozen=True):
    """A recording as far as it was written when we looked."""

    path: Path
    head: bytes  #: stands before the samples
    start: int  #: where those begin in the file
    size: int  #: bytes of them


def pieces(recording: StoredRecording) -> Iterator[bytes]:
    """Yield a WAV file of what was recorded. Raises ``OSError``."""
    yield recording.head
    with recording.path.open("rb") as file:
        file.seek(recording.start)
        left = recording.size
        while left and (piece := file.read(min(left, PIECE))):
            left -= len(piece)
            yield piece


class RecordingFile:
    """One recording that is being written. Blocks.

    The samples go first, then the lengths in the head: so whenever we are killed, the file is
    whole as far as its head says.
    """

    def __init__(self, folder: Path, session_id: str, shape: Shape, now: float) -> None:
        """``now`` is in Unix seconds. Raises ``OSError``."""
        self.name = name_of(session_id, now)
        self._shape = shape
        self._size = 0  # bytes of samples
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        self._file = os.open(folder / self.name, flags, _PRIVATE)
        _put(self._file, head_of(shape, 0), 0)

    def write(self, samples: bytes) -> None:
        """Put ``samples`` at the end. Raises ``OSError``, or ``RecordingError`` past the longest.

        What was written nevertheless is kept, as whole samples.
        """
        if self._size + len(samples) > LONGEST:
            raise RecordingError(f"{self.name} has {self._size} bytes, and WAV knows no more")
        try:
            _put(self._file, samples, HEAD + self._size)
        finally:
            written = os.lseek(self._file, 0, os.SEEK_CUR) - HEAD
            self._size = written - written % self._shape.block
            _put(self._file, head_of(self._shape, self._size), 0)

    def close(self) -> None:
        with suppress(OSError):
            os.close(self._file)


def _put(file: int, data: bytes, at: int) -> None:
    os.lseek(file, at, os.SEEK_SET)
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def prepare(folder: Path) -> None:
    """Make the directory if there is none. Raises ``RecordingError`` if it cannot be used."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RecordingError(
            f"journal.record: {folder} cannot be made: {error.strerror}"
        ) from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise RecordingError(f"journal.record: {folder} cannot be written to")


def find(folder: Path, session_id: str) -> StoredRecording | None:
    """Return the newest recording of a session. Raises ``RecordingError``."""
    try:
        names = of_session(session_id, os.listdir(folder)) if folder.is_dir() else ()
        if not names:
            return None
        path = folder / names[-1]
        with path.open("rb") as file:
            shape = shape_in(file.read(HEAD))
            size = os.fstat(file.fileno()).st_size - HEAD
    except OSError as error:
        raise _cannot(folder, "read", error) from error
    if shape is None:
        raise RecordingError(f"{path} is no recording of ours any more")
    whole = min(size, LONGEST)
    whole -= whole % shape.block
    return StoredRecording(path, head_of(shape, whole), HEAD, whole)


def erase(folder: Path, session_id: str, in_use: Collection[str] = ()) -> int:
    """Remove the recordings of a session and return how many. Raises ``RecordingError``."""
    try:
        found = of_session(session_id, os.listdir(folder)) if folder.is_dir() else ()
        names = [name for name in found if name not in in_use]
        for name in names:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise _cannot(folder, "emptied", error) from error
    return len(names)


def tidy(folder: Path, *, before: float, most: int, in_use: Collection[str]) -> None:
    """Remove what need not be kept, as ``spent`` says. Raises ``RecordingError``."""
    try:
        for each in spent(_kept(folder), before=before, most=most, in_use=in_use):
            (folder / each.name).unlink(missing_ok=True)
    except OSError as error:
        raise _cannot(folder, "tidied", error) from error


def _kept(folder: Path) -> Iterator[Kept]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if session_of(entry.name) is not None:
                with suppress(FileNotFoundError):
                    about = entry.stat()
                    yield Kept(entry.name, about.st_mtime, about.st_size)


def _cannot(folder: Path, what: str, error: OSError) -> RecordingError:
    return RecordingError(f"recordings in {folder} cannot be {what}: {error.strerror}")
