"""Decoding what the server says, however it says it."""

from typing import Any

import pytest

from pipeline.stt.assemblyai import wire


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"type":"Begin","id":"x","expires_at":17.5}', wire.Begin("x", 17.5)),
        (b'{"type":"SpeechStarted","timestamp":2140}', wire.SpeechStarted(2140)),
        (
            b'{"type":"Turn","turn_order":2.0,"transcript":"a","utterance":null,"new":{"x":[1]}}',
            wire.Turn(2, transcript="a"),
        ),
        (
            b'{"type":"Termination","audio_duration_seconds":41.0,"session_duration_seconds":43}',
            wire.Termination(41, 43),
        ),
        (b'{"type":"Error","error_code":3006,"error":"e"}', wire.Error(3006, "e")),
        (b'{"type":"Error","error":"e"}', wire.Error(None, "e")),
        (b'{"error":"e"}', wire.Error(None, "e")),
        (b'{"type":"Warning","warning_code":1001,"warning":"w"}', wire.Warning(1001, "w")),
        (b'{"type":"Silence","start_ms":1,"end_ms":2}', wire.Silence(1, 2)),
        (b'{"type":"SomethingNew","turn_order":"?"}', wire.Unknown("SomethingNew")),
        (b"{}", wire.Unknown("")),
    ],
)
def test_a_message_is_read(data: bytes, message: wire.ServerMessage) -> None:
    assert wire.decode(data) == message


@pytest.mark.parametrize("kind", ["LLMGatewayResponse", "LlmGatewayResponse"])
def test_an_in_stream_reply_is_known_in_either_letter_case(kind: str) -> None:
    reply = wire.decode(f'{{"type":"{kind}","turn_order":3,"data":{{"choices":[]}}}}')
    assert isinstance(reply, wire.Reply)
    assert (reply.turn_order, bytes(reply.data)) == (3, b'{"choices":[]}')


@pytest.mark.parametrize("data", [b"", b"hello", b"[1]", b'{"type":"Turn"}', b'{"type":7}'])
def test_what_is_no_message_is_unreadable(data: bytes) -> None:
    assert isinstance(wire.decode(data), wire.Unreadable)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b'{"type":"Turn","turn_order":"1","end_of_turn":"yes","transcript":7}',
            wire.Turn(1, transcript="7"),
        ),
        (
            b'{"type":"Turn","turn_order":1,"words":[{},7,{"text":"a","start":"900","end":null}]}',
            wire.Turn(1, words=(wire.Word("a", 900),)),
        ),
        (
            rb'{"type":"Turn","turn_order":1,"transcript":"hi \ud83d"}',
            wire.Turn(1, transcript="hi ?"),
        ),
        (b'{"type":"Turn","turn_order":1,"transcript":"\xfc"}', wire.Turn(1, transcript="\ufffd")),
        (
            b'{"type":"Turn","turn_order":1,"words":[{"text":"a","start":1e300,"end":5}]}',
            wire.Turn(1, words=(wire.Word("a", None, 5),)),
        ),
        (b'{"type":"Warning","warning_code":"X","warning":{"text":"w"}}', wire.Warning(None, "w")),
        (b'{"type":"begin","id":5,"expires_at":"soon"}', wire.Begin("5")),
        (
            b'{"type":"SpeakerRevision","revisions":[{"turn_order":0,"speaker_label":1},{}]}',
            wire.SpeakerRevision((wire.Revision(0, "1"),)),
        ),
        (b'{"type":"Error","message":"e"}', wire.Error(None, "e")),
    ],
)
def test_an_odd_field_costs_that_field_alone(data: bytes, message: wire.ServerMessage) -> None:
    assert wire.decode(data) == message


def test_a_change_is_written_flat() -> None:
    changes: dict[str, Any] = {"keyterms_prompt": ["Zephyr"]}
    assert wire.update_configuration(changes) == (
        '{"type":"UpdateConfiguration","keyterms_prompt":["Zephyr"]}'
    )
