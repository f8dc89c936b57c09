"""States of one connection, and the error message for each kind of end."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.settings import SttSettings
from pipeline.errors import SttBusy, SttError, SttLost, SttRefused
from pipeline.interfaces.stt import (
    InStreamReply,
    SpeakerRevised,
    SpeechBegan,
    StreamClosed,
    StreamOpened,
    Transcript,
)
from pipeline.stt.assemblyai import wire
from pipeline.stt.assemblyai.endpoint import endpoint_for
from pipeline.stt.assemblyai.protocol import StreamProtocol

LOUD, STILL = b"\x00\x40" * 800, bytes(1600)


def opened(*, begun: bool = True, key: str | None = "key") -> StreamProtocol:
    connection = endpoint_for(SttSettings(), key, "ws://127.0.0.1:9")
    made = StreamProtocol(connection, origin=10.0)
    if begun:
        made.receive(message(type="Begin", id="x"), 0.0)
    return made


def message(**fields: Any) -> bytes:
    return msgspec.json.encode(fields)


def test_begin_opens_the_stream_where_its_audio_begins() -> None:
    heard = opened(begun=False).receive(message(type="Begin", id="x", expires_at=99), 0.0)
    assert list(heard) == [StreamOpened("x", 10.0, 99.0, "universal-3-6-pro")]


def test_each_kind_of_message_becomes_a_value() -> None:
    here = opened()
    word = {"text": "a", "start": 0, "end": 90, "speaker": "B"}
    revision = {"turn_order": 4, "speaker_label": "B", "words": [word]}
    heard = [
        value
        for fields in (
            {"type": "SpeechStarted", "timestamp": 500},
            {"type": "SpeakerRevision", "revisions": [revision]},
            {"type": "LLMGatewayResponse", "turn_order": 2, "data": {"a": 1}},
            {"type": "Silence", "start_ms": 1, "end_ms": 2},
            {"type": "SomethingNew"},
        )
        for value in here.receive(message(**fields), 0.0)
    ]
    assert [type(value) for value in heard] == [SpeechBegan, SpeakerRevised, InStreamReply]
    assert heard[0] == SpeechBegan(10.5)
    assert heard[2] == InStreamReply(2, b'{"a":1}')
    assert "SomethingNew" in here.note


def test_a_heartbeat_says_how_much_has_arrived() -> None:
    here = opened()
    for _ in range(400):
        here.send(STILL)
    assert here.receive(message(type="Heartbeat", total_audio_received_ms=15_000), 7.0) == ()
    assert (here.progress.received, here.progress.heartbeat) == (15.0, 7.0)


def test_a_heartbeat_confirms_no_more_than_was_sent() -> None:
    here = opened()
    here.send(STILL)
    here.receive(message(type="Heartbeat", total_audio_received_ms=9e8), 7.0)
    assert here.progress.received == pytest.approx(0.05)


@pytest.mark.parametrize(("tail", "paused"), [(STILL, True), (LOUD, False)])
def test_a_partial_is_a_pause_while_the_audio_is_quiet(tail: bytes, paused: bool) -> None:
    here = opened()
    for frame in [LOUD] * 20 + [tail] * 3:
        here.send(frame)
    assert here.progress.sent == pytest.approx(1.15)
    (heard,) = here.receive(message(type="Turn", turn_order=0, transcript="So"), 0.0)
    assert isinstance(heard, Transcript)
    assert heard.paused is paused


def test_the_end_is_agreed_when_we_asked_for_it() -> None:
    here = opened()
    assert here.terminate() == '{"type":"Terminate"}'
    last = message(type="Turn", turn_order=0, transcript="Bye.", end_of_turn=True)
    assert len(here.receive(last, 0.0)) == 1
    closed = here.receive(message(type="Termination", audio_duration_seconds=4), 0.0)
    assert list(closed) == [StreamClosed(4.0)]
    assert here.close(1000) == ()


def test_an_end_that_the_client_did_not_request_is_a_lost_connection() -> None:
    here = opened()
    with pytest.raises(SttLost, match="client did not request it"):
        here.receive(message(type="Termination", audio_duration_seconds=4), 0.0)


def test_a_clean_close_without_termination_is_an_end_too() -> None:
    here = opened()
    here.terminate()
    assert list(here.close(1000)) == [StreamClosed()]
    assert here.give_up() == ()


@pytest.mark.parametrize(
    ("code", "text", "kind", "says"),
    [
        (1008, "Invalid API key", SttRefused, "check ASSEMBLYAI_API_KEY"),
        (1008, "Signature has expired", SttRefused, "make a new one"),
        (1008, "Too many concurrent sessions", SttBusy, "wait a minute"),
        (3009, "Too many concurrent sessions", SttBusy, "wait a minute"),
        (1013, "", SttBusy, "no session left"),
        (3006, "Invalid speech_model", SttRefused, "Invalid speech_model"),
        (3006, "Session terminated due to inactivity", SttLost, "inactivity"),
        (3007, "Input duration violation: 20 ms", SttRefused, "50 to 1000 ms"),
        (3007, "Audio Transmission Rate Exceeded", SttLost, "Rate Exceeded"),
        (3005, "Server error", SttLost, "Server error"),
        (3008, "Maximum session duration exceeded", SttLost, "duration"),
        (4002, "", SttRefused, "no funds"),
        (None, "something", SttLost, "something"),
    ],
)
def test_an_error_says_what_can_be_done(
    code: int | None, text: str, kind: type[SttError], says: str
) -> None:
    here = opened()
    assert here.receive(message(type="Error", error_code=code, error=text), 0.0) == ()
    with pytest.raises(kind, match=says) as failed:
        here.close(code or 1011, "See Error message for details")
    assert failed.value.code == (code or 1011)
    assert "127.0.0.1:9" in str(failed.value)


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (1000, SttLost, "client did not request it"),
        (1006, SttLost, "broke off"),
        (1011, SttLost, "inside the server"),
        (1009, SttRefused, "128 KB"),
    ],
)
def test_a_close_without_an_error_is_judged_by_its_code(
    code: int, kind: type[SttError], says: str
) -> None:
    with pytest.raises(kind, match=says):
        opened().close(code)


def test_without_a_key_the_advice_is_to_set_one() -> None:
    with pytest.raises(SttRefused, match="set ASSEMBLYAI_API_KEY"):
        opened(begun=False, key=None).close(1008, "Missing Authorization header")


def test_an_error_after_terminate_is_no_clean_end() -> None:
    here = opened()
    here.terminate()
    here.receive(message(error="Server error"), 0.0)
    with pytest.raises(SttLost, match="Server error"):
        here.close(1000)


UNREADABLE = {
    "no JSON": b"<html>garbage{",
    "nothing": b"",
    "binary": bytes(range(256)),
    "no object": b"[]",
    "a number": b"7",
    "an order in words": b'{"type":"Turn","turn_order":"one","transcript":"x"}',
    "an order below zero": b'{"type":"Turn","turn_order":-1,"transcript":"x"}',
    "an order without end": b'{"type":"Turn","turn_order":1e999,"transcript":"x"}',
    "no order": b'{"type":"Turn","transcript":"x"}',
    "deep": b'{"type":"Turn","words":' + b"[" * 3000 + b"]" * 3000 + b"}",
    "deeper": b'{"x":' * 100_000 + b"1" + b"}" * 100_000,
    "a number of 5000 digits": b'{"type":"Turn","turn_order":' + b"9" * 5000 + b"}",
    "a type that is no text": b'{"type":7}',
    "huge": b'{"type":"Turn","turn_order":0,"transcript":"' + b"x" * wire.LONGEST + b'"}',
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=list(UNREADABLE))
def test_an_unreadable_message_is_counted_and_skipped(data: bytes) -> None:
    here = opened()
    assert here.receive(data, 0.0) == ()
    assert here.progress.skipped == 1
    assert "skipped a message" in here.note
    assert len(here.note) < 300
    assert [type(h) for h in here.receive(message(type="Turn", turn_order=0), 0.0)] == [Transcript]


@pytest.mark.parametrize("data", [*UNREADABLE.values(), b"{}"], ids=[*UNREADABLE, "no type"])
def test_a_first_message_of_another_protocol_refuses(data: bytes) -> None:
    with pytest.raises(SttRefused, match="Streaming v3 server"):
        opened(begun=False).receive(data, 0.0)


def test_only_the_first_message_decides_on_the_protocol() -> None:
    here = opened(begun=False)
    here.receive(message(type="Warning", warning="w"), 0.0)
    assert here.receive(b"garbage{", 0.0) == ()
    assert len(here.receive(message(type="Begin", id="x"), 0.0)) == 1


def test_the_words_of_a_skipped_message_explain_the_close_that_follows() -> None:
    here = opened()
    here.receive(b"internal: worker out of memory", 0.0)
    with pytest.raises(SttLost, match="worker out of memory"):
        here.close(1011)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"type": "Error", "error_code": "BUSY", "error": "Too many concurrent sessions"}, 3009),
        ({"type": "error", "error": {"message": "Too many concurrent sessions", "code": 3009}}, 1),
        ({"error": ["Too many concurrent sessions"]}, 3009),
        ({"errors": [{"detail": "Too many concurrent sessions"}]}, 3009),
        ({"type": "Error", "message": "Too many concurrent sessions", "code": "3009"}, 1),
        ({"type": "Failure", "error": "Too many concurrent sessions"}, 3009),
        ({"type": "Error", "error_code": 10**30, "error": "Too many concurrent sessions"}, 3009),
    ],
)
def test_an_error_of_any_shape_tells_its_words(data: dict[str, Any], code: int) -> None:
    here = opened()
    here.receive(msgspec.json.encode(data, enc_hook=str), 0.0)
    assert here.failed
    with pytest.raises(SttBusy, match="Too many concurrent sessions"):
        here.close(code, "See Error message for details")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**4000)
    | st.floats()
    | st.text()
    | st.sampled_from(["\ud83d", "1", "-1e999", "nan"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = sorted({field for kind in wire.KINDS for field in kind.__struct_fields__})


@given(
    st.sampled_from(
        [kind.__name__ for kind in wire.KINDS if kind is not wire.Termination] + ["turn", "New"]
    ),
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6),
)
def test_no_message_ends_a_session(kind: str, fields: dict[str, Any]) -> None:
    here = opened()
    for heard in here.receive(json.dumps({"type": kind, **fields}).encode(), 0.0):
        msgspec.json.encode(heard)  # can be published
        if isinstance(heard, Transcript):
            assert heard.order >= 0
            assert all(word.end >= word.start and abs(word.end) < 1e7 for word in heard.words)


@given(st.binary(max_size=300))
def test_no_data_ends_a_session(data: bytes) -> None:
    opened().receive(data, 0.0)
