"""Frames, mu-law and the audio clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.audio.pcm import AudioClock, Format, Framer, mulaw_to_pcm, pcm_to_mulaw


@given(st.lists(st.binary(max_size=5000), max_size=20))
def test_frames_hold_every_byte_in_order(chunks: list[bytes]) -> None:
    framer = Framer(Format())
    frames = [frame for chunk in chunks for frame in framer.feed(chunk)]
    assert all(len(frame) == 1600 for frame in frames)
    rest = framer.flush()
    sound = b"".join(chunks)
    assert b"".join(frames) + rest == sound[: len(sound) - len(sound) % 2]
    assert framer.flush() == b""


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 96_000])
def test_a_frame_is_never_shorter_than_50_ms(rate: int) -> None:
    audio = Format(sample_rate=rate)
    assert 0.05 <= audio.seconds(audio.frame_bytes) < 0.051


def test_mulaw_survives_a_round_trip() -> None:
    codes = bytes(code for code in range(256) if code != 0x7F)  # a second zero
    assert pcm_to_mulaw(mulaw_to_pcm(codes)) == codes


def test_silence_is_silent_in_both_encodings() -> None:
    plain, telephone = Format(), Format("pcm_mulaw", 8000)
    assert plain.silence(0.05) == bytes(1600)
    assert mulaw_to_pcm(telephone.silence(0.05)) == bytes(800)


def test_the_clock_returns_when_a_position_arrived() -> None:
    clock = AudioClock()
    for frame in range(20):
        clock.advance(0.05, now=100 + 0.05 * (frame + 1))
    assert clock.position == pytest.approx(1.0)
    assert clock.heard_at(0.98) == pytest.approx(100.98)
    assert clock.heard_at(9.0) == pytest.approx(101.0)


def test_a_position_does_not_arrive_before_the_previous_frame() -> None:
    clock = AudioClock()
    clock.advance(1.0, now=10.0)
    clock.advance(1.0, now=10.1)  # a burst
    assert clock.heard_at(1.1) == 10.0


def test_the_clock_drops_old_marks() -> None:
    clock = AudioClock(marks=10)
    for frame in range(1000):
        clock.advance(0.05, now=0.05 * (frame + 1))
    assert clock.heard_at(1.0) is None
    assert clock.heard_at(49.99) == pytest.approx(49.99)
    assert clock.position == pytest.approx(50.0)


def test_out_of_real_time_no_position_has_a_time() -> None:
    clock = AudioClock(real_time=False)
    clock.advance(0.05, 100.0)
    assert clock.heard_at(0.02) is None
    assert clock.position == 0.05
