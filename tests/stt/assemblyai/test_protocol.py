"""States of one connection, and the error message for each kind of end."""

from typing import Any

import msgspec
import pytest

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
    assert list(heard) == [StreamOpened("x", 10.0, 99.0, "universal-3-5-pro")]


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
    assert here.receive(message(type="Heartbeat", total_audio_received_ms=15_000), 7.0) == ()
    assert (here.progress.received, here.progress.heartbeat) == (15.0, 7.0)


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


@pytest.mark.parametrize("data", [b"<html>", b'{"type":"Turn","turn_order":"one"}'])
def test_an_unreadable_message_is_from_no_v3_server(data: bytes) -> None:
    with pytest.raises(SttRefused, match="Streaming v3 server"):
        opened().receive(data, 0.0)
