"""Resampling of live audio to 16 kHz, frame by frame."""

import math
from array import array
from itertools import pairwise

import pytest

from pipeline.audio.resample import Resampler

TONE = 440.0  #: hertz


def tone(rate: int, seconds: float, channels: int = 1) -> bytes:
    times = (n / rate for n in range(round(rate * seconds)))
    wave = (round(12_000 * math.sin(2 * math.pi * TONE * t)) for t in times)
    return array("h", [value for value in wave for _ in range(channels)]).tobytes()


def pitch(sound: bytes, rate: int) -> float:
    rises = sum(a < 0 <= b for a, b in pairwise(array("h", sound)))
    return rises / (len(sound) / 2 / rate)


@pytest.mark.parametrize("rate", [22_050, 24_000, 32_000, 44_100, 48_000, 96_000])
def test_every_frame_is_resampled_at_once_and_whole(rate: int) -> None:
    resampler, size = Resampler(rate), 2 * -(-rate // 20)
    sound = tone(rate, 2.2)[: 40 * size]
    out = [resampler.feed(sound[at : at + size]) for at in range(0, len(sound), size)]
    assert min(map(len, out)) >= 1600
    assert sum(map(len, out)) == pytest.approx(len(sound) * 16_000 / rate, abs=4)
    assert pitch(b"".join(out), 16_000) == pytest.approx(TONE, rel=0.02)


@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
def test_two_channels_become_their_mean(rate: int) -> None:
    loud, still = array("h", tone(rate, 1)), bytes(2)
    pairs = b"".join(loud[n : n + 1].tobytes() + still for n in range(len(loud)))
    resampler = Resampler(rate, stereo=True)
    out = resampler.feed(pairs)
    assert resampler.sample_rate == min(rate, 16_000)
    assert max(array("h", out)) == pytest.approx(6000, abs=150)
    assert pitch(out, resampler.sample_rate) == pytest.approx(TONE, rel=0.02)


def test_chunks_of_any_length_give_the_same_output() -> None:
    sound, whole, pieces = tone(48_000, 1), Resampler(48_000), Resampler(48_000)
    cut = b"".join(pieces.feed(sound[at : at + 1001]) for at in range(0, len(sound), 1001))
    assert cut == whole.feed(sound)[: len(cut)]
    assert len(cut) == pytest.approx(32_000, abs=4)
