"""Mono mixes whose channels cancel one another out."""

import random
from array import array

import pytest

from pipeline.runtime.downmix import uncancelled

TONE = array("h", [9000, -9000, 7000, -5000] * 200)


def mixed(*channels: "array[int]") -> "array[int]":
    """Return the mix of ``channels`` as it would be played."""
    count = len(channels)
    interleaved = array("h", [value for frame in zip(*channels, strict=True) for value in frame])
    mean = array("h", [sum(frame) // count for frame in zip(*channels, strict=True)])
    return uncancelled(mean, interleaved, count)


def scaled(by: float) -> "array[int]":
    return array("h", [int(value * by) for value in TONE])


@pytest.mark.parametrize("others", [[-1.0], [-0.97], [-0.5, -0.5], [-1.0, 0.0]])
def test_sound_that_mixing_removes_is_taken_from_the_loudest_channel(others: list[float]) -> None:
    assert mixed(TONE, *map(scaled, others)) == TONE


@pytest.mark.parametrize("others", [[1.0], [0.0], [-0.5], [0.0] * 7])
def test_other_mixes_stay_as_they_are(others: list[float]) -> None:
    channels = [TONE, *map(scaled, others)]
    assert mixed(*channels)[0] == sum(channel[0] for channel in channels) // len(channels)


def test_noise_in_one_channel_is_not_raised_to_sound() -> None:
    chance = random.Random(14)
    hiss = array("h", [chance.randint(-100, 100) for _ in range(800)])
    inverse = array("h", [-value for value in hiss])
    assert set(mixed(hiss, inverse)) == {0}
