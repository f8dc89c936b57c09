"""The head of a WAV file, as another reader understands it."""

import io
import wave

import pytest

from pipeline.recordings.wav import HEAD, Shape, head_of, shape_in


@pytest.mark.parametrize("shape", [Shape(16_000), Shape(8_000, 2), Shape(48_000, 3)])
def test_pythons_own_reader_understands_it(shape: Shape) -> None:
    samples = bytes(range(shape.block)) * 100
    with wave.open(io.BytesIO(head_of(shape, len(samples)) + samples)) as found:
        told = found.getframerate(), found.getnchannels(), found.getsampwidth()
        assert told == (shape.sample_rate, shape.channels, 2)
        assert found.readframes(1000) == samples


def test_it_tells_its_shape_again_whatever_the_lengths_in_it() -> None:
    assert shape_in(head_of(Shape(44_100, 2), 12)) == Shape(44_100, 2)


def test_what_is_no_head_of_ours_has_no_shape() -> None:
    head = head_of(Shape(8_000), 0)
    assert shape_in(head[:-1]) is None
    assert shape_in(bytes(HEAD)) is None
    assert shape_in(head.replace(b"WAVE", b"AVI ")) is None
    assert shape_in(head.replace(b"\x10\x00data", b"\x18\x00data")) is None  # 24 bits
