"""Conversion of received audio to 16 kHz in whole chunks."""

import numpy as np
import pytest

from pipeline.embedded.stt_wire import Parameters

pytest.importorskip("ctranslate2", reason="the embedded engines are not installed")

from pipeline.embedded.audio_input import AudioBuffer, AudioInput


def heard(
    intake: AudioInput, audio: bytes, size: int
) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    frames = [intake.chunks(audio[at : at + size]) for at in range(0, len(audio), size)]
    return np.concatenate([*frames, intake.flush()])


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 96_000])
def test_a_second_stays_a_second_and_keeps_its_tone(rate: int) -> None:
    tone = (np.sin(2 * np.pi * 440 * np.arange(rate) / rate) * 10_000).astype("<i2")

    samples = heard(AudioInput(rate, mulaw=False), tone.tobytes(), 1001)

    assert 16_000 <= samples.size < 16_000 + 512
    assert samples.size % 512 == 0
    spectrum = np.abs(np.fft.rfft(samples[:16_000].astype(np.float64)))
    assert abs(int(spectrum.argmax()) - 440) <= 1


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
def test_the_size_of_the_frames_changes_no_sample(rate: int) -> None:
    audio = np.random.default_rng(1).normal(0, 3000, rate).astype("<i2").tobytes()

    whole = heard(AudioInput(rate, mulaw=False), audio, len(audio))

    for size in (rate // 10, 1234, 321):
        np.testing.assert_array_equal(heard(AudioInput(rate, mulaw=False), audio, size), whole)


def test_mulaw_is_expanded() -> None:
    # G.711: both zeros, the quietest and the loudest of either sign
    codes = bytes([0xFF, 0x7F, 0xFE, 0x80, 0x00])

    samples = AudioInput(16_000, mulaw=True).chunks(codes + bytes([0xFF]) * 507)

    assert samples[:5].tolist() == [0, 0, 8, 32124, -32124]


def test_a_sample_split_over_two_frames_is_not_lost() -> None:
    intake = AudioInput(16_000, mulaw=False)
    audio = np.arange(512, dtype="<i2").tobytes()

    assert intake.chunks(audio[:333]).size == 0
    assert intake.chunks(audio[333:]).tolist() == list(range(512))


def test_the_buffer_drops_old_audio_without_moving_the_rest() -> None:
    tape = AudioBuffer()
    for chunk in range(100):
        tape.append(np.full(512, chunk, np.int16))
        tape.drop_before(chunk - 10)

    kept = tape.between(95, 97) * 32768
    assert kept[[0, 511, 512]].tolist() == [95, 95, 96]


def test_bytes_per_second_follow_the_encoding() -> None:
    assert Parameters(sample_rate=8000, encoding="pcm_mulaw").bytes_per_second == 8000
    assert Parameters().bytes_per_second == 32_000
