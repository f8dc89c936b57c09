"""Every common format, from real files made here with FFmpeg's libraries."""

import math
from array import array
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import av
import pytest
from av.audio.frame import AudioFrame

from pipeline.audio.decode import open_audio
from tests.audio.test_decode import everything

TONE = 440.0  #: hertz
SECONDS = 2

FORMATS = [
    # file name, codec, rate, layout, sample format
    ("a.wav", "pcm_s24le", 44_100, "stereo", "s32"),
    ("b.wav", "pcm_mulaw", 8000, "mono", "s16"),
    ("c.wav", "pcm_f32le", 96_000, "mono", "flt"),
    ("d.flac", "flac", 48_000, "stereo", "s16"),
    ("e.mp3", "libmp3lame", 44_100, "stereo", "fltp"),
    ("f.m4a", "aac", 44_100, "mono", "fltp"),
    ("h.ogg", "libopus", 48_000, "mono", "flt"),
    ("i.webm", "libopus", 48_000, "stereo", "flt"),
    ("j.amr", "libopencore_amrnb", 8000, "mono", "s16"),
    ("k.wav", "pcm_s24le", 44_100, "mono", "s32"),
    ("l.flac", "flac", 44_100, "mono", "s16"),
    ("m.mp3", "libmp3lame", 16_000, "mono", "fltp"),
    ("n.m4a", "aac", 48_000, "stereo", "fltp"),
    ("o.ogg", "libopus", 48_000, "stereo", "flt"),
    ("p.webm", "libopus", 48_000, "mono", "flt"),
]


def tone(rate: int, start: int, count: int, channels: int) -> bytes:
    wave = (math.sin(2 * math.pi * TONE * (start + i) / rate) for i in range(count))
    return array("h", [round(12_000 * value) for value in wave for _ in range(channels)]).tobytes()


def record(path: Path, codec: str, rate: int, layout: str, sample_format: str) -> None:
    """Write a tone of two seconds."""
    with cast("Any", av.open(str(path), "w")) as container:  # its packets are half typed
        stream: Any = container.add_stream(codec, rate=rate, layout=layout, format=sample_format)
        channels = 2 if layout == "stereo" else 1
        resampler = av.AudioResampler(sample_format, layout, rate, stream.frame_size)
        for start in range(0, SECONDS * rate, rate // 10):
            frame = AudioFrame(format="s16", layout=layout, samples=rate // 10)
            frame.planes[0].update(tone(rate, start, rate // 10, channels))
            frame.sample_rate, frame.pts = rate, start
            for ready in resampler.resample(frame):
                container.mux(stream.encode(ready))
        for ready in resampler.resample(None):
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))


def pitch(sound: bytes) -> float:
    """Count how often the sound rises through zero, per second."""
    samples = array("h", sound)
    rises = sum(a < 0 <= b for a, b in pairwise(samples))
    return rises / (len(samples) / 16_000)


@pytest.mark.parametrize(("name", "codec", "rate", "layout", "sample_format"), FORMATS)
def test_a_tone_keeps_its_pitch_and_length(
    tmp_path: Path, name: str, codec: str, rate: int, layout: str, sample_format: str
) -> None:
    record(tmp_path / name, codec, rate, layout, sample_format)
    file = open_audio(tmp_path / name)
    assert file.duration is None or file.duration == pytest.approx(SECONDS, abs=0.15)
    sound = everything(file)
    assert len(sound) / 32_000 == pytest.approx(SECONDS, abs=0.15)
    assert pitch(sound[8000:-8000]) == pytest.approx(TONE, abs=3)
    assert max(array("h", sound)) > 6000


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout", "sample_format"),
    [one for one in FORMATS if one[3] == "stereo"],
)
def test_both_channels_are_kept_on_request(
    tmp_path: Path, name: str, codec: str, rate: int, layout: str, sample_format: str
) -> None:
    record(tmp_path / name, codec, rate, layout, sample_format)
    file = open_audio(tmp_path / name, separate=True)
    assert file.channels == 2
    sound = array("h", everything(file))
    for channel in (sound[0::2], sound[1::2]):
        assert len(channel) / 16_000 == pytest.approx(SECONDS, abs=0.15)
        assert pitch(channel[4000:-4000].tobytes()) == pytest.approx(TONE, abs=3)
