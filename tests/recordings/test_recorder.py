"""Tapes and their thread: what was given is written, and trouble stays with its recording."""

import shutil
from pathlib import Path

import anyio
import pytest

from pipeline.audio.pcm import mulaw_to_pcm
from pipeline.errors import RecordingError
from pipeline.recordings import files, recorder
from pipeline.recordings.files import StoredRecording, find
from pipeline.recordings.recorder import Recorder, RecordingRetention, recording
from pipeline.recordings.wav import Shape

NOON = 1_795_435_200.0  # Unix seconds
KEEPING = RecordingRetention(seconds=1000.0, size=1 << 30)
MONO = Shape(16_000)
FRAME = b"\x01\x02" * 800


def clock() -> float:
    return NOON


def samples(found: StoredRecording | None) -> bytes:
    assert found is not None
    return found.path.read_bytes()[found.start :][: found.size]


async def test_what_was_given_before_the_end_is_written(tmp_path: Path) -> None:
    told: list[str] = []
    async with recording(tmp_path, KEEPING, clock) as tapes:
        one = tapes.open("one", MONO, None, told.append)
        two = tapes.open("two", Shape(8_000), mulaw_to_pcm, told.append)
        tapes.open("silent", MONO, None, told.append).close()
        for _ in range(3):
            one.write(FRAME)
            two.write(b"\xff\x00")
        one.close()
    assert samples(find(tmp_path, "one")) == FRAME * 3
    assert samples(find(tmp_path, "two")) == b"\x00\x00\x84\x82" * 3
    assert find(tmp_path, "silent") is None
    assert told == []


async def test_a_disk_that_takes_nothing_costs_the_recording_and_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MOST", 10 * len(FRAME))
    told: list[str] = []
    stuck = Recorder(tmp_path, KEEPING, clock)  # its thread does not run yet
    tape = stuck.open("s1", MONO, None, told.append)
    for _ in range(100):
        tape.write(FRAME)
    assert told == [
        "the audio is not recorded from here on: the disk is too slow: 0 MiB wait for it"
    ]
    assert stuck.waiting == 10 * len(FRAME)
    tape.close()
    stuck.stop()
    await anyio.to_thread.run_sync(stuck.work)
    assert samples(find(tmp_path, "s1")) == FRAME * 10


async def test_a_recording_that_cannot_be_written_says_so_once_and_the_next_may(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "there"
    told: list[str] = []
    failed = anyio.Event()

    def tell(why: str) -> None:
        told.append(why)
        failed.set()

    async with recording(folder, KEEPING, clock) as tapes:
        shutil.rmtree(folder)
        tape = tapes.open("s1", MONO, None, tell)
        tape.write(FRAME)
        await failed.wait()
        folder.mkdir()
        tape.write(FRAME)  # out of place now, so not recorded
        tape.close()
        other = tapes.open("s2", MONO, None, told.append)
        other.write(FRAME)
        other.close()
    assert told == ["the audio is not recorded from here on: No such file or directory"]
    assert find(folder, "s1") is None
    assert samples(find(folder, "s2")) == FRAME


async def test_what_comes_before_the_failure_is_known_is_not_put_out_of_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "there"

    def repair(*_: object) -> int:
        folder.mkdir()
        return 0

    monkeypatch.setattr(files, "erase", repair)
    async with recording(folder, KEEPING, clock) as tapes:
        folder.rmdir()
        tape = tapes.open("s1", MONO, None, print)
        tape.write(FRAME)
        tapes.forget("another")  # here the directory is back
        tape.write(FRAME)
        tape.close()
    assert list(folder.iterdir()) == []


async def test_what_is_removed_was_written_before(tmp_path: Path) -> None:
    async with recording(tmp_path, KEEPING, clock) as tapes:
        for name in ("gone", "kept", "live"):
            tape = tapes.open(name, MONO, None, print)
            tape.write(FRAME)
            if name != "live":
                tape.close()
        assert await tapes.erase("gone")
        assert not await tapes.erase("gone")
        tapes.forget("live")  # the journal kept an older one of that name
    assert await _names(tmp_path) == ["kept", "live"]


async def test_old_recordings_go_when_it_starts(tmp_path: Path) -> None:
    async with recording(tmp_path, KEEPING, clock) as tapes:
        tapes.open("old", MONO, None, print).write(FRAME)
    async with recording(tmp_path, RecordingRetention(seconds=0, size=1), lambda: NOON * 2):
        pass
    assert await _names(tmp_path) == []


async def test_who_erases_is_told_that_it_could_not_be(tmp_path: Path) -> None:
    (tmp_path / "s1.20261123T120000000.wav").mkdir()  # which is not removed like a file
    async with recording(tmp_path, KEEPING, clock) as tapes:
        with pytest.raises(RecordingError, match="cannot be emptied: Is a directory"):
            await tapes.erase("s1")


async def _names(folder: Path) -> list[str]:
    return sorted([path.name.split(".")[0] async for path in anyio.Path(folder).iterdir()])
