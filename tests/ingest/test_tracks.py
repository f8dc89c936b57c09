"""Two sides of a call, interleaved."""

from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.ingest.pcm import expand
from pipeline.ingest.telnyx import TelnyxAdapter
from pipeline.ingest.tracks import Tracks
from pipeline.ingest.twilio import TwilioAdapter
from pipeline.protocol.commands import AudioFormat, SessionEndCommand, StartCommand
from tests.ingest import calls
from tests.ingest.garbage import altered

CHUNK = 160  # 20 ms


def sides(interleaved: bytes) -> tuple[bytes, bytes]:
    return interleaved[0::2], interleaved[1::2]


def test_chunks_of_both_are_interleaved() -> None:
    tracks = Tracks(8000)
    assert tracks.feed("inbound", 0, b"a" * CHUNK) == b""
    assert tracks.feed("outbound", 0, b"b" * CHUNK) == b"ab" * CHUNK


def test_a_side_that_is_quiet_is_not_waited_for() -> None:
    tracks = Tracks(8000)
    out = b"".join(tracks.feed("inbound", 20 * n, b"a" * CHUNK) for n in range(50))
    inbound, outbound = sides(out)
    assert len(inbound) == 8000 - 1600  # 0.2 s are buffered
    assert (set(inbound), set(outbound)) == ({ord("a")}, {0xFF})


def test_a_chunk_is_placed_by_its_timestamp() -> None:
    tracks, out = Tracks(8000), b""
    for at, sound in ((0, b"a"), (40, b"c"), (20, b"b")):  # one comes late
        out += tracks.feed("inbound", at, sound * CHUNK)
    out += tracks.feed("outbound", 20, b"x" * CHUNK)
    inbound, outbound = sides(out + tracks.flush())
    assert inbound == b"a" * CHUNK + b"b" * CHUNK + b"c" * CHUNK
    assert outbound == b"\xff" * CHUNK + b"x" * CHUNK + b"\xff" * CHUNK


def test_audio_for_a_position_already_returned_is_dropped() -> None:
    tracks = Tracks(8000)
    for n in range(50):
        tracks.feed("inbound", 20 * n, b"a" * CHUNK)
    assert tracks.feed("outbound", 0, b"x" * CHUNK) == b""
    assert b"x" not in tracks.flush()


def test_a_wild_timestamp_does_not_fill_the_memory() -> None:
    tracks = Tracks(8000)
    tracks.feed("inbound", 0, b"a" * CHUNK)
    out = tracks.feed("inbound", 10**9, b"b" * CHUNK) + tracks.flush()
    assert sides(out)[0] == b"a" * CHUNK + b"b" * CHUNK


@pytest.mark.parametrize("shift", [0, 40])
def test_timestamps_that_begin_again_are_a_new_count(shift: int) -> None:
    tracks, out = Tracks(8000), b""
    stamps = [*range(0, 4000, 20), *range(shift, 2000 + shift, 20)]
    for at in stamps:
        out += tracks.feed("inbound", at, b"a" * CHUNK)
        out += tracks.feed("outbound", at, b"b" * CHUNK)
    assert sides(out + tracks.flush()) == (b"a" * CHUNK * 300, b"b" * CHUNK * 300)


def test_a_side_whose_timestamps_never_change_keeps_the_order_of_arrival() -> None:
    tracks = Tracks(8000)
    out = b"".join(tracks.feed("inbound", 7, bytes([n]) * CHUNK) for n in range(100))
    expected = b"".join(bytes([n]) * CHUNK for n in range(100))
    assert sides(out + tracks.flush())[0] == expected


