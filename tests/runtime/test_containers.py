"""Recognition of containers: every common one, and never raw audio."""

import random
from pathlib import Path

import pytest

from pipeline.runtime.containers import HEAD, MOST_HEAD, container_of, is_undecided
from tests.support.media import KINDS, record, sine


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_recording_is_recognised_by_its_first_bytes(
    tmp_path: Path, kind: str, channels: int
) -> None:
    data = record(tmp_path / f"a.{kind}", [(0, 1, 440)], channels=channels).read_bytes()
    head = next(data[:size] for size in range(len(data)) if not is_undecided(data[:size]))
    assert container_of(head) is not None
    assert len(head) <= MOST_HEAD


def test_an_mp3_without_a_tag_is_recognised(tmp_path: Path) -> None:
    data = record(tmp_path / "a.mp3", [(0, 1, 440)]).read_bytes()
    start = 10 + int.from_bytes(data[8:10], "big")  # behind ID3
    assert container_of(data[start : start + MOST_HEAD]) == "MP3"


@pytest.mark.parametrize(
    "head", [b"", b"\0" * MOST_HEAD, b"\xff" * MOST_HEAD, b"\x7f" * MOST_HEAD, sine(1, 440, 8000)]
)
def test_raw_audio_is_no_container(head: bytes) -> None:
    assert container_of(head[:MOST_HEAD]) is None


def test_random_audio_is_no_container_and_needs_few_bytes() -> None:
    chance = random.Random(14)
    undecided = 0
    for _ in range(5000):
        head = b"\xff" * chance.randrange(2) + chance.randbytes(MOST_HEAD - 1)
        assert container_of(head) is None
        undecided += is_undecided(head[:HEAD])
    assert undecided < 1000
