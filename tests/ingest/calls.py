"""Messages of telephone services and meeting bots, in their documented formats."""

import json
from base64 import b64encode
from typing import Any

from pipeline.protocol.events import Event, Frame, encode, type_of

STREAM = "MZ18ad3ab5a668481ce02b83e7395059f0"
CALL = "CAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

TWILIO_CONNECTED = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
TWILIO_START: dict[str, Any] = {
    "event": "start",
    "sequenceNumber": "1",
    "start": {
        "accountSid": "AC00000000000000000000000000000000",
        "streamSid": STREAM,
        "callSid": CALL,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"FirstName": "Jane"},
    },
    "streamSid": STREAM,
}
TELNYX_CONNECTED = {"event": "connected", "version": "1.0.0"}
TELNYX_STREAM = "32DE0DEA-53CB-4B21-89A4-9E1819C043BC"
TELNYX_START: dict[str, Any] = {
    "event": "start",
    "sequence_number": "1",
    "stream_id": TELNYX_STREAM,
    "start": {
        "user_id": "3E6F995F-85F7-4705-9741-53B116D28237",
        "call_control_id": "v2:T02llQxIyaRkhfRKxgAP8nY511EhFLizdvdUKJiSw8d6A9BborherQ",
        "from": "+13122010094",
        "to": "+13122123456",
        "client_state": "aGF2ZSBhIG5pY2UgZGF5ID1d",
        "custom_parameters": {"customer_id": "customer_123"},
        "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
    },
}


def twilio_media(number: int, audio: bytes, track: str = "inbound") -> dict[str, Any]:
    """Message ``number`` of a stream; the first after ``start`` is 2."""
    return {
        "event": "media",
        "sequenceNumber": str(number),
        "media": {
            "track": track,
            "chunk": str(number - 1),
            "timestamp": str(20 * (number - 2)),
            "payload": b64encode(audio).decode(),
        },
        "streamSid": STREAM,
    }


def twilio_stop(number: int) -> dict[str, Any]:
    stop = {"accountSid": "AC0", "callSid": CALL}
    return {"event": "stop", "sequenceNumber": str(number), "streamSid": STREAM, "stop": stop}


def telnyx_media(chunk: int, audio: bytes, track: str = "inbound") -> dict[str, Any]:
    return {
        "event": "media",
        "sequence_number": str(chunk + 1),
        "media": {
            "track": track,
            "chunk": str(chunk),
            "timestamp": str(20 * chunk),
            "payload": b64encode(audio).decode(),
        },
        "stream_id": TELNYX_STREAM,
    }


def telnyx_stop() -> dict[str, Any]:
    return {"event": "stop", "sequence_number": "9", "stream_id": TELNYX_STREAM, "stop": {}}


def attendee(audio: bytes, rate: int = 16000) -> dict[str, Any]:
    chunk = b64encode(audio).decode()
    data = {"chunk": chunk, "sample_rate": rate, "timestamp_ms": 1717}
    return {"bot_id": "bot_3hfP0PXEsNinIZmh", "trigger": "realtime_audio.mixed", "data": data}


def recall(audio: bytes) -> dict[str, Any]:
    return {
        "event": "audio_mixed_raw.data",
        "data": {
            "data": {
                "buffer": b64encode(audio).decode(),
                "timestamp": {"relative": 0.5, "absolute": "2026-11-23T06:00:00Z"},
            },
            "realtime_endpoint": {"id": "re1", "metadata": {}},
            "recording": {"id": "rec1", "metadata": {}},
            "bot": {"id": "b0b", "metadata": {}},
        },
    }


def frame(event: Event, seq: int = 1) -> Frame:
    return Frame(seq, type_of(event), encode(event))


def text(message: dict[str, Any]) -> str:
    return json.dumps(message)
