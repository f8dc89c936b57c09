"""Decoder of recordings to 16 kHz s16le, by PyAV."""

import io
import os
import re
import stat
import wave
from array import array
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipeline.audio.gaps import GapFiller
from pipeline.audio.inputs import PipeInput
from pipeline.audio.pcm import SAMPLE_RATE
from pipeline.errors import InputError
from pipeline.runtime.downmix import uncancelled

if TYPE_CHECKING:
    from av import AudioLayout
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

FORMATS = "wav, flac, mp3, m4a, ogg, webm, amr"
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
SILENCE = bytes(2 * SAMPLE_RATE)  #: one second of one channel

#: nothing but the recording itself is read, whatever a playlist or a reference in it names
OPTIONS = {"protocol_whitelist": "none"}


class AudioFile(Protocol):
    """An open recording. Reading blocks: call it in a worker thread."""

    duration: float | None  #: seconds, if the file states it
    channels: int  #: of the interleaved samples that ``read`` returns
    failure: str | None  #: why it ended before its end, if it did
    note: str | None  #: a remark on how it is played

    def read(self, seconds: float) -> bytes:
        """Return the next ``seconds`` or more of 16 kHz s16le; empty at the end."""
        ...

    def close(self) -> None: ...


Input = io.BufferedReader | PipeInput


def open_audio(path: Path | str, *, separate: bool = False) -> AudioFile:
    """Open a recording: its channels mixed down to one, or each kept.

    Raises ``InputError`` if the file is missing or contains no audio that can be decoded.
    """
    return read_audio(open_input(path), str(path), separate=separate)


def read_audio(audio: Input, name: str, *, separate: bool = False) -> AudioFile:
    """Read the beginning of an open recording, which is closed with it. Raises ``InputError``."""
    if not isinstance(audio, PipeInput) and (plain := _open_wave(audio)):
        return plain
    return _open_av(audio, name, separate=separate)


