"""Decoder of audio files to 16 kHz s16le, by PyAV."""

import wave
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipeline.audio.pcm import SAMPLE_RATE
from pipeline.errors import InputError

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

FORMATS = "wav, flac, mp3, m4a, ogg, webm, amr"


class AudioFile(Protocol):
    """An open recording. Reading blocks: call it in a worker thread."""

    duration: float | None  #: seconds, if the file states it
    channels: int  #: of the interleaved samples that ``read`` returns

    def read(self, seconds: float) -> bytes:
        """Return the next ``seconds`` or more of 16 kHz s16le; empty at the end."""
        ...

    def close(self) -> None: ...


def open_audio(path: Path | str, *, separate: bool = False) -> AudioFile:
    """Open a recording: its channels mixed down to one, or each kept.

    Raises ``InputError`` if the file is missing or contains no audio that can be decoded.
    """
    path = Path(path)
    _check_file(path)
    plain = _open_wave(path)
    return plain or _open_av(path, separate=separate)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a directory; name an audio file in it")
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if not size and path.is_file():
        raise InputError(f"{path} is empty (0 bytes); record it again or name another file")


class _Wave:
    """Reader of a WAV file that is already 16 kHz mono s16le: no decoding needed."""

    channels = 1

    def __init__(self, reader: wave.Wave_read) -> None:
        self._reader = reader
        self.duration: float | None = reader.getnframes() / SAMPLE_RATE

    def read(self, seconds: float) -> bytes:
        return self._reader.readframes(max(1, round(seconds * SAMPLE_RATE)))

    def close(self) -> None:
        self._reader.close()


def _open_wave(path: Path) -> _Wave | None:
    """Return a reader, or None if the file needs PyAV."""
    try:
        reader = wave.open(str(path), "rb")  # noqa: SIM115 (its owner closes it)
    except (wave.Error, EOFError, OSError):
        return None
    shape = (reader.getnchannels(), reader.getsampwidth(), reader.getframerate())
    # A recorder that was killed leaves 0 or a far too large length in the header.
    has_length = 0 < reader.getnframes() * 2 < path.stat().st_size
    if shape != (1, 2, SAMPLE_RATE) or not has_length:
        reader.close()
        return None
    return _Wave(reader)


class _Decoded:
    """Decoder of all other files: demuxed, decoded and resampled by FFmpeg's libraries."""

    def __init__(
        self, path: Path, container: "InputContainer", stream: "AudioStream", *, separate: bool
    ) -> None:
        self._container = container
        self.channels = stream.channels if separate else 1
        self._blocks = self._decode(stream)
        self.duration: float | None = _duration(container)
        # The first block, so that a file without one sample is refused on opening.
        self._ahead = next(self._blocks, b"")
        if not self._ahead:
            raise InputError(f"{path} contains no audio: no sample could be decoded")

    def read(self, seconds: float) -> bytes:
        wanted = round(seconds * SAMPLE_RATE) * 2 * self.channels
        parts, size = [self._ahead], len(self._ahead)
        self._ahead = b""
        while size < wanted and (block := next(self._blocks, b"")):
            parts.append(block)
            size += len(block)
        return b"".join(parts)

    def close(self) -> None:
        self._blocks.close()
        self._container.close()

    def _decode(self, stream: "AudioStream") -> Generator[bytes, None, None]:
        from av import AudioResampler
        from av.error import InvalidDataError

        layout = "mono" if self.channels == 1 else None  # unchanged
        resampler = AudioResampler(format="s16", layout=layout, rate=SAMPLE_RATE)
        for packet in self._container.demux(stream):
            try:
                frames = packet.decode()
            except InvalidDataError:
                continue  # a damaged packet loses only its own milliseconds
            for frame in frames:
                yield from map(self._bytes, resampler.resample(frame))
        yield from map(self._bytes, resampler.resample(None))

    def _bytes(self, frame: "AudioFrame") -> bytes:
        return bytes(frame.planes[0])[: frame.samples * 2 * self.channels]


def _duration(container: "InputContainer") -> float | None:
    microseconds = container.duration
    return microseconds / 1_000_000 if microseconds else None


def _open_av(path: Path, *, separate: bool) -> _Decoded:
    try:
        import av
        from av.error import FFmpegError
    except ImportError:
        raise InputError(
            f"{path} is not a 16 kHz mono 16-bit WAV; decoding it needs: pip install av"
        ) from None
    try:
        container = av.open(str(path))
    except FFmpegError as error:
        raise InputError(
            f"{path} is not a readable audio file ({error.strerror}); known: {FORMATS}, ..."
        ) from error
    try:
        return _Decoded(path, container, _stream(path, container), separate=separate)
    except InputError:
        container.close()
        raise
    except FFmpegError as error:
        container.close()
        raise InputError(f"{path} cannot be decoded: {error.strerror}") from error


def _stream(path: Path, container: "InputContainer") -> "AudioStream":
    if not container.streams.audio:
        raise InputError(f"{path} contains no audio stream (it is {container.format.long_name})")
    return container.streams.audio[0]
