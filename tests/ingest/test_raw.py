"""The raw format: sample rates, channels, refusals."""

from array import array
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.ingest.pcm import Mixer, expand
from pipeline.ingest.raw import RawAdapter
from pipeline.protocol.close_codes import CloseCode, Disconnect
from pipeline.protocol.commands import AudioFormat, SessionEndCommand, StartCommand
from pipeline.runtime.containers import MOST_HEAD
from tests.ingest.garbage import complaint, garbage
from tests.support.media import KINDS, record, sine


def started(audio: str) -> tuple[RawAdapter, StartCommand]:
    adapter = RawAdapter()
    (start,) = adapter.receive(f'{{"type":"session.start","audio":{audio}}}')
    assert isinstance(start, StartCommand)
    return adapter, start


def stereo(*frames: tuple[int, int]) -> bytes:
    return array("h", [sample for frame in frames for sample in frame]).tobytes()


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
def test_any_valid_sample_rate_is_kept(rate: int) -> None:
    adapter, start = started(f'{{"sample_rate":{rate}}}')
    assert start.audio == AudioFormat("pcm_s16le", rate, 1)
    assert adapter.receive(b"abcd") == (b"abcd",)


@pytest.mark.parametrize("rate", [0, 7999, 96001, 1 << 40])
def test_other_sample_rates_are_refused(rate: int) -> None:
    with pytest.raises(InputError, match=r"audio.sample_rate is \d+; it must be 8000 to 96000"):
        started(f'{{"sample_rate":{rate}}}')


@pytest.mark.parametrize("channels", [0, -1, 9])
def test_an_unlikely_number_of_channels_is_refused(channels: int) -> None:
    with pytest.raises(InputError, match=r"audio.channels is -?\d; it must be 1 to 8"):
        started(f'{{"channels":{channels}}}')


def test_stereo_becomes_the_mean_of_both_sides() -> None:
    adapter, start = started('{"sample_rate":48000,"channels":2}')
    assert start.audio == AudioFormat("pcm_s16le", 48000, 1)
    sound = stereo((100, 300), (-32768, -32768), (32767, 32767), (-1000, 1000))
    assert adapter.receive(sound) == (array("h", [200, -32768, 32767, 0]).tobytes(),)


def test_stereo_mulaw_is_expanded_before_it_is_mixed() -> None:
    adapter, start = started('{"encoding":"pcm_mulaw","sample_rate":8000,"channels":2}')
    assert start.audio == AudioFormat("pcm_s16le", 8000, 1)
    (mixed,) = adapter.receive(b"\x80\x00" * 3)  # the loudest codes, of opposite signs
    assert mixed == bytes(6)


@given(st.binary(max_size=200), st.integers(1, 8), st.lists(st.integers(1, 50), max_size=20))
def test_message_boundaries_do_not_matter(data: bytes, channels: int, cuts: list[int]) -> None:
    mixer, pieces, at = Mixer(channels), list[bytes](), 0
    for cut in cuts:
        pieces.append(mixer.feed(data[at : at + cut]))
        at += cut
    pieces.append(mixer.feed(data[at:]))
    assert b"".join(pieces) == Mixer(channels).feed(data)


def test_g711_expands_to_its_table() -> None:
    # ITU-T G.711 tables 1a and 2a: both ends and the middle of each law.
    mulaw = array("h", expand(b"\x00\x80\x7f\xff\x0f\x8f", "mulaw"))
    assert list(mulaw) == [-32124, 32124, 0, 0, -16764, 16764]
    alaw = array("h", expand(b"\x2a\xaa\x55\xd5\x00\x80", "alaw"))
    assert list(alaw) == [-32256, 32256, -8, 8, -5504, 5504]


def test_a_session_without_audio_refuses_audio() -> None:
    adapter, start = started("null")
    assert start.audio is None
    with pytest.raises(InputError, match="audio: null"):
        adapter.receive(b"\0\0")


def test_nothing_is_accepted_before_the_start() -> None:
    for message in (b"\0\0", '{"type":"session.end"}', '{"type":"turn.commit"}'):
        with pytest.raises(InputError, match=r"session\.start"):
            RawAdapter().receive(message)


def test_a_session_starts_once_and_ignores_audio_after_its_end() -> None:
    adapter, _ = started("{}")
    with pytest.raises(InputError, match="twice"):
        adapter.receive('{"type":"session.start"}')
    assert adapter.receive('{"type":"session.end"}') == (SessionEndCommand(),)
    assert adapter.receive(b"\0\0") == ()


@given(garbage)
def test_garbage_is_refused_with_a_message(message: bytes | str) -> None:
    adapter, _ = started('{"channels":2}')
    try:
        said = complaint(adapter, message)
    except Disconnect as disconnect:  # it began like a recording
        said = str(disconnect)
    assert said is None or len(said) > 10


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 16])
def test_a_recording_in_place_of_raw_audio_is_refused_by_its_name(
    tmp_path: Path, kind: str, size: int
) -> None:
    data = record(tmp_path / f"a.{kind}", [(0, 1, 440)]).read_bytes()
    adapter = RawAdapter()
    adapter.receive('{"type": "session.start"}')
    pieces = [data[at : at + size] for at in range(0, MOST_HEAD + size, size)]
    with pytest.raises(Disconnect, match="not raw audio: decode it") as refused:
        deque(map(adapter.receive, pieces), maxlen=0)
    assert refused.value.code == CloseCode.BAD_REQUEST
    assert len(str(refused.value)) < 123  # fits the reason of a close


@pytest.mark.parametrize("sound", [bytes(8000), b"\xff" * 8000, sine(0.5, 440, 16_000)])
def test_raw_audio_passes_unchanged_in_pieces_of_any_length(sound: bytes) -> None:
    adapter = RawAdapter()
    adapter.receive('{"type": "session.start"}')
    passed = b""
    for at in range(0, len(sound), 333):
        (piece,) = adapter.receive(sound[at : at + 333])
        assert isinstance(piece, bytes)
        passed += piece
    assert passed == sound
