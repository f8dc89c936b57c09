"""Both sides of a call, side by side."""

from pipeline.events import AudioFormat, SessionEndCommand, StartCommand
from pipeline.ingest.tracks import Tracks
from pipeline.ingest.twilio import TwilioAdapter
from tests.ingest import calls

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
    assert len(inbound) == 8000 - 1600  # 0.2 s are held
    assert (set(inbound), set(outbound)) == ({ord("a")}, {0xFF})


def test_a_chunk_goes_where_its_timestamp_says() -> None:
    tracks, out = Tracks(8000), b""
    for at, sound in ((0, b"a"), (40, b"c"), (20, b"b")):  # one comes late
        out += tracks.feed("inbound", at, sound * CHUNK)
    out += tracks.feed("outbound", 20, b"x" * CHUNK)
    inbound, outbound = sides(out + tracks.flush())
    assert inbound == b"a" * CHUNK + b"b" * CHUNK + b"c" * CHUNK
    assert outbound == b"\xff" * CHUNK + b"x" * CHUNK + b"\xff" * CHUNK


def test_what_comes_after_its_place_was_given_out_is_dropped() -> None:
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
