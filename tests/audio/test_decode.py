"""Decoding of audio files, and the messages for files that cannot be decoded."""

import wave
from pathlib import Path

import pytest

from pipeline.audio.decode import AudioFile, open_audio
from pipeline.errors import InputError


def written(path: Path, sound: bytes, *, rate: int = 16_000, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(sound)
    return path


def everything(file: AudioFile) -> bytes:
    sound = b""
    while chunk := file.read(0.3):
        sound += chunk
    file.close()
    return sound


def test_a_plain_wav_is_unchanged(tmp_path: Path) -> None:
    sound = bytes(range(256)) * 250
    file = open_audio(written(tmp_path / "a.wav", sound))
    assert file.duration == 2.0
    assert everything(file) == sound


def test_stereo_at_another_rate_becomes_16_khz_mono(tmp_path: Path) -> None:
    file = open_audio(written(tmp_path / "a.wav", bytes(4 * 44_100), rate=44_100, channels=2))
    assert file.duration == pytest.approx(1.0)
    assert len(everything(file)) == pytest.approx(32_000, abs=100)


def test_channels_are_kept_separate_on_request(tmp_path: Path) -> None:
    pair = (1000).to_bytes(2, "little") + (-1000).to_bytes(2, "little", signed=True)
    file = open_audio(written(tmp_path / "a.wav", pair * 16_000, channels=2), separate=True)
    assert file.channels == 2
    assert everything(file) == pair * 16_000


def test_one_channel_stays_one_channel(tmp_path: Path) -> None:
    file = open_audio(written(tmp_path / "a.wav", bytes(3200)), separate=True)
    assert file.channels == 1


def bad(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "x.wav"
    match kind:
        case "missing":
            pass
        case "directory":
            path.mkdir()
        case "empty":
            path.touch()
        case "text":
            path.write_text("This is a text, whatever its name says.\n" * 50)
        case "garbage":
            path.write_bytes(bytes((i * 7919) % 251 for i in range(5000)))
        case _:
            written(path, b"")
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "no such file"),
        ("directory", "is a directory"),
        ("empty", "is empty"),
        ("text", "is not a readable audio file"),
        ("garbage", "is not a readable audio file"),
        ("header only", "contains no audio"),
    ],
)
def test_a_file_that_is_not_a_recording_is_refused_with_its_name(
    tmp_path: Path, kind: str, says: str
) -> None:
    path = bad(tmp_path, kind)
    with pytest.raises(InputError, match=says) as refused:
        open_audio(path)
    assert str(path) in str(refused.value)
