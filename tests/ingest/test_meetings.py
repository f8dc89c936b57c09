"""Adapters of meeting bots and track egress."""

from array import array
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.ingest.attendee import AttendeeAdapter
from pipeline.ingest.livekit import LiveKitAdapter
from pipeline.ingest.recall import RecallAdapter
from pipeline.interfaces.ingest import Adapter
from pipeline.protocol.commands import AudioFormat, StartCommand
from tests.ingest.calls import attendee, recall, text
from tests.ingest.garbage import altered, complaint, garbage
from tests.ingest.replies import created, done, session

Make = Callable[[], Adapter]


def start(rate: int, session_id: str | None) -> StartCommand:
    return StartCommand(audio=AudioFormat("pcm_s16le", rate), session_id=session_id)


# --- Attendee ---


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
def test_the_first_audio_of_an_attendee_bot_starts_the_session(rate: int) -> None:
    adapter = AttendeeAdapter()
    begun = adapter.receive(text(attendee(b"abcd", rate)))
    assert begun == (start(rate, "bot_3hfP0PXEsNinIZmh"), b"abcd")
    assert adapter.receive(text(attendee(b"efgh", rate))) == (b"efgh",)
    assert adapter.receive('{"trigger":"bot.state_change","data":{"new_state":"ended"}}') == ()


def test_attendee_may_not_change_the_rate() -> None:
    adapter = AttendeeAdapter()
    adapter.receive(text(attendee(b"ab")))
    with pytest.raises(InputError, match=r"data\.sample_rate is 8000; it was 16000"):
        adapter.receive(text(attendee(b"ab", 8000)))


# --- Recall.ai ---


def test_the_first_audio_of_a_recall_bot_starts_the_session() -> None:
    adapter = RecallAdapter({"session_id": "meeting-1", "prompts": "notes"})
    assert adapter.receive('{"event":"participant_events.join","data":{"x":[1]}}') == ()
    begun, audio = adapter.receive(text(recall(b"abcd")))
    expected = StartCommand(
        audio=AudioFormat("pcm_s16le", 16000), session_id="meeting-1", prompts=("notes",)
    )
    assert (begun, audio) == (expected, b"abcd")
    assert adapter.receive(text(recall(b"efgh"))) == (b"efgh",)
    assert adapter.receive('{"event":"transcript.data","data":null}') == ()


def test_without_a_session_id_the_session_has_the_id_of_the_bot() -> None:
    assert RecallAdapter().receive(text(recall(b"")))[0] == start(16000, "b0b")


# --- LiveKit ---


def test_a_track_from_the_egress_service_is_mixed_to_mono() -> None:
    adapter = LiveKitAdapter()
    assert adapter.receive('{"muted":true}') == ()
    sound = array("h", [100, 300, -100, 100]).tobytes()
    assert adapter.receive(sound) == (start(48000, None), array("h", [200, 0]).tobytes())
    assert adapter.receive(sound[:3]) == ()
    assert adapter.receive(sound[3:]) == (array("h", [200, 0]).tobytes(),)


def test_the_address_describes_the_format_of_a_track() -> None:
    adapter = LiveKitAdapter({"sample_rate": "24000", "channels": "1", "session_id": "anna"})
    assert adapter.receive(b"abcd") == (start(24000, "anna"), b"abcd")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ({"sample_rate": "fast"}, "sample_rate is 'fast'; it must be a whole number"),
        ({"sample_rate": "7999"}, "sample_rate is 7999; it must be 8000 to 96000"),
        ({"sample_rate": "9" * 5000}, "whole number"),
        ({"channels": "0"}, "channels is 0; it must be 1 to 8"),
        ({"session_id": "../etc"}, "session_id: 1 to 64"),
        ({"session_id": ""}, "session_id: 1 to 64"),
    ],
)
def test_an_invalid_address_is_refused(address: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        LiveKitAdapter(address).receive(b"abcd")


def test_a_text_frame_that_is_not_an_event_is_refused() -> None:
    for message in ("mute", "[]", '{"muted":"maybe"}'):
        with pytest.raises(InputError, match="not a message"):
            LiveKitAdapter().receive(message)


# --- all ---

BASE64: Sequence[tuple[Make, dict[str, Any], tuple[str, ...]]] = (
    (AttendeeAdapter, attendee(b""), ("data", "chunk")),
    (RecallAdapter, recall(b""), ("data", "data", "buffer")),
)


@pytest.mark.parametrize(("make", "message", "path"), BASE64)
def test_invalid_audio_is_refused(
    make: Make, message: dict[str, Any], path: tuple[str, ...]
) -> None:
    name = r"\.".join(path)
    for value, words in (
        ("?", f"{name} is not base64"),
        ("AAAA", f"{name} has 3 bytes; 16-bit samples"),
        ("A" * 131_072, "98304 bytes of audio; at most 65536"),
        (7, r"not a message: Expected `str`, got `int`"),
    ):
        with pytest.raises(InputError, match=words):
            make().receive(altered(message, path, value))


@pytest.mark.parametrize(("make", "message"), [one[:2] for one in BASE64])
def test_known_messages_without_their_audio_are_refused(
    make: Make, message: dict[str, Any]
) -> None:
    wrong: Sequence[object] = (None, 5, [message], "x")
    for value in wrong:
        with pytest.raises(InputError, match="not a message: Expected `object`"):
            make().receive(altered(message, ("data",), value))


@pytest.mark.parametrize("make", [AttendeeAdapter, RecallAdapter, LiveKitAdapter])
def test_nothing_is_sent_to_them(make: Make) -> None:
    adapter = make()
    for frame in (session(), created("r1"), done("r1", "cancelled", "One")):
        assert adapter.answer(frame) == ()


@pytest.mark.parametrize("make", [AttendeeAdapter, RecallAdapter, LiveKitAdapter])
@given(st.lists(garbage, max_size=5))
def test_garbage_is_refused_with_a_message(make: Make, messages: list[bytes | str]) -> None:
    adapter = make()
    for message in messages:
        said = complaint(adapter, message)
        assert said is None or len(said) > 10
