"""Decoding what the server says, however it says it."""

from typing import Any

import msgspec
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
def test_what_is_no_message_is_an_error(data: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        wire.decode(data)


def test_a_change_is_written_flat() -> None:
    changes: dict[str, Any] = {"keyterms_prompt": ["Zephyr"]}
    assert wire.update_configuration(changes) == (
        '{"type":"UpdateConfiguration","keyterms_prompt":["Zephyr"]}'
    )
