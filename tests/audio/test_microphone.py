"""Microphone with a fake library: the test delivers the blocks."""

import sys
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from pipeline.audio.microphone import BLOCKS, MUTE, Microphone, microphones, sounddevice
from pipeline.errors import InputError

BLOCK = bytes(1600)


class PortAudioError(Exception):
    pass


class Library:
    """Stands in for sounddevice: one microphone at 48 kHz, and one output."""

    PortAudioError = PortAudioError
    default = SimpleNamespace(device=(0, 1))

    def __init__(self) -> None:
        self.devices = [
            {"index": 0, "name": "Mic", "max_input_channels": 2, "default_samplerate": 48_000.0},
            {"index": 1, "name": "Out", "max_input_channels": 0, "default_samplerate": 48_000.0},
        ]
        self.takes_16_khz = True
        self.streams: list[SimpleNamespace] = []

    def query_devices(self, device: object = None, kind: str | None = None) -> Any:
        if kind is None:
            return self.devices
        if not self.devices:
            raise PortAudioError("Error querying device -1")
        if device not in (None, 0, "Mic"):
            raise ValueError(f"No input device matching {device!r}")
        return self.devices[0]

    def check_input_settings(self, *_: object, samplerate: int) -> None:
        if not self.takes_16_khz:
            raise PortAudioError("Invalid sample rate")

    def RawInputStream(self, **wish: Any) -> Any:  # noqa: N802 (as the library has it)
        stream = SimpleNamespace(**wish, start=lambda: None, close=lambda: None)
        self.streams.append(stream)
        return stream

    def say(self, block: bytes = BLOCK, *, overflow: bool = False) -> None:
        self.streams[0].callback(block, 800, None, SimpleNamespace(input_overflow=overflow))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    fake = Library()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return fake


async def test_blocks_come_out_in_order(library: Library) -> None:
    microphone = await Microphone.open()
    library.say(b"\1\0" * 800)
    library.say(b"\2\0" * 800)
    assert await microphone.read() == [b"\1\0" * 800, b"\2\0" * 800]
    assert (microphone.name, microphone.format.sample_rate) == ("Mic", 16_000)
    await microphone.aclose()


async def test_a_device_without_16_khz_records_at_its_own_rate(library: Library) -> None:
    library.takes_16_khz = False
    microphone = await Microphone.open("Mic", separate=True)
    assert microphone.format.sample_rate == 48_000
    assert (library.streams[0].blocksize, library.streams[0].channels) == (2400, 2)


async def test_unread_blocks_are_bounded_and_counted(library: Library) -> None:
    microphone = await Microphone.open()
    for _ in range(BLOCKS + 20):
        library.say()
    library.say(overflow=True)
    assert len(await microphone.read()) == BLOCKS
    assert microphone.lost == pytest.approx(21 * 0.05)
    assert microphone.overflows == 1


async def test_a_disconnected_device_is_an_error(library: Library) -> None:
    microphone = await Microphone.open()
    with pytest.raises(InputError, match="is it plugged in"):
        await microphone.read()
    assert anyio.current_time() >= MUTE
    assert len(library.streams) == 1


async def test_a_missing_device_is_reported_with_the_available_ones(library: Library) -> None:
    with pytest.raises(InputError, match=r"microphone 'Cam' cannot be used(.|\n)*0  Mic"):
        await Microphone.open("Cam")
    library.devices.clear()
    with pytest.raises(InputError, match="no microphone found"):
        await Microphone.open()


def test_only_devices_that_record_are_listed(library: Library) -> None:
    assert microphones() == ["*   0  Mic (2 channels, 48000 Hz)"]
    assert len(library.devices) == 2


def test_a_missing_package_is_reported_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(InputError, match="pip install"):
        sounddevice()