def open_input(name: Path | str) -> Input:
    """Open a recording as it is: a file, or a pipe, which is opened once and without waiting.

    Raises ``InputError``.
    """
    path = Path(name)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{path} is a directory; name an audio file in it")
        if stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode):
            return PipeInput.open(path)
        if not status.st_size:
            raise InputError(f"{path} is empty (0 bytes); record it again or name another file")
        return path.open("rb")
    except FileNotFoundError:
        if ADDRESS.match(str(name)):
            raise InputError(f"{name} is an address: download the recording first") from None
        raise InputError(f"no such file: {name}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # a NUL byte in the name
        raise InputError(f"cannot read {str(path)!r}: {error}") from None


class _Wave:
    """Reader of a WAV file that is already 16 kHz mono s16le: no decoding needed."""

    channels = 1

    def __init__(self, reader: wave.Wave_read, file: io.BufferedReader) -> None:
        self.failure: str | None = None
        self.note: str | None = None
        self._reader = reader
        self._file = file
        self.duration: float | None = reader.getnframes() / SAMPLE_RATE

    def read(self, seconds: float) -> bytes:
        return self._reader.readframes(max(1, round(seconds * SAMPLE_RATE)))

    def close(self) -> None:
        self._reader.close()
        self._file.close()


def _open_wave(file: io.BufferedReader) -> _Wave | None:
    """Return a reader, or None if the file needs PyAV."""
    try:
        reader = wave.open(file, "rb")  # noqa: SIM115 (its owner closes it)
        shape = (reader.getnchannels(), reader.getsampwidth(), reader.getframerate())
        # A recorder that was killed leaves 0 or a far too large length in the header.
        has_length = 0 < reader.getnframes() * 2 < os.fstat(file.fileno()).st_size
        if shape == (1, 2, SAMPLE_RATE) and has_length:
            return _Wave(reader, file)
    except (wave.Error, EOFError, OSError):
        pass
    file.seek(0)
    return None


class _Decoded:
    """Decoder of all other recordings: demuxed, decoded and resampled by FFmpeg's libraries."""

    def __init__(
        self, audio: Input, container: "InputContainer", stream: "AudioStream", *, separate: bool
    ) -> None:
        from av import AudioLayout

        self.channels = 1  # or those of the first frame: a stream states those of its last part
        self.duration: float | None = _seconds(container.duration)
        self.failure: str | None = None
        self.note: str | None = None
        self._input = audio
        self._container = container
        self._gaps = GapFiller(_seconds(container.start_time))
        self._layout = None if separate else AudioLayout("mono")
        self._blocks = self._decode(stream)
        # The first block, so that a file without one sample is refused on opening.
        self._ahead = next(self._blocks, b"")

    @property
    def is_empty(self) -> bool:
        return not self._ahead

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
        self._input.close()

    def _decode(self, stream: "AudioStream") -> Generator[bytes, None, None]:
        """Yield blocks of samples; where rate, channels or format change, resample anew."""
        resampler: _FrameResampler | None = None
        for frame in self._frames(stream):
            if self._layout is None:
                self._layout, self.channels = frame.layout, len(frame.layout.channels)
            seconds = frame.samples / frame.sample_rate
            silence = self._gaps.silence_before(_time_of(frame), seconds)
            if resampler is not None and (silence or not resampler.fits(frame)):
                yield from resampler.flush()
                resampler = None
            yield from _silence(silence, self.channels)
            resampler = resampler or _FrameResampler(frame, self._layout, mixed=self.channels == 1)
            yield from resampler.feed(frame)
            self.note = self.note or resampler.note
        if resampler is not None:
            yield from resampler.flush()

    def _frames(self, stream: "AudioStream") -> Iterator["AudioFrame"]:
        from av.error import FFmpegError

        try:
            for packet in self._container.demux(stream):
                try:
                    frames = packet.decode()
                except FFmpegError:
                    continue  # a damaged packet loses only its own milliseconds
                yield from frames
        except (FFmpegError, OSError) as error:
            self.failure = (
                f"cannot be read past {self._gaps.position:.1f} s:"
                f" {error.strerror or type(error).__name__}"
            )


class _FrameResampler:
    """Resamples frames of one shape to 16 kHz, mixed or with their channels."""

    def __init__(self, first: "AudioFrame", layout: "AudioLayout", *, mixed: bool) -> None:
        from av import AudioResampler

        self._shape = _shape(first)
        self._channels = len(first.layout.channels)
        self._resampler = AudioResampler(format="s16", layout=layout, rate=SAMPLE_RATE)
        self.note: str | None = None
        self._apart: AudioResampler | None = None  # to see whether mixing cancels the sound
        if mixed and self._channels > 1:
            self._apart = AudioResampler(format="s16", layout=first.layout, rate=SAMPLE_RATE)

    def fits(self, frame: "AudioFrame") -> bool:
        return _shape(frame) == self._shape

    def feed(self, frame: "AudioFrame") -> Iterator[bytes]:
        frame.pts = None  # the gaps are filled; the resampler would fill and trim by it
        return self._resampled(frame)

    def flush(self) -> Iterator[bytes]:
        return self._resampled(None)

    def _resampled(self, frame: "AudioFrame | None") -> Iterator[bytes]:
        mixes = self._resampler.resample(frame)
        if self._apart is None:
            yield from map(_bytes, mixes)
            return
        for mix, apart in zip(mixes, self._apart.resample(frame), strict=False):
            yield self._audible(_bytes(mix), _bytes(apart))

    def _audible(self, mix: bytes, apart: bytes) -> bytes:
        mixed = array("h", mix)
        audible = uncancelled(mixed, array("h", apart), self._channels)
        if audible is mixed:
            return mix
        self.note = (
            "its channels are in opposite phase, so that their mix is nearly silent: where it is,"
            " the louder channel is played; --channels separate plays both"
        )
        return audible.tobytes()


def _shape(frame: "AudioFrame") -> tuple[int, str, str]:
    return frame.sample_rate, frame.layout.name, frame.format.name


def _bytes(frame: "AudioFrame") -> bytes:
    return bytes(frame.planes[0])[: frame.samples * 2 * len(frame.layout.channels)]


def _silence(seconds: float, channels: int) -> Iterator[bytes]:
    """Yield digital silence in pieces of one second at most."""
    whole, rest = divmod(round(seconds * SAMPLE_RATE), SAMPLE_RATE)
    for _ in range(whole):
        yield SILENCE * channels
    if rest:
        yield bytes(2 * rest * channels)


def _time_of(frame: "AudioFrame") -> float | None:
    if frame.pts is None or frame.time_base is None:
        return None
    return float(frame.pts * frame.time_base)


def _seconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1_000_000


def _open_av(audio: Input, name: str, *, separate: bool) -> AudioFile:
    try:
        import av
        from av.error import FFmpegError
    except ImportError:
        audio.close()
        raise InputError(
            f"{name} is not a 16 kHz mono 16-bit WAV; decoding it needs: pip install av"
        ) from None
    try:
        # By the open file, not by its name: FFmpeg takes a colon in it for a protocol.
        container = av.open(audio, "r", metadata_errors="replace", options=OPTIONS)
    except (FFmpegError, OSError) as error:
        audio.close()
        raise InputError(_unreadable(audio, name, error.strerror or "no data")) from error
    try:
        decoded = _Decoded(audio, container, _stream(name, container), separate=separate)
        if decoded.is_empty:
            why = decoded.failure or "no sample could be decoded"
            if isinstance(audio, PipeInput) and "mp4" in container.format.name:
                why += "; through a pipe its index must come first (ffmpeg: -movflags +faststart)"
            raise InputError(f"{name} contains no audio: {why}")
    except (InputError, FFmpegError) as error:
        container.close()
        audio.close()
        if isinstance(error, FFmpegError):
            raise InputError(f"{name} cannot be decoded: {error.strerror}") from error
        raise
    return decoded


def _unreadable(audio: Input, name: str, why: str) -> str:
    text = f"{name} is not a readable audio file ({why}); known: {FORMATS}, ..."
    if isinstance(audio, PipeInput):
        text += (
            "\nfrom a pipe, an MP4 or M4A is readable only if its index comes first (ffmpeg"
            " -movflags +faststart), and raw PCM only as standard input (-)"
        )
    return text


def _stream(name: str, container: "InputContainer") -> "AudioStream":
    """Return the track that players choose: the first marked as default, else the first."""
    streams = container.streams.audio
    if not streams:
        raise InputError(f"{name} contains no audio stream (it is {container.format.long_name})")
    from av.stream import Disposition

    return next((each for each in streams if each.disposition & Disposition.default), streams[0])
