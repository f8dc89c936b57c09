"""Tapes and their thread: what was given is written, and trouble stays with its recording."""

import shutil
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from pipeline.audio.pcm import mulaw_to_pcm
from pipeline.errors import RecordingError
from pipeline.recordings import files, recorder
from pipeline.recordings.files import StoredRecording, find
from pipeline.recordings.recorder import Recorder, RecordingRetention, recording
from pipeline.recordings.wav import WavFormat

NOON = 1_795_435_200.0  # Unix seconds
KEEPING = RecordingRetention(seconds=1000.0, size=1 << 30)
MONO = WavFormat(16_000)
FRAME = b"\x01\x02" * 800


def clock() -> float:
    return NOON


def samples(found: StoredRecording | None) -> bytes:
    assert found is not None
    return found.path.read_bytes()[found.start :][: found.size]


async def test_what_was_given_before_the_end_is_written(tmp_path: Path) -> None:
    failures: list[str] = []
    async with recording(tmp_path, KEEPING, clock) as recorder:
        one = recorder.open("one", MONO, None, failures.append)
        two = recorder.open("two", WavFormat(8_000), mulaw_to_pcm, failures.append)
        recorder.open("silent", MONO, None, failures.append).close()
        for _ in range(3):
            one.write(FRAME)
            two.write(b"\xff\x00")
        one.close()
    assert samples(find(tmp_path, "one")) == FRAME * 3
    assert samples(find(tmp_path, "two")) == b"\x00\x00\x84\x82" * 3
    assert find(tmp_path, "silent") is None
    assert failures == []


async def test_a_disk_that_takes_nothing_costs_the_recording_and_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MAX_WAITING", 10 * len(FRAME))
    failures: list[str] = []
    stuck = Recorder(tmp_path, KEEPING, clock)  # its thread does not run yet
    track = stuck.open("s1", MONO, None, failures.append)
    for _ in range(100):
        track.write(FRAME)
    assert failures == [
        "the audio is no longer recorded: the disk is too slow: 0 MiB are waiting to be written"
    ]
    assert stuck.waiting == 10 * len(FRAME)
    track.close()
    stuck.stop()
    await anyio.to_thread.run_sync(stuck.work)
    assert samples(find(tmp_path, "s1")) == FRAME * 10


async def test_a_recording_that_cannot_be_written_says_so_once_and_the_next_may(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "there"
    failures: list[str] = []
    failed = anyio.Event()

    def tell(why: str) -> None:
        failures.append(why)
        failed.set()

    async with recording(folder, KEEPING, clock) as recorder:
        shutil.rmtree(folder)
        track = recorder.open("s1", MONO, None, tell)
        track.write(FRAME)
        await failed.wait()
        folder.mkdir()
        track.write(FRAME)  # out of place now, so not recorded
        track.close()
        other = recorder.open("s2", MONO, None, failures.append)
        other.write(FRAME)
        other.close()
    assert failures == ["the audio is no longer recorded: No such file or directory"]
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
    async with recording(folder, KEEPING, clock) as recorder:
        folder.rmdir()
        track = recorder.open("s1", MONO, None, print)
        track.write(FRAME)
        recorder.erase_later("another")  # here the directory is back
        track.write(FRAME)
        track.close()
    assert list(folder.iterdir()) == []


async def test_what_is_removed_was_written_before(tmp_path: Path) -> None:
    async with recording(tmp_path, KEEPING, clock) as recorder:
        for name in ("gone", "kept", "live"):
            track = recorder.open(name, MONO, None, print)
            track.write(FRAME)
            if name != "live":
                track.close()
        assert await recorder.erase("gone")
        assert not await recorder.erase("gone")
        recorder.erase_later("live")  # the journal kept an older one of that name
    assert await _names(tmp_path) == ["kept", "live"]


async def test_old_recordings_go_when_it_starts(tmp_path: Path) -> None:
    async with recording(tmp_path, KEEPING, clock) as recorder:
        recorder.open("old", MONO, None, print).write(FRAME)
    async with recording(tmp_path, RecordingRetention(seconds=0, size=1), lambda: NOON * 2):
        pass
    assert await _names(tmp_path) == []


async def test_who_erases_is_told_that_it_could_not_be(tmp_path: Path) -> None:
    (tmp_path / "s1.20261123T120000000.wav").mkdir()  # which is not removed like a file
    async with recording(tmp_path, KEEPING, clock) as recorder:
        with pytest.raises(RecordingError, match="cannot be emptied: Is a directory"):
            await recorder.erase("s1")


async def _names(folder: Path) -> list[str]:
    return sorted([path.name.split(".")[0] async for path in anyio.Path(folder).iterdir()])


async def test_an_unforeseen_error_costs_its_own_recording_only(tmp_path: Path) -> None:
    def odd(frame: bytes) -> bytes:
        raise OverflowError("odd")

    failures: list[str] = []
    async with recording(tmp_path, KEEPING, clock) as recorder:
        one = recorder.open("one", MONO, odd, failures.append)
        two = recorder.open("two", MONO, None, failures.append)
        one.write(FRAME)
        two.write(FRAME)
        await recorder.find("two")
        await anyio.lowlevel.checkpoint()
        two.close()
    assert failures == ["the audio is no longer recorded: OverflowError: odd"]
    assert samples(find(tmp_path, "two")) == FRAME


async def test_an_unforeseen_error_of_a_search_is_reported_to_its_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(folder: Path, session_id: str) -> StoredRecording | None:
        raise OverflowError("odd")

    monkeypatch.setattr(files, "find", odd)
    async with recording(tmp_path, KEEPING, clock) as recorder:
        with pytest.raises(RecordingError, match="OverflowError"):
            await recorder.find("one")
