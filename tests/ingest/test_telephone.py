"""Adapters of Twilio's and Telnyx's media streams."""

import json
from array import array
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.ingest.telnyx import TelnyxAdapter
from pipeline.ingest.twilio import TwilioAdapter
from pipeline.interfaces.ingest import Adapter
from pipeline.protocol.commands import (
    AudioFormat,
    ClientCommand,
    DtmfCommand,
    SessionEndCommand,
    StartCommand,
)
from tests.ingest.calls import (
    STREAM,
    TELNYX_CONNECTED,
    TELNYX_START,
    TELNYX_STREAM,
    TWILIO_CONNECTED,
    TWILIO_START,
    telnyx_media,
    telnyx_stop,
    text,
    twilio_media,
    twilio_stop,
)
from tests.ingest.garbage import altered, complaint, garbage
from tests.ingest.replies import created, delta, done, session

Make = Callable[[], Adapter]


def heard(adapter: Adapter, *messages: dict[str, Any]) -> list[bytes | ClientCommand]:
    return [order for message in messages for order in adapter.receive(text(message))]


def twilio(**parameters: str) -> TwilioAdapter:
    adapter = TwilioAdapter()
    adapter.receive(altered(TWILIO_START, ("start", "customParameters"), parameters))
    return adapter


def telnyx(encoding: str = "PCMU") -> TelnyxAdapter:
    adapter = TelnyxAdapter()
    adapter.receive(altered(TELNYX_START, ("start", "media_format", "encoding"), encoding))
    return adapter


# --- Twilio ---


def test_a_twilio_call_is_a_start_its_audio_and_an_end() -> None:
    orders = heard(
        TwilioAdapter(),
        TWILIO_CONNECTED,
        TWILIO_START,
        twilio_media(2, b"one"),
        {"event": "dtmf", "streamSid": STREAM, "sequenceNumber": "3", "dtmf": {"digit": "1"}},
        twilio_media(4, b"two"),
        {"event": "mark", "sequenceNumber": "5", "streamSid": STREAM, "mark": {"name": "m"}},
        twilio_stop(6),
    )
    start = StartCommand(audio=AudioFormat("pcm_mulaw", 8000), session_id=STREAM)
    key = DtmfCommand(digits="1")
    assert orders == [start, b"one", key, b"two", SessionEndCommand()]


def twilio_key(digit: str, number: int, track: str) -> dict[str, Any]:
    dtmf = {"digit": digit, "track": track}
    return {"event": "dtmf", "streamSid": STREAM, "sequenceNumber": str(number), "dtmf": dtmf}


def test_keys_of_the_side_that_is_used_are_passed_on_in_order() -> None:
    presses = (("7", 3, "inbound_track"), ("9", 2, "outbound_track"), ("3", 4, "inbound_track"))
    orders = heard(twilio(), *(twilio_key(*press) for press in presses))
    assert orders == [DtmfCommand(digits="7"), DtmfCommand(digits="3")]
    both = heard(twilio(track="both"), *(twilio_key(*press) for press in presses))
    assert [key.digits for key in both if isinstance(key, DtmfCommand)] == ["7", "9", "3"]


def test_keys_of_a_telnyx_call_are_passed_on() -> None:
    presses = ({"event": "dtmf", "dtmf": {"digit": digit}} for digit in "4#d")
    assert heard(telnyx(), *presses) == [DtmfCommand(digits=each) for each in "4#D"]


@pytest.mark.parametrize("digit", ["", "x", "12 3", "1" * 65, "٣"])
def test_other_keys_are_refused(digit: str) -> None:
    for adapter in (twilio(), telnyx()):
        message = text({"event": "dtmf", "dtmf": {"digit": digit}})
        with pytest.raises(InputError, match="keys are 0 to 9"):
            adapter.receive(message)


def test_a_call_whose_numbers_begin_again_is_heard_whole() -> None:
    adapter = twilio()
    media = [twilio_media(n, b"%03d" % n) for n in range(2, 42)]
    again = [twilio_media(n, b"+%02d" % n) for n in range(1, 61)]
    assert len(heard(adapter, *media, *again)) == 100


