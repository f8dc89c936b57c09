"""Silence between the blocks of a recording, from their timestamps."""

import random

import pytest

from pipeline.audio.gaps import LONGEST_GAP, SLACK, GapFiller

BLOCK = 0.02


def played(timestamps: list[float | None], start: float | None = 0.0) -> list[float]:
    """Return where each block begins."""
    filler = GapFiller(start)
    begins: list[float] = []
    for at in timestamps:
        filler.silence_before(at, BLOCK)
        begins.append(round(filler.position - BLOCK, 6))
    return begins


@pytest.mark.parametrize(
    ("timestamps", "start", "begins"),
    [
        ([0.0, 0.02, 0.04], 0.0, [0.0, 0.02, 0.04]),
        ([0.0, 0.02, 7.04], 0.0, [0.0, 0.02, 7.04]),  # a gap
        ([4.0, 4.02], 0.0, [4.0, 4.02]),  # a late start
        ([4.0, 4.02], 4.0, [0.0, 0.02]),  # all of the recording begins late
        ([9.0, 9.02], None, [0.0, 0.02]),  # no beginning is stated
        ([None, None, None], 0.0, [0.0, 0.02, 0.04]),
        ([8.0, 8.02, 0.0, 0.02, 3.0], 8.0, [0.0, 0.02, 0.04, 0.06, 3.04]),  # a new count
        ([0.0, 1e9, 1e9 + 0.02], 0.0, [0.0, 0.02, 0.04]),  # an invalid jump
        ([0.0, 0.021, 0.041, 0.06], 0.0, [0.0, 0.02, 0.04, 0.06]),  # jitter
    ],
)
def test_blocks_begin_where_their_timestamps_say(
    timestamps: list[float | None], start: float | None, begins: list[float]
) -> None:
    assert played(timestamps, start) == begins


def test_no_timestamps_make_blocks_overlap_or_silence_without_bound() -> None:
    chance = random.Random(14)
    for _ in range(200):
        filler = GapFiller(chance.choice([None, 0.0, 5.0]))
        for _ in range(50):
            before = filler.position
            at = chance.choice([None, chance.uniform(-1e6, 1e6), before + chance.uniform(0, 2)])
            silence = filler.silence_before(at, BLOCK)
            assert silence == 0 or SLACK < silence <= LONGEST_GAP
            assert filler.position == pytest.approx(before + silence + BLOCK)
