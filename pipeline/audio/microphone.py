"""Microphone source, by sounddevice (PortAudio)."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any, Self

import anyio
from anyio import to_thread

from pipeline.audio.formats import format_of
from pipeline.audio.pcm import SAMPLE_RATE, Format
from pipeline.errors import InputError
from pipeline.protocol.commands import AudioFormat

BLOCKS = 100  #: of 50 ms, buffered at most; further ones are dropped and counted
MUTE = 5.0  #: seconds without a block before the device counts as lost: a silent one sends zeros
INSTALL = "pip install 'speech-llm-pipeline[mic]'"
LIBRARY = "apt install libportaudio2 (Debian, Ubuntu), dnf install portaudio (Fedora)"


def sounddevice() -> ModuleType:
    """Return the library. Raises ``InputError`` with the install command if it is missing."""
    try:
        import sounddevice as library
    except ImportError:
        raise InputError(f"a microphone needs sounddevice: {INSTALL}") from None
    except OSError as error:
        raise InputError(f"a microphone needs PortAudio ({error}): {LIBRARY}") from None
    module: ModuleType = library
    return module


def microphones() -> list[str]:
    """Return a line per recording device; a star marks the default. Blocking."""
    library = sounddevice()
    with suppress(library.PortAudioError):
        default = library.default.device[0]
        return [
            f"{'*' if device['index'] == default else ' '} {device['index']:>3}  {device['name']}"
            f" ({device['max_input_channels']} channels, {device['default_samplerate']:g} Hz)"
            for device in library.query_devices()
            if device["max_input_channels"] > 0
        ]
    return []


class Microphone:
    """Recording device, with a bounded queue of blocks between its thread and the event loop."""

    duration = None
    failure = None
    remarks: Sequence[str] = ()  #: what was lost is counted in ``lost`` and ``overflows``

    def __init__(self, name: str, format: Format) -> None:  # noqa: A002 (as the field)
        self.name = name
        self.format = format
        self.lost = 0.0  #: seconds dropped while the queue was full
        self.overflows = 0  #: input overflows reported by the device
        self._blocks: deque[bytes] = deque()
        self._more = anyio.Event()
        self._loop = asyncio.get_running_loop()
        self._stream: Any = None

    @classmethod
    async def open(
        cls, device: str | None = None, *, separate: bool = False, speakers: Sequence[str] = ()
    ) -> Self:
        """Start recording from ``device``: a number, or part of a name; None is the default.

        Raises ``InputError`` if the device does not exist or cannot be used.
        """
        library = await to_thread.run_sync(sounddevice)
        chosen = int(device) if device is not None and device.isdecimal() else device
        channels = 2 if separate else 1
        audio_format = AudioFormat(sample_rate=SAMPLE_RATE, channels=channels, separate=separate)
        try:
            found = await to_thread.run_sync(library.query_devices, chosen, "input")
            rate = await to_thread.run_sync(_rate, library, found, channels)
            audio_format = AudioFormat("pcm_s16le", rate, channels, separate=separate)
            microphone = cls(str(found["name"]), format_of(audio_format, speakers))
            await to_thread.run_sync(microphone._start, library, found["index"])
        except (library.PortAudioError, ValueError) as error:
            raise InputError(_refusal(library, device, error)) from error
        return microphone

    def _start(self, library: ModuleType, index: int) -> None:
        self._stream = library.RawInputStream(
            samplerate=self.format.sample_rate,
            blocksize=self.format.frame_bytes // self.format.sample_bytes,
            device=index,
            channels=self.format.channels,
            dtype="int16",
            callback=self._on_block,
        )
        self._stream.start()

    def _on_block(self, data: Any, samples: int, _: object, status: Any) -> None:
        """Queue a block; called on PortAudio's thread, which must not wait."""
        if status.input_overflow:
            self.overflows += 1
        if len(self._blocks) >= BLOCKS:
            self.lost += samples / self.format.sample_rate
            return
        self._blocks.append(bytes(data))
        with suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._more.set()

    async def read(self) -> Sequence[bytes]:
        """Return the queued blocks. Raises ``InputError`` if the device is lost."""
        while not self._blocks:
            self._more = anyio.Event()
            with anyio.move_on_after(MUTE) as patience:
                await self._more.wait()
            if patience.cancelled_caught:
                raise InputError(f"{self.name} has sent nothing for {MUTE:g} s: is it plugged in?")
        return [self._blocks.popleft() for _ in range(len(self._blocks))]

    async def aclose(self) -> None:
        """Stop recording."""
        if self._stream is not None:
            await to_thread.run_sync(self._stream.close, abandon_on_cancel=True)


def _rate(library: ModuleType, device: Any, channels: int) -> int:
    """Return 16 kHz if the device supports it, else its own rate."""
    with suppress(library.PortAudioError):
        library.check_input_settings(device["index"], channels, "int16", samplerate=SAMPLE_RATE)
        return SAMPLE_RATE
    return int(device["default_samplerate"])


def _refusal(library: ModuleType, device: str | None, error: Exception) -> str:
    there = microphones()
    if not there:
        return f"no microphone found ({error}); PortAudio lists no recording device"
    wanted = "the default microphone" if device is None else f"microphone {device!r}"
    return f"{wanted} cannot be used ({error}); available:\n" + "\n".join(there)