def test_twilio_messages_out_of_order_are_reordered() -> None:
    adapter = twilio()
    orders = heard(
        adapter, twilio_media(3, b"b"), twilio_media(2, b"a"), twilio_media(5, b"d"), twilio_stop(6)
    )
    assert orders == [b"a", b"b", b"d", SessionEndCommand()]


def test_only_the_callers_side_is_used() -> None:
    start = altered(TWILIO_START, ("start", "tracks"), ["inbound", "outbound"])
    adapter = TwilioAdapter()
    adapter.receive(start)
    assert heard(adapter, twilio_media(2, b"us", "outbound"), twilio_media(3, b"caller")) == [
        b"caller"
    ]


def test_of_an_outbound_stream_the_outbound_side_is_used() -> None:
    adapter = TwilioAdapter()
    adapter.receive(altered(TWILIO_START, ("start", "tracks"), ["outbound"]))
    assert heard(adapter, twilio_media(2, b"us", "outbound")) == [b"us"]


def test_a_stream_without_numbers_keeps_its_order() -> None:
    adapter = twilio()
    message = {"event": "media", "media": {"payload": "AAAA"}}
    assert heard(adapter, message, message) == [b"\0\0\0", b"\0\0\0"]


def test_custom_parameters_name_the_session_and_its_prompts() -> None:
    adapter = TwilioAdapter()
    wishes = {"session_id": "call-7", "prompts": "reply,notes"}
    (start,) = adapter.receive(altered(TWILIO_START, ("start", "customParameters"), wishes))
    assert isinstance(start, StartCommand)
    assert (start.session_id, start.prompts) == ("call-7", ("reply", "notes"))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("start", "mediaFormat", "encoding"), "audio/opus", "only audio/x-mulaw"),
        (("start", "mediaFormat", "sampleRate"), 16000, "16000 Hz"),
        (("start", "customParameters"), {"session_id": "a/b"}, "session_id"),
        (("start",), None, "no start"),
        (("start",), 5, r"not a message: .*\$\.start"),
    ],
)
def test_an_invalid_twilio_start_is_refused(
    path: tuple[str, ...], value: object, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        TwilioAdapter().receive(altered(TWILIO_START, path, value))


def test_a_cut_response_is_cleared_from_playback() -> None:
    adapter = twilio()
    for frame in (session(), created("r1"), delta("r1", "One two")):
        assert adapter.answer(frame) == ()
    (clear,) = adapter.answer(done("r1", "cancelled", "One two"))
    assert json.loads(clear) == {"event": "clear", "streamSid": STREAM}


def test_nothing_is_cleared_without_text_or_after_completion() -> None:
    adapter = twilio()
    for frame in (session(), created("r1"), done("r1", "cancelled", ""), created("r2"), done("r2")):
        assert adapter.answer(frame) == ()


def test_a_prompt_that_is_not_spoken_clears_nothing() -> None:
    adapter = twilio()
    for frame in (session("reply", "notes"), created("n1", "notes"), done("n1", "cancelled")):
        assert adapter.answer(frame) == ()
    adapter = twilio(voice="notes")
    for frame in (session("reply", "notes"), created("n1", "notes")):
        adapter.answer(frame)
    assert adapter.answer(done("n1", "cancelled"))


def test_nothing_is_sent_to_a_unidirectional_stream() -> None:
    silent = TwilioAdapter()
    silent.receive(altered(TWILIO_START, ("start", "tracks"), ["inbound", "outbound"]))
    for adapter in (silent, twilio(clear="no")):
        for frame in (session(), created("r1"), delta("r1", "One"), done("r1", "cancelled")):
            assert adapter.answer(frame) == ()


# --- Telnyx ---


def test_a_telnyx_call_is_a_start_its_audio_in_order_and_an_end() -> None:
    orders = heard(
        TelnyxAdapter(),
        TELNYX_CONNECTED,
        TELNYX_START,
        telnyx_media(2, b"two"),
        telnyx_media(1, b"one"),
        telnyx_media(1, b"ours", "outbound"),
        telnyx_media(4, b"four"),
        {"event": "mark", "stream_id": TELNYX_STREAM, "mark": {"name": "m"}},
        telnyx_stop(),
    )
    start = StartCommand(audio=AudioFormat("pcm_mulaw", 8000), session_id=TELNYX_STREAM)
    assert orders == [start, b"one", b"two", b"four", SessionEndCommand()]


def test_a_law_is_expanded() -> None:
    adapter = TelnyxAdapter()
    (start,) = adapter.receive(altered(TELNYX_START, ("start", "media_format", "encoding"), "PCMA"))
    assert isinstance(start, StartCommand)
    assert start.audio == AudioFormat("pcm_s16le", 8000)
    assert heard(adapter, telnyx_media(1, b"\xaa\x2a")) == [array("h", [32256, -32256]).tobytes()]


@pytest.mark.parametrize("encoding", ["OPUS", "G722", "AMR-WB", "L16"])
def test_an_unsupported_codec_is_refused_with_a_remedy(encoding: str) -> None:
    with pytest.raises(InputError, match=f'{encoding}.*"stream_codec": "PCMU"'):
        telnyx(encoding)


def test_telnyx_receives_clear_for_a_cut_response() -> None:
    adapter = telnyx()
    for frame in (session(), created("r1"), delta("r1", "One")):
        assert adapter.answer(frame) == ()
    assert adapter.answer(done("r1", "cancelled")) == (b'{"event":"clear"}',)


def test_an_error_of_telnyx_is_reported() -> None:
    payload = {"code": 100003, "title": "malformed_frame", "detail": "bad"}
    with pytest.raises(InputError, match="Telnyx reported: 100003 malformed_frame bad"):
        heard(telnyx(), {"event": "error", "payload": payload})


# --- both ---


@pytest.mark.parametrize("make", [TwilioAdapter, TelnyxAdapter])
def test_nothing_is_accepted_before_the_start_and_it_comes_once(make: Make) -> None:
    start = text(TWILIO_START if make is TwilioAdapter else TELNYX_START)
    for message in (twilio_media(2, b"x"), twilio_stop(2)):
        with pytest.raises(InputError, match="before start"):
            make().receive(text(message))
    adapter = make()
    adapter.receive(start)
    with pytest.raises(InputError, match="twice"):
        adapter.receive(start)


@pytest.mark.parametrize(
    ("make", "stop", "late"),
    [
        (twilio, twilio_stop(2), {"event": "media", "media": {"payload": "AAAA"}}),
        (telnyx, telnyx_stop(), telnyx_media(1, b"late")),
    ],
)
def test_nothing_is_accepted_after_the_stop(
    make: Make, stop: dict[str, Any], late: dict[str, Any]
) -> None:
    adapter = make()
    assert heard(adapter, stop, late, stop) == [SessionEndCommand()]


@pytest.mark.parametrize("make", [twilio, telnyx])
@pytest.mark.parametrize("payload", ["a", "a===", "häh", "AA AA", "=AAA"])
def test_a_payload_that_is_not_base64_is_refused(make: Make, payload: str) -> None:
    with pytest.raises(InputError, match=r"media\.payload is not base64"):
        make().receive(altered(twilio_media(2, b""), ("media", "payload"), payload))


@pytest.mark.parametrize("make", [twilio, telnyx])
def test_a_chunk_of_a_minute_is_refused(make: Make) -> None:
    with pytest.raises(InputError, match="at most 65536"):
        make().receive(text(twilio_media(2, bytes(480_000))))


@pytest.mark.parametrize("make", [TwilioAdapter, TelnyxAdapter, twilio, telnyx])
@given(st.lists(garbage, max_size=5))
def test_garbage_is_refused_with_a_message(make: Make, messages: list[bytes | str]) -> None:
    adapter = make()
    for message in messages:
        said = complaint(adapter, message)
        assert said is None or len(said) > 10


@pytest.mark.parametrize("make", [TwilioAdapter, TelnyxAdapter])
def test_a_deeply_nested_message_is_refused(make: Make) -> None:
    deep = "[" * 30_000
    for message in (deep, '{"event":"x","more":' + deep, '{"event":"x","more":' * 9_000):
        assert "not a message" in (complaint(make(), message) or "")
