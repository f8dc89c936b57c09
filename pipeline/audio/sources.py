"""Audio sources, files and standard input, and their playing in real time."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol, Self

import anyio
from anyio import to_thread

from pipeline.audio.decode import AudioFile, open_audio
from pipeline.audio.formats import format_of
from pipeline.audio.pcm import Format, Framer, mulaw_to_pcm
from pipeline.audio.resample import Resampler
from pipeline.errors import InputError
from pipeline.protocol.commands import AudioFormat

BATCH = 2.0  #: seconds decoded in one trip to a worker thread
PIPE_BYTES = 65_536  #: per read of a pipe at most: the size of Linux's pipe buffer
LATENESS = 1.0  #: seconds that a source may be behind and still catch up in a burst


class Source(Protocol):
    """Interface of an audio source: 50 ms frames until its end."""

    @property
    def name(self) -> str: ...

    @property
    def format(self) -> Format: ...

    @property
    def duration(self) -> float | None:
        """Seconds, if known."""
        ...

    async def read(self) -> Sequence[bytes]:
        """Return the next frames, the last one possibly shorter; empty at the end."""
        ...

    async def aclose(self) -> None: ...


async def play(
    source: Source, send: Callable[[bytes], Awaitable[None]], *, speed: float = 1.0
) -> float:
    """Send each frame at the time a microphone would have filled it; return the seconds sent.

    The schedule is absolute, so it does not drift. A source that falls behind by more than
    ``LATENESS`` gets a new schedule, which avoids a burst afterwards. With ``speed`` 0 frames go
    as fast as ``send`` accepts them.
    """
    pace = 1 / (source.format.bytes_per_second * speed) if speed else 0.0  # seconds per byte
    due = anyio.current_time()
    size = 0
    while frames := await source.read():
        for frame in frames:
            size += len(frame)
            if pace:
                due = await _wait(due + len(frame) * pace)
            await send(frame)
    return source.format.seconds(size)


async def _wait(due: float) -> float:
    """Sleep until ``due``; return the start of the next frame."""
    now = anyio.current_time()
    if due > now:
        await anyio.sleep(due - now)
        return due
    return due if now - due < LATENESS else now


class FileSource:
    """A recording, decoded in a worker thread shortly before it is played."""

    def __init__(
        self,
        path: Path | str,
        audio: AudioFile,
        format: Format | None = None,  # noqa: A002
    ) -> None:
        self.name = str(path)
        self.format = format or Format()
        self.duration = audio.duration
        self._audio = audio
        self._framer = Framer(self.format)

    @classmethod
    async def open(
        cls, path: Path | str, *, separate: bool = False, speakers: Sequence[str] = ()
    ) -> Self:
        """Open a recording; ``separate`` keeps its channels instead of mixing them.

        Raises ``InputError`` if it cannot be used.
        """

        def opened() -> AudioFile:
            return open_audio(path, separate=separate)

        audio = await to_thread.run_sync(opened)
        audio_format = AudioFormat(channels=audio.channels, separate=audio.channels > 1)
        return cls(path, audio, format_of(audio_format, speakers))

    async def read(self) -> Sequence[bytes]:
        chunk = await to_thread.run_sync(self._audio.read, BATCH)
        return _frames(self._framer, chunk)

    async def aclose(self) -> None:
        self._audio.close()


class PipeSource:
    """Raw PCM from a pipe, standard input by default, framed as it arrives.

    With ``stereo`` it has two channels, which are mixed to the one of ``format``.
    """

    duration = None

    def __init__(
        self,
        format: Format | None = None,  # noqa: A002 (as the field)
        pipe: BinaryIO | None = None,
        *,
        stereo: bool = False,
    ) -> None:
        given = format or Format()
        self.name = "stdin" if pipe is None else str(getattr(pipe, "name", "pipe"))
        self._mixer = Resampler(given.sample_rate, stereo=True) if stereo else None
        self._expands = stereo and given.encoding == "pcm_mulaw"
        self.format = given if self._mixer is None else Format(sample_rate=self._mixer.sample_rate)
        self._pipe = sys.stdin.buffer if pipe is None else pipe
        self._framer = Framer(self.format)
        self._came = False

    async def read(self) -> Sequence[bytes]:
        """Return the frames that have arrived. Raises ``InputError`` on a pipe of 0 bytes."""
        while True:
            chunk = await to_thread.run_sync(self._read, abandon_on_cancel=True)
            frames = _frames(self._framer, self._mixed(chunk))
            if chunk and not frames:
                continue
            if not frames and not self._came:
                raise InputError(f"{self.name} ended before any audio came; send raw PCM")
            self._came = True
            return frames

    def _mixed(self, chunk: bytes) -> bytes:
        if self._mixer is None or not chunk:
            return chunk
        return self._mixer.feed(mulaw_to_pcm(chunk) if self._expands else chunk)

    def _read(self) -> bytes:
        reader = getattr(self._pipe, "read1", self._pipe.read)
        return bytes(reader(PIPE_BYTES))

    async def aclose(self) -> None:
        """Do nothing: the caller owns the pipe."""


def _frames(framer: Framer, chunk: bytes) -> list[bytes]:
    """Return the completed frames; at the end, an empty ``chunk``, the remaining samples."""
    if chunk:
        return framer.feed(chunk)
    rest = framer.flush()
    return [rest] if rest else []
