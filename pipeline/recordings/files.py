"""Recording files in a directory; each is playable at any moment. An adapter."""

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from pipeline.errors import RecordingError
from pipeline.recordings.retention import (
    RecordingEntry,
    file_name_of,
    of_session,
    removable,
    session_of,
)
from pipeline.recordings.wav import (
    HEADER_BYTES,
    MAX_AUDIO_BYTES,
    WavFormat,
    header_of,
    wav_format_in,
)

CHUNK_BYTES = 1 << 20  #: bytes read at once
_PRIVATE = 0o600  # speech is confidential: readable by the service's own user only


class StoredRecording(Struct, frozen=True):
    """Recording as far as it was written when it was looked up."""

    path: Path
    head: bytes  #: WAV header to send before the samples
    start: int  #: offset of the samples in the file, in bytes
    size: int  #: bytes of samples


def chunks(recording: StoredRecording) -> Iterator[bytes]:
    """Yield the recording as a WAV file. Raises ``OSError``."""
    yield recording.head
    with recording.path.open("rb") as file:
        file.seek(recording.start)
        left = recording.size
        while left and (chunk := file.read(min(left, CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk


class RecordingFile:
    """Recording in progress. Blocks.

    The samples are written first, then the lengths in the header: if the process is killed, the
    file is complete up to the length in its header.
    """

    def __init__(self, folder: Path, session_id: str, wav_format: WavFormat, now: float) -> None:
        """``now`` is in Unix seconds. Raises ``OSError``."""
        self.name = file_name_of(session_id, now)
        self._format = wav_format
        self._size = 0  # bytes of samples
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        self._file = os.open(folder / self.name, flags, _PRIVATE)
        _write_at(self._file, header_of(wav_format, 0), 0)

    def write(self, samples: bytes) -> None:
        """Append ``samples``. Raises ``OSError``, or ``RecordingError`` past the WAV size limit.

        Samples written before an error are kept, as whole frames.
        """
        if self._size + len(samples) > MAX_AUDIO_BYTES:
            raise RecordingError(
                f"{self.name} has {self._size} bytes of audio; WAV allows {MAX_AUDIO_BYTES}"
            )
        try:
            _write_at(self._file, samples, HEADER_BYTES + self._size)
        finally:
            written = os.lseek(self._file, 0, os.SEEK_CUR) - HEADER_BYTES
            self._size = written - written % self._format.block
            _write_at(self._file, header_of(self._format, self._size), 0)

    def close(self) -> None:
        with suppress(OSError):
            os.close(self._file)


def _write_at(file: int, data: bytes, at: int) -> None:
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
            wav_format = wav_format_in(file.read(HEADER_BYTES))
            size = os.fstat(file.fileno()).st_size - HEADER_BYTES
    except OSError as error:
        raise _cannot(folder, "read", error) from error
    if wav_format is None:
        raise RecordingError(f"{path} is not a recording of this service")
    whole = min(size, MAX_AUDIO_BYTES)
    whole -= whole % wav_format.block
    return StoredRecording(path, header_of(wav_format, whole), HEADER_BYTES, whole)


def erase(folder: Path, session_id: str, in_use: Collection[str] = ()) -> int:
    """Delete the recordings of a session and return their number. Raises ``RecordingError``."""
    try:
        found = of_session(session_id, os.listdir(folder)) if folder.is_dir() else ()
        names = [name for name in found if name not in in_use]
        for name in names:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise _cannot(folder, "emptied", error) from error
    return len(names)


def remove_old(folder: Path, *, before: float, most: int, in_use: Collection[str]) -> None:
    """Delete the recordings that ``removable`` returns. Raises ``RecordingError``."""
    try:
        for each in removable(_entries(folder), before=before, most=most, in_use=in_use):
            (folder / each.name).unlink(missing_ok=True)
    except OSError as error:
        raise _cannot(folder, "cleaned up", error) from error


def _entries(folder: Path) -> Iterator[RecordingEntry]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if session_of(entry.name) is not None:
                with suppress(FileNotFoundError):
                    about = entry.stat()
                    yield RecordingEntry(entry.name, about.st_mtime, about.st_size)


def _cannot(folder: Path, what: str, error: OSError) -> RecordingError:
    return RecordingError(f"recordings in {folder} cannot be {what}: {error.strerror}")