def test_a_call_with_both_tracks_is_a_session_with_two_speakers() -> None:
    adapter = TwilioAdapter({"track": "both"})
    (start,) = adapter.receive(calls.text(calls.TWILIO_START))
    assert isinstance(start, StartCommand)
    assert start.audio == AudioFormat(
        "pcm_mulaw", 8000, 2, separate=True, speakers=("caller", "agent")
    )
    out: list[object] = []
    for n in range(2, 12):
        side, sound = (("inbound", b"a"), ("outbound", b"b"))[n % 2]
        message = calls.twilio_media(n, sound * CHUNK, side)
        message["media"]["timestamp"] = str(20 * ((n - 2) // 2))
        out += adapter.receive(calls.text(message))
    out += adapter.receive(calls.text(calls.twilio_stop(12)))
    assert isinstance(out.pop(), SessionEndCommand)
    assert b"".join(chunk for chunk in out if isinstance(chunk, bytes)) == b"ab" * 5 * CHUNK


# --- Telnyx ---


def telnyx(encoding: str = "PCMU", **wishes: str) -> tuple[TelnyxAdapter, StartCommand]:
    adapter = TelnyxAdapter({"track": "both", **wishes})
    message = altered(calls.TELNYX_START, ("start", "media_format", "encoding"), encoding)
    (start,) = adapter.receive(message)
    assert isinstance(start, StartCommand)
    return adapter, start


def spoken(adapter: TelnyxAdapter, *messages: dict[str, Any]) -> tuple[bytes, bytes]:
    """Return both sides of ``messages``, to the end of the call."""
    orders = [one for message in messages for one in adapter.receive(calls.text(message))]
    orders += adapter.receive(calls.text(calls.telnyx_stop()))
    assert isinstance(orders.pop(), SessionEndCommand)
    return sides(b"".join(chunk for chunk in orders if isinstance(chunk, bytes)))


def test_a_telnyx_call_with_both_tracks_is_a_session_with_two_speakers() -> None:
    adapter, start = telnyx(speakers="ann,bob")
    assert start.audio == AudioFormat("pcm_mulaw", 8000, 2, separate=True, speakers=("ann", "bob"))
    inbound, outbound = spoken(
        adapter,
        calls.telnyx_media(1, b"a" * CHUNK),
        calls.telnyx_media(1, b"x" * CHUNK, "outbound"),
        calls.telnyx_media(3, b"c" * CHUNK),  # overtakes
        calls.telnyx_media(2, b"b" * CHUNK),
        calls.telnyx_media(2, b"y" * CHUNK, "outbound"),
    )
    assert inbound == b"a" * CHUNK + b"b" * CHUNK + b"c" * CHUNK
    assert outbound == b"x" * CHUNK + b"y" * CHUNK + b"\xff" * CHUNK


def test_timestamp_jitter_makes_no_gap_in_a_side() -> None:
    adapter, _ = telnyx()
    messages = [calls.telnyx_media(n, b"%d" % (n % 10) * CHUNK) for n in range(1, 10)]
    for n, message in enumerate(messages):
        message["media"]["timestamp"] = str(20 * n + (0, 17, -15)[n % 3])
    inbound, _ = spoken(adapter, *messages)
    assert inbound == b"".join(b"%d" % n * CHUNK for n in range(1, 10))


def test_a_side_that_starts_later_is_placed_by_its_timestamp() -> None:
    adapter, _ = telnyx()
    first = [calls.telnyx_media(n, b"a" * CHUNK) for n in range(1, 9)]
    late = calls.telnyx_media(1, b"x" * CHUNK, "outbound")
    late["media"]["timestamp"] = "120"  # 100 ms after the other side's first
    _, outbound = spoken(adapter, *first, late)
    assert outbound == b"\xff" * 5 * CHUNK + b"x" * CHUNK + b"\xff" * 2 * CHUNK


def test_a_law_of_both_sides_becomes_mu_law() -> None:
    adapter, start = telnyx("PCMA")
    assert start.audio is not None
    assert start.audio.encoding == "pcm_mulaw"
    codes = bytes(range(256))
    inbound, _ = spoken(adapter, calls.telnyx_media(1, codes))
    exact, heard = (
        memoryview(expand(*one)).cast("h") for one in ((codes, "alaw"), (inbound, "mulaw"))
    )
    for was, became in zip(exact, heard, strict=True):
        assert abs(was - became) <= max(16, abs(was) / 30)  # half a step of mu-law


def test_an_unknown_track_is_refused() -> None:
    with pytest.raises(InputError, match="track is 'left'; it must be inbound, outbound or both"):
        telnyx(track="left")
    adapter, _ = telnyx()
    with pytest.raises(InputError, match=r"media\.track is 'left'"):
        spoken(adapter, calls.telnyx_media(1, b"a", "left"))
