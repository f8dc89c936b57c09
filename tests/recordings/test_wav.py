"""The head of a WAV file, as another reader understands it."""

import io
import wave

import pytest

from pipeline.recordings.wav import HEADER_BYTES, WavFormat, header_of, wav_format_in


@pytest.mark.parametrize("shape", [WavFormat(16_000), WavFormat(8_000, 2), WavFormat(48_000, 3)])
def test_pythons_own_reader_understands_it(shape: WavFormat) -> None:
    samples = bytes(range(shape.block)) * 100
    with wave.open(io.BytesIO(header_of(shape, len(samples)) + samples)) as found:
        header = found.getframerate(), found.getnchannels(), found.getsampwidth()
        assert header == (shape.sample_rate, shape.channels, 2)
        assert found.readframes(1000) == samples


def test_it_tells_its_shape_again_whatever_the_lengths_in_it() -> None:
    assert wav_format_in(header_of(WavFormat(44_100, 2), 12)) == WavFormat(44_100, 2)


def test_what_is_no_head_of_ours_has_no_shape() -> None:
    head = header_of(WavFormat(8_000), 0)
    assert wav_format_in(head[:-1]) is None
    assert wav_format_in(bytes(HEADER_BYTES)) is None
    assert wav_format_in(head.replace(b"WAVE", b"AVI ")) is None
    assert wav_format_in(head.replace(b"\x10\x00data", b"\x18\x00data")) is None  # 24 bits
