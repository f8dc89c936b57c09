"""Decoding of audio files, and the messages for files that cannot be decoded."""

import struct
import wave
from array import array
from pathlib import Path

import pytest

from pipeline.audio.decode import AudioFile, open_audio
from pipeline.errors import InputError
from pipeline.runtime.downmix import peak
from tests.support.media import KINDS, hertz_at, record, sine


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
    file.close()


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


def played(path: Path, **how: bool) -> tuple[bytes, AudioFile]:
    file = open_audio(path, **how)
    return everything(file), file


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"m4a", "wav", "opus"}])
@pytest.mark.parametrize("second", [{"channels": 1}, {"channels": 2}])
def test_joined_recordings_play_one_after_the_other(
    tmp_path: Path, kind: str, second: dict[str, int]
) -> None:
    first = record(tmp_path / f"a.{kind}", [(0, 1, 440)])
    other = record(tmp_path / f"b.{kind}", [(0, 1, 880)], **second)
    both = tmp_path / f"both.{kind}"
    both.write_bytes(first.read_bytes() + other.read_bytes())
    sound, file = played(both)
    assert [hertz_at(sound, at) for at in (0.3, 1.4)] == [440, 880]
    assert file.failure is None


def test_the_sample_rate_may_change_within_a_recording(tmp_path: Path) -> None:
    first = record(tmp_path / "a.mp3", [(0, 1, 440)])
    other = record(tmp_path / "b.mp3", [(0, 1, 880)], rate=24_000, channels=1)
    (tmp_path / "both.mp3").write_bytes(first.read_bytes() + other.read_bytes())
    sound, _ = played(tmp_path / "both.mp3")
    assert [hertz_at(sound, at) for at in (0.3, 1.4)] == [440, 880]
    apart, file = played(tmp_path / "both.mp3", separate=True)
    assert file.channels == 2
    assert len(apart) == pytest.approx(2 * len(sound), abs=400)


def test_a_recording_that_cannot_be_read_to_its_end_says_where_it_stopped(tmp_path: Path) -> None:
    first = record(tmp_path / "a.opus", [(0, 2, 440)])
    other = record(tmp_path / "b.opus", [(0, 2, 880)], channels=1)  # FFmpeg refuses this change
    (tmp_path / "both.opus").write_bytes(first.read_bytes() + other.read_bytes())
    sound, file = played(tmp_path / "both.opus")
    assert hertz_at(sound, 1) == 440
    assert "cannot be read past 2.0 s" in (file.failure or "")


@pytest.mark.parametrize("kind", ["webm", "mkv", "m4a"])
def test_a_gap_is_silence_of_its_length(tmp_path: Path, kind: str) -> None:
    sound, _ = played(record(tmp_path / f"a.{kind}", [(0, 1, 440), (4, 1, 880)]))
    assert len(sound) / 32_000 == pytest.approx(5, abs=0.1)
    assert [hertz_at(sound, at) for at in (0.2, 2.0, 4.3)] == [440, 0, 880]


def test_a_track_that_begins_late_begins_with_silence(tmp_path: Path) -> None:
    tracks = [(0, 1, 0)], [(3, 1, 880)]
    sound, _ = played(record(tmp_path / "a.mkv", *tracks, default=1))
    assert [hertz_at(sound, at) for at in (1.0, 3.3)] == [0, 880]


@pytest.mark.parametrize("default", [0, 1])
def test_the_default_track_plays(tmp_path: Path, default: int) -> None:
    tracks = [(0, 1, 440)], [(0, 1, 880)]
    sound, _ = played(record(tmp_path / "a.mkv", *tracks, default=default))
    assert hertz_at(sound, 0.3) == (440, 880)[default]


@pytest.mark.parametrize("right", [-1.0, -0.9])
def test_opposite_phase_is_heard_and_remarked(tmp_path: Path, right: float) -> None:
    left = array("h", sine(1, 440, 16_000))
    pairs = array("h", [value for one in left for value in (one, int(right * one))])
    sound, file = played(written(tmp_path / "a.wav", pairs.tobytes(), channels=2))
    assert hertz_at(sound, 0.3) == 440
    assert peak(array("h", sound)) > 10_000
    assert "opposite phase" in (file.note or "")


@pytest.mark.parametrize(
    "name", ["2026-11-30T10:15:00.mp3", "concat:a.mp3", "-a.mp3", "a?b=%20.mp3"]
)
def test_a_name_is_never_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "a.mp3", [(0, 1, 440)]).rename(tmp_path / name)
    sound, _ = played(Path(name))
    assert hertz_at(sound, 0.3) == 440


def test_an_address_is_repeated_as_it_was_given() -> None:
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:1/a\.wav is an address"):
        open_audio("http://127.0.0.1:1/a.wav")


def test_a_title_that_is_no_utf_8_plays(tmp_path: Path) -> None:
    data = sine(1, 440, 44_100)
    title = b"LIST" + struct.pack("<I", 18) + b"INFOINAM" + struct.pack("<I", 6) + b"Z\xfcrich"
    form = struct.pack("<IHHIIHH", 16, 1, 1, 44_100, 88_200, 2, 16)
    body = b"WAVEfmt " + form + title + b"data" + struct.pack("<I", len(data)) + data
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    sound, _ = played(tmp_path / "a.wav")
    assert hertz_at(sound, 0.3) == 440


def test_a_playlist_reads_no_other_file(tmp_path: Path) -> None:
    record(tmp_path / "a.ts", [(0, 1, 440)])
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "a.m3u8").write_text(playlist)
    with pytest.raises(InputError, match="not a readable audio file"):
        open_audio(tmp_path / "a.m3u8")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "m4a"])
def test_a_truncated_recording_plays_as_far_as_it_goes(tmp_path: Path, kind: str) -> None:
    whole = record(tmp_path / f"a.{kind}", [(0, 2, 440)]).read_bytes()
    (tmp_path / f"b.{kind}").write_bytes(whole[: len(whole) * 6 // 10])
    sound, _ = played(tmp_path / f"b.{kind}")
    assert hertz_at(sound, 0.3) == 440
