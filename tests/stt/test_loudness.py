"""Telling speech from a pause by the audio alone."""

import pytest

from pipeline.stt.loudness import level, quiet, speech_share

LOUD, SOFT, STILL = b"\x00\x40" * 800, b"\x00\x02" * 800, bytes(1600)


def test_a_level_is_the_peak_of_either_sign() -> None:
    assert level(LOUD, "pcm_s16le") == 0x4000
    assert level((-9000).to_bytes(2, "little", signed=True) * 800, "pcm_s16le") == 9000
    assert level(b"", "pcm_s16le") == 0


def test_mulaw_levels_are_of_the_same_size() -> None:
    assert level(b"\xff" * 400, "pcm_mulaw") < 500  # silence
    assert level(b"\x00" * 400, "pcm_mulaw") > 30_000  # full scale


@pytest.mark.parametrize(
    ("frames", "still"),
    [
        ([LOUD] * 10 + [STILL] * 2, True),
        ([LOUD] * 10 + [STILL], False),
        ([LOUD] * 10 + [SOFT] * 2, True),  # far below the voice
        ([STILL] * 10, True),
        ([STILL] * 10 + [LOUD], False),
        ([], False),
    ],
)
def test_a_pause_is_two_frames_far_below_the_voice(frames: list[bytes], still: bool) -> None:
    assert quiet(frames, "pcm_s16le") is still


def test_compressed_audio_is_never_a_pause() -> None:
    assert not quiet([STILL] * 10, "opus")


def test_the_share_of_speech_is_counted_in_frames() -> None:
    assert speech_share([LOUD, STILL, LOUD, STILL], "pcm_s16le") == 0.5
    assert speech_share([], "pcm_s16le") == 0.0
