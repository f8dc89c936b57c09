"""Names of recordings, and which of them go."""

import pytest

from pipeline.recordings.retention import (
    RecordingEntry,
    file_name_of,
    of_session,
    removable,
    session_of,
)

NOON = 1_795_435_200.25  # Unix seconds: 23 November 2026, 12:00:00.250


@pytest.mark.parametrize("session_id", ["call-1", "a.b", "a.20261123T120000250", "../x", "é/%"])
def test_a_name_tells_whose_it_is_and_stays_in_its_directory(session_id: str) -> None:
    name = file_name_of(session_id, NOON)
    assert session_of(name) == session_id
    assert "/" not in name
    assert name.endswith(".20261123T120000250.wav")


@pytest.mark.parametrize("name", ["call-1.wav", ".20261123T120000250.wav", "x.flac", "wav"])
def test_a_file_that_is_not_ours_belongs_to_no_session(name: str) -> None:
    assert session_of(name) is None


def test_the_recordings_of_a_session_are_its_own_oldest_first() -> None:
    mine, later, other = (
        file_name_of("a", NOON),
        file_name_of("a", NOON + 1),
        file_name_of("a.b", NOON),
    )
    assert of_session("a", [later, other, mine, "notes.txt"]) == [mine, later]


def kept(name: str, changed: float, size: int = 10) -> RecordingEntry:
    return RecordingEntry(name, changed, size)


def gone(
    *files: RecordingEntry, before: float = 0.0, most: int = 1000, in_use: str = ""
) -> list[str]:
    return sorted(each.name for each in removable(files, before=before, most=most, in_use={in_use}))


def test_what_is_too_old_goes() -> None:
    assert gone(kept("old", 4.0), kept("young", 6.0), before=5.0) == ["old"]


def test_past_the_size_the_oldest_go() -> None:
    assert gone(kept("a", 1.0), kept("b", 2.0), kept("c", 3.0), most=20) == ["a"]
    assert gone(kept("a", 1.0), kept("b", 2.0, size=25), most=20) == ["a", "b"]


def test_what_is_in_use_stays_and_takes_its_room() -> None:
    files = kept("a", 1.0), kept("b", 2.0), kept("live", 3.0, size=15)
    assert gone(*files, before=9.0, most=20, in_use="live") == ["a", "b"]
    assert gone(*files, most=25, in_use="live") == ["a"]
