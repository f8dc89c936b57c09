"""Audio files of any common format, as 16 kHz mono s16le. The room's door to PyAV."""

import wave
from array import array
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
    """An open recording. Reading blocks: do it in a worker thread."""

    duration: float | None  #: seconds, where the file says so

    def read(self, seconds: float) -> bytes:
        """Return the next ``seconds`` or more of 16 kHz mono s16le; empty at the end."""
        ...

    def close(self) -> None: ...


def open_audio(path: Path | str, *, channel: int | None = None) -> AudioFile:
    """Open a recording: all channels mixed, or one of them, from 0.

    Raises ``InputError`` when there is no such file or it holds no audio that can be decoded.
    """
    path = Path(path)
    _look_at(path)
    plain = _open_wave(path)
    if plain is not None and not channel:
        return plain
    if plain is not None:
        plain.close()
    return _open_av(path, channel)


def _look_at(path: Path) -> None:
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
    """The fast path: a WAV file that already is 16 kHz mono s16le."""

    def __init__(self, reader: wave.Wave_read) -> None:
        self._reader = reader
        self.duration: float | None = reader.getnframes() / SAMPLE_RATE

    def read(self, seconds: float) -> bytes:
        return self._reader.readframes(max(1, round(seconds * SAMPLE_RATE)))

    def close(self) -> None:
        self._reader.close()


def _open_wave(path: Path) -> _Wave | None:
    """Return a reader, or None when PyAV has to do it."""
    try:
        reader = wave.open(str(path), "rb")  # noqa: SIM115 (its owner closes it)
    except (wave.Error, EOFError, OSError):
        return None
    shape = (reader.getnchannels(), reader.getsampwidth(), reader.getframerate())
    # A recorder that was killed leaves 0 or a far too large length in the header.
    sound = 0 < reader.getnframes() * 2 < path.stat().st_size
    if shape != (1, 2, SAMPLE_RATE) or not sound:
        reader.close()
        return None
    return _Wave(reader)


class _Decoded:
    """Anything else: demuxed, decoded and resampled by FFmpeg's libraries."""

    def __init__(
        self, path: Path, container: "InputContainer", stream: "AudioStream", channel: int | None
    ) -> None:
        self._container = container
        self._channel = channel
        self._channels = stream.channels
        self._blocks = self._decode(stream)
        self.duration: float | None = _duration(container)
        # The first block, so that a file without one sample is refused on opening.
        self._ahead = next(self._blocks, b"")
        if not self._ahead:
            raise InputError(f"{path} holds no audio: not one sample of it could be decoded")

    def read(self, seconds: float) -> bytes:
        wanted = round(seconds * SAMPLE_RATE) * 2
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

        layout = None if self._picks else "mono"
        resampler = AudioResampler(format="s16", layout=layout, rate=SAMPLE_RATE)
        for packet in self._container.demux(stream):
            try:
                frames = packet.decode()
            except InvalidDataError:
                continue  # a damaged packet costs its own milliseconds only
            for frame in frames:
                yield from map(self._bytes, resampler.resample(frame))
        yield from map(self._bytes, resampler.resample(None))

    @property
    def _picks(self) -> bool:
        return self._channel is not None and self._channels > 1

    def _bytes(self, frame: "AudioFrame") -> bytes:
        data = bytes(frame.planes[0])[: frame.samples * 2 * frame.layout.nb_channels]
        if not self._picks:
            return data
        return array("h", data)[self._channel :: self._channels].tobytes()


def _duration(container: "InputContainer") -> float | None:
    microseconds = container.duration
    return microseconds / 1_000_000 if microseconds else None


def _open_av(path: Path, channel: int | None) -> _Decoded:
    try:
        import av
        from av.error import FFmpegError
    except ImportError:
        raise InputError(
            f"{path} is no 16 kHz mono 16-bit WAV, and decoding others needs: pip install av"
        ) from None
    try:
        container = av.open(str(path))
    except FFmpegError as error:
        raise InputError(
            f"{path} is no audio file that can be read ({error.strerror}); known: {FORMATS}, ..."
        ) from error
    try:
        return _Decoded(path, container, _stream(path, container, channel), channel)
    except InputError:
        container.close()
        raise
    except FFmpegError as error:
        container.close()
        raise InputError(f"{path} cannot be decoded: {error.strerror}") from error


def _stream(path: Path, container: "InputContainer", channel: int | None) -> "AudioStream":
    if not container.streams.audio:
        raise InputError(f"{path} holds no audio stream (it is {container.format.long_name})")
    stream = container.streams.audio[0]
    if channel is not None and not 0 <= channel < stream.channels:
        raise InputError(
            f"{path} has {stream.channels} channel(s), numbered from 0; there is no {channel}"
        )
    return stream
