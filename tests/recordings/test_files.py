"""Files of recordings: whole at any moment, found again, removed."""

import os
import wave
from pathlib import Path

import pytest

from pipeline.errors import RecordingError
from pipeline.recordings import files
from pipeline.recordings.files import RecordingFile, chunks, erase, find, remove_old
from pipeline.recordings.wav import HEADER_BYTES, WavFormat

NOON = 1_795_435_200.0  # Unix seconds
SOUND = bytes(range(100))


def recorded(folder: Path, session_id: str, sound: bytes = SOUND, now: float = NOON) -> Path:
    file = RecordingFile(folder, session_id, WavFormat(8_000), now)
    file.write(sound)
    file.close()
    return folder / file.name


def test_between_any_two_writes_the_file_is_whole(tmp_path: Path) -> None:
    file = RecordingFile(tmp_path, "s1", WavFormat(8_000, 2), NOON)
    for count in range(3):
        with wave.open(str(tmp_path / file.name)) as found:
            assert found.readframes(1000) == SOUND * count
        file.write(SOUND)
    file.close()


def test_only_the_services_own_user_may_read_it(tmp_path: Path) -> None:
    assert recorded(tmp_path, "s1").stat().st_mode & 0o777 == 0o600
    files.prepare(tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_killed_before_the_lengths_were_written_nothing_of_it_is_lost(tmp_path: Path) -> None:
    path = recorded(tmp_path, "s1")
    with path.open("ab") as file:
        file.write(SOUND + b"\0")  # and half a sample
    found = find(tmp_path, "s1")
    assert found is not None
    copy = tmp_path / "copy.wav"
    copy.write_bytes(b"".join(chunks(found)))
    with wave.open(str(copy)) as whole:
        assert whole.readframes(1000) == SOUND * 2
    assert copy.stat().st_size == HEADER_BYTES + len(SOUND) * 2


def test_the_newest_recording_of_a_session_is_found(tmp_path: Path) -> None:
    for number, session_id in enumerate(("a", "a", "b")):
        recorded(tmp_path, session_id, now=NOON + number)
    found = find(tmp_path, "a")
    assert found is not None
    assert found.path == tmp_path / "a.20261123T120001000.wav"
    assert find(tmp_path, "c") is None
    assert find(tmp_path / "nowhere", "a") is None


def test_a_file_that_another_program_overwrote_is_refused(tmp_path: Path) -> None:
    recorded(tmp_path, "s1").write_bytes(b"not audio")
    with pytest.raises(RecordingError, match="not a recording of this service"):
        find(tmp_path, "s1")


def test_erasing_takes_what_is_the_sessions_and_not_in_use(tmp_path: Path) -> None:
    live = recorded(tmp_path, "a", now=NOON + 1)
    recorded(tmp_path, "a")
    other = recorded(tmp_path, "b")
    (tmp_path / "notes.txt").touch()
    assert erase(tmp_path, "a", {live.name}) == 1
    assert erase(tmp_path, "../b") == 0
    assert {each.name for each in tmp_path.iterdir()} == {live.name, other.name, "notes.txt"}


def test_tidying_removes_old_ones_and_nothing_that_is_not_a_recording(tmp_path: Path) -> None:
    old, young = recorded(tmp_path, "old"), recorded(tmp_path, "young")
    notes = tmp_path / "notes.txt"
    notes.touch()
    for path in (old, notes):
        os.utime(path, (NOON - 100, NOON - 100))
    remove_old(tmp_path, before=NOON - 50, most=1 << 20, in_use=())
    assert set(tmp_path.iterdir()) == {young, notes}


def test_a_directory_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordingError, match="cannot be made: Not a directory"):
        files.prepare(tmp_path / "file" / "below")
