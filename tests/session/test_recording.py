"""A session that is recorded, from the settings to the file and back into its events."""

from pathlib import Path

import pytest

from pipeline.audio.pcm import Format, mulaw_to_pcm
from pipeline.config.settings import JournalSettings
from pipeline.recordings.files import chunks, find
from pipeline.recordings.wav import WavFormat, header_of
from pipeline.session.recording import recorded, recorder_of
from tests.support.session_fixture import Stage

TELEPHONE = Format("pcm_mulaw", 8000, ("caller", "agent"))
SOUND = bytes(range(256)) * 10


def clock() -> float:
    return 1_795_435_200.0  # Unix seconds


async def test_mulaw_is_recorded_as_samples_of_16_bits(tmp_path: Path) -> None:
    stage = Stage(audio=TELEPHONE)
    async with recorder_of(JournalSettings(record=str(tmp_path)), clock) as recorder:
        with recorded(stage.session, TELEPHONE, recorder):
            async with stage.open() as session:
                await session.audio(SOUND)
                await session.finish()
    found = find(tmp_path, "s1")
    assert found is not None
    sound = mulaw_to_pcm(SOUND)
    assert b"".join(chunks(found)) == header_of(WavFormat(8000, 2), len(sound)) + sound


async def test_a_recording_that_stops_is_an_event_and_the_session_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.recordings.recorder.MAX_WAITING", 1000)  # bytes
    stage = Stage()
    async with recorder_of(JournalSettings(record=str(tmp_path)), clock) as recorder:
        with recorded(stage.session, Format(), recorder):
            async with stage.open() as session:
                await session.audio(bytes(16_000))
                await session.finish()
    (said,) = stage.said("error")
    assert said["error"]["type"] == "recording_error"
    assert stage.said("session.ended")[0]["reason"] == "source_ended"
    assert stage.speech.sent == 16_000


async def test_without_a_directory_nothing_is_recorded() -> None:
    stage = Stage()
    async with recorder_of(JournalSettings(), clock) as recorder:
        with recorded(stage.session, Format(), recorder):
            assert stage.session.audio_sink is None
