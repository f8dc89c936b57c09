"""Audio sources, files and standard input, and their playing in real time."""

from array import array
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol, Self

import anyio
from anyio import to_thread

from pipeline.audio.decode import AudioFile, open_input, read_audio
from pipeline.audio.formats import format_of
from pipeline.audio.inputs import PipeInput, reading
from pipeline.audio.pcm import Format, Framer, mulaw_to_pcm
from pipeline.audio.resample import Resampler
from pipeline.errors import InputError
from pipeline.protocol.commands import AudioFormat
from pipeline.runtime.downmix import peak

BATCH = 2.0  #: seconds decoded in one trip to a worker thread
SILENT = 33  #: peak of 32,768: -60 dB, below the noise of any microphone
LATENESS = 1.0  #: seconds that a source may be behind and still catch up in a burst


class Frames(Protocol):
    """Audio as 50 ms frames until its end."""

    @property
    def format(self) -> Format: ...

    async def read(self) -> Sequence[bytes]:
        """Return the next frames, the last one possibly shorter; empty at the end."""
        ...


class Source(Frames, Protocol):
    """Interface of an audio source."""

    @property
    def name(self) -> str: ...

    @property
    def duration(self) -> float | None:
        """Seconds, if known."""
        ...

    @property
    def remarks(self) -> Sequence[str]:
        """Remarks on what was played so far: opposite phase, silence."""
        ...

    @property
    def failure(self) -> str | None:
        """Why the source ended before its end, if it did."""
        ...

    async def aclose(self) -> None: ...


async def play(
    source: Frames, send: Callable[[bytes], Awaitable[None]], *, speed: float = 1.0
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


class Loudness:
    """Largest magnitude of the samples of a source."""

    def __init__(self, format: Format) -> None:  # noqa: A002 (as the field of a source)
        self._is_mulaw = format.encoding == "pcm_mulaw"
        self._peak = 0

    def hear(self, frames: Sequence[bytes]) -> None:
        data = b"".join(frames)
        samples = array("h", mulaw_to_pcm(data) if self._is_mulaw else data)
        self._peak = max(self._peak, peak(samples))

    @property
    def remarks(self) -> list[str]:
        return [] if self._peak > SILENT else ["it is silent from beginning to end"]


class FileSource:
    """A recording, decoded in a worker thread shortly before it is played."""

    def __init__(
        self,
        name: Path | str,
        audio: AudioFile,
        format: Format | None = None,  # noqa: A002
        pipe: PipeInput | None = None,
    ) -> None:
        self.name = str(name)
        self.format = format or Format()
        self.duration = audio.duration
        self._audio = audio
        self._pipe = pipe
        self._framer = Framer(self.format)
        self._loudness = Loudness(self.format)

    @classmethod
    async def open(
        cls, path: Path | str, *, separate: bool = False, speakers: Sequence[str] = ()
    ) -> Self:
        """Open a recording; ``separate`` keeps its channels instead of mixing them.

        ``path`` may be a pipe, which is opened once. Raises ``InputError`` if it cannot be used.
        """
        opened = await to_thread.run_sync(open_input, path)
        pipe = opened if isinstance(opened, PipeInput) else None
        audio = await reading(pipe, lambda: read_audio(opened, str(path), separate=separate))
        return cls._of(audio, str(path), speakers, pipe)

    @classmethod
    async def of_pipe(
        cls, pipe: PipeInput, *, separate: bool = False, speakers: Sequence[str] = ()
    ) -> Self:
        """Play a recording that arrives through ``pipe``. Raises ``InputError``."""
        audio = await reading(pipe, lambda: read_audio(pipe, pipe.name, separate=separate))
        return cls._of(audio, pipe.name, speakers, pipe)

    @classmethod
    def _of(
        cls, audio: AudioFile, name: str, speakers: Sequence[str], pipe: PipeInput | None
    ) -> Self:
        audio_format = AudioFormat(channels=audio.channels, separate=audio.channels > 1)
        return cls(name, audio, format_of(audio_format, speakers), pipe)

    @property
    def remarks(self) -> Sequence[str]:
        note = self._audio.note
        return [*([note] if note else []), *self._loudness.remarks]

    @property
    def failure(self) -> str | None:
        return self._audio.failure

    async def read(self) -> Sequence[bytes]:
        return await reading(self._pipe, self._next)

    def _next(self) -> Sequence[bytes]:
        frames = _frames(self._framer, self._audio.read(BATCH))
        self._loudness.hear(frames)
        return frames

    async def aclose(self) -> None:
        self._audio.close()


class PipeSource:
    """Raw PCM from a pipe, framed as it arrives.

    With ``stereo`` it has two channels, which are mixed to the one of ``format``.
    """

    duration = None
    failure = None

    def __init__(
        self,
        pipe: PipeInput,
        format: Format | None = None,  # noqa: A002 (as the field)
        *,
        stereo: bool = False,
    ) -> None:
        given = format or Format()
        self.name = pipe.name
        self._mixer = Resampler(given.sample_rate, stereo=True) if stereo else None
        self._expands = stereo and given.encoding == "pcm_mulaw"
        self.format = given if self._mixer is None else Format(sample_rate=self._mixer.sample_rate)
        self._pipe = pipe
        self._framer = Framer(self.format)
        self._loudness = Loudness(self.format)
        self._came = False

    @property
    def remarks(self) -> Sequence[str]:
        return self._loudness.remarks

    async def read(self) -> Sequence[bytes]:
        """Return the frames that have arrived. Raises ``InputError`` on a pipe of 0 bytes."""
        while True:
            chunk = await reading(self._pipe, self._pipe.read)
            frames = _frames(self._framer, self._mixed(chunk))
            if chunk and not frames:
                continue
            if not frames and not self._came:
                raise InputError(f"{self.name} ended before any audio came; send raw PCM")
            self._came = True
            self._loudness.hear(frames)
            return frames

    def _mixed(self, chunk: bytes) -> bytes:
        if self._mixer is None or not chunk:
            return chunk
        return self._mixer.feed(mulaw_to_pcm(chunk) if self._expands else chunk)

    async def aclose(self) -> None:
        self._pipe.close()


def _frames(framer: Framer, chunk: bytes) -> list[bytes]:
    """Return the completed frames; at the end, an empty ``chunk``, the remaining samples."""
    if chunk:
        return framer.feed(chunk)
    rest = framer.flush()
    return [rest] if rest else []
