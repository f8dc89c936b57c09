"""Twilio ConversationRelay: turns in, tokens out, interruptions, signatures."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.ingest.relay import CUT, MAX_TEXT, RelayAdapter
from pipeline.ingest.signature import HEADER, TwilioGuard, sign
from pipeline.protocol.commands import (
    DtmfCommand,
    PlaybackReportCommand,
    ResponseCancelCommand,
    StartCommand,
    TurnCreateCommand,
)
from pipeline.protocol.events import Frame
from tests.ingest.garbage import complaint, garbage
from tests.ingest.replies import created, delta, done, ended, session

SETUP = (
    '{"type":"setup","sessionId":"VX00000000000000000000000000000000","accountSid":"AC0",'
    '"callSid":"CA0","from":"+18005550100","to":"+18005550101","direction":"inbound",'
    '"callStatus":"RINGING","customParameters":{"callReference":"bar"}}'
)
INTERRUPT = (
    '{"type":"interrupt","utteranceUntilInterrupt":"Life is a complex set of",'
    '"durationUntilInterruptMs":"460"}'
)


def relay() -> RelayAdapter:
    adapter = RelayAdapter()
    adapter.receive(SETUP)
    return adapter


def spoken(adapter: RelayAdapter, *frames: Frame) -> list[tuple[str, bool]]:
    said = [json.loads(text) for frame in frames for text in adapter.answer(frame)]
    assert {text["type"] for text in said} <= {"text"}
    return [(text["token"], text["last"]) for text in said]


def test_setup_starts_a_session_without_audio() -> None:
    start = StartCommand(audio=None, session_id="VX00000000000000000000000000000000")
    assert RelayAdapter().receive(SETUP) == (start,)


def test_a_prompt_is_a_turn_and_a_partial_one_an_open_turn() -> None:
    adapter = relay()
    partial = '{"type":"prompt","voicePrompt":"Hi! Can","lang":"en-US","last":false}'
    whole = '{"type":"prompt","voicePrompt":"Hi! Can you?","lang":"en-US","last":true}'
    turn = TurnCreateCommand(text="Hi! Can", language="en-US", final=False)
    assert adapter.receive(partial) == (turn,)
    turn = TurnCreateCommand(text="Hi! Can you?", language="en-US")
    assert adapter.receive(whole) == (turn,)
    assert adapter.receive('{"type":"prompt","voicePrompt":" ","last":true}') == ()


@pytest.mark.parametrize("blank", ["", "  ", "\\n"])
def test_a_blank_end_keeps_the_last_words_once(blank: str) -> None:
    adapter = relay()
    adapter.receive('{"type":"prompt","voicePrompt":"I would like","last":false}')
    end = f'{{"type":"prompt","voicePrompt":"{blank}","last":true}}'
    assert adapter.receive(end) == (TurnCreateCommand(text="I would like"),)
    assert adapter.receive(end) == ()


@pytest.mark.parametrize("digit", "0123456789*#ABCD")
def test_a_pressed_key_is_passed_on(digit: str) -> None:
    message = json.dumps({"type": "dtmf", "digit": digit})
    assert relay().receive(message) == (DtmfCommand(digits=digit),)


@pytest.mark.parametrize("message", ['{"type":"info"}', '{"type":"configUpdated","ok":true}'])
def test_messages_that_need_no_answer_are_skipped_at_any_time(message: str) -> None:
    assert RelayAdapter().receive(message) == ()
    assert relay().receive(message) == ()


def test_tokens_are_sent_as_they_arrive() -> None:
    frames = (session(), created("r1"), delta("r1", "Hel"), delta("r1", "lo."), done("r1"))
    assert spoken(relay(), *frames) == [("Hel", False), ("lo.", False), ("", True)]


def test_only_the_first_or_the_named_prompt_is_spoken() -> None:
    frames = (session("reply", "notes"), created("n1", "notes"), delta("n1", "Note."), done("n1"))
    assert spoken(relay(), *frames) == []
    adapter = RelayAdapter({"voice": "notes"})
    adapter.receive(SETUP)
    assert spoken(adapter, *frames) == [("Note.", False), ("", True)]


def test_concurrent_responses_are_spoken_one_after_the_other() -> None:
    frames = (
        session(), created("r1"), created("r2"), delta("r2", "C"), delta("r1", "A"),
        delta("r2", "D"), done("r2"), delta("r1", "B"), done("r1"),
    )  # fmt: skip
    expected = [("A", False), ("B", False), ("", True), ("CD", False), ("", True)]
    assert spoken(relay(), *frames) == expected


def test_a_superseded_response_is_ended_before_the_next_starts() -> None:
    frames = (
        session(), created("r1"), delta("r1", "One"), done("r1", "cancelled", "One"),
        created("r2"), delta("r2", "Two"),
    )  # fmt: skip
    assert spoken(relay(), *frames) == [("One", False), ("", True), ("Two", False)]


def test_an_empty_response_is_not_ended() -> None:
    assert spoken(relay(), session(), created("r1"), done("r1", "failed", "")) == []


def test_an_interruption_reports_the_played_text_and_cancels_the_response() -> None:
    adapter = relay()
    spoken(adapter, session(), created("r1"), delta("r1", "Life is a complex set of cells"))
    assert adapter.receive(INTERRUPT) == (
        PlaybackReportCommand(response_id="r1", text="Life is a complex set of", duration=460),
        ResponseCancelCommand(response_id="r1"),
    )
    late = (delta("r1", " and"), done("r1", "cancelled"), created("r2"), delta("r2", "Sorry."))
    assert spoken(adapter, *late) == [("Sorry.", False)]


def test_an_ended_response_can_still_be_interrupted_while_it_plays() -> None:
    adapter = relay()
    spoken(adapter, session(), created("r1"), delta("r1", "Life is a"), done("r1"))
    report, _ = adapter.receive(INTERRUPT)
    assert isinstance(report, PlaybackReportCommand)
    assert report.response_id == "r1"
    assert adapter.receive(INTERRUPT) == ()


@pytest.mark.parametrize(
    ("fields", "duration"),
    [
        ({"durationUntilInterruptMs": "460"}, 460),
        ({"durationUntilInterruptMs": 460}, 460),
        ({"utteranceUntilInterrupt": " ", "durationUntilInterruptMs": "0"}, 0),
    ],
)
def test_without_the_text_an_interruption_reports_how_long_was_played(
    fields: dict[str, Any], duration: float
) -> None:
    adapter = relay()
    spoken(adapter, session(), created("r1"), delta("r1", "Life is a"))
    report, _ = adapter.receive(json.dumps({"type": "interrupt"} | fields))
    assert isinstance(report, PlaybackReportCommand)
    assert report.duration == duration
    assert not (report.text or "").strip()


@pytest.mark.parametrize("known", [{}, {"durationUntilInterruptMs": "soon"}])
def test_an_interruption_that_tells_nothing_cancels_and_reports_nothing(
    known: dict[str, Any],
) -> None:
    adapter = relay()
    spoken(adapter, session(), created("r1"), delta("r1", "Life is a"))
    assert adapter.receive(json.dumps({"type": "interrupt"} | known)) == (
        ResponseCancelCommand(response_id="r1"),
    )


def test_an_interruption_of_a_greeting_affects_no_response() -> None:
    assert relay().receive(INTERRUPT) == ()


def test_the_end_of_the_session_ends_the_call() -> None:
    assert relay().answer(ended()) == (b'{"type":"end"}',)


def test_an_error_of_twilio_is_reported() -> None:
    with pytest.raises(InputError, match="Twilio reported: Invalid message"):
        relay().receive('{"type":"error","description":"Invalid message received: {}"}')


def test_setup_comes_first_and_once() -> None:
    with pytest.raises(InputError, match="prompt came before setup"):
        RelayAdapter().receive('{"type":"prompt","voicePrompt":"Hi"}')
    with pytest.raises(InputError, match="setup came twice"):
        relay().receive(SETUP)


@pytest.mark.parametrize("word", ["word ", "長", "x"])
def test_of_an_overlong_prompt_the_end_is_kept(word: str) -> None:
    story = word * (MAX_TEXT // len(word) + 50) + " so what now?"
    (turn,) = relay().receive(json.dumps({"type": "prompt", "voicePrompt": story}))
    assert isinstance(turn, TurnCreateCommand)
    assert turn.text.startswith(CUT + word[0])
    assert turn.text.endswith("so what now?")
    assert len(turn.text) <= MAX_TEXT + len(CUT)


@given(st.lists(garbage, max_size=5), st.booleans())
def test_garbage_is_refused_with_a_message(messages: list[bytes | str], begun: bool) -> None:
    adapter = relay() if begun else RelayAdapter()
    for message in messages:
        said = complaint(adapter, message)
        assert said is None or len(said) > 10


# --- the signature ---

TOKEN = "12345"


def test_a_signature_is_that_of_twilios_documentation() -> None:
    # The URL of Twilio's example, without the POST fields that a handshake does not have:
    # openssl dgst -sha1 -hmac 12345 -binary | base64
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert sign(url, TOKEN) == "zYQTYrRWXE7LtzbG4PfP7/bkkGo="


def test_a_signed_handshake_is_accepted() -> None:
    signature = sign("wss://voice.example.com/v1/relay/twilio?a=1", TOKEN)
    headers = {HEADER: signature, "Host": "127.0.0.1:8780"}
    guard = TwilioGuard(TOKEN, "wss://voice.example.com/")
    assert guard("/v1/relay/twilio?a=1", headers)
    assert not guard("/v1/relay/twilio?a=2", headers)
    assert not guard("/v1/relay/twilio", headers)
    assert not TwilioGuard("other", "wss://voice.example.com")("/v1/relay/twilio?a=1", headers)
    assert not TwilioGuard(TOKEN)("/v1/relay/twilio?a=1", headers)


def test_without_a_public_address_the_host_header_names_it() -> None:
    signature = sign("wss://voice.example.com/v1/relay/twilio", TOKEN)
    headers = {HEADER: signature, "Host": "voice.example.com"}
    assert TwilioGuard(TOKEN)("/v1/relay/twilio", headers)


@pytest.mark.parametrize("given_signature", ["", "x", "häh", "A" * 28])
def test_a_forged_signature_is_refused(given_signature: str) -> None:
    headers = {HEADER: given_signature, "Host": "voice.example.com"}
    assert not TwilioGuard(TOKEN)("/v1/relay/twilio", headers)
    assert not TwilioGuard(TOKEN)("/v1/relay/twilio", {"Host": "voice.example.com"})


def test_a_guard_does_not_show_its_token() -> None:
    assert TOKEN not in repr(TwilioGuard(TOKEN))
