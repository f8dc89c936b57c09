"""Messages of AssemblyAI Streaming v3, both directions. Pure.

Shapes: AssemblyAI streaming API reference, mid-2026. Unknown fields are skipped, unknown types
become ``Unknown``; fields that may be missing or null have a default; numbers may be written with
or without a fraction, so all are read as floats. Times are milliseconds of this connection's
audio.
"""

from typing import Any

import msgspec
from msgspec import Struct


class Message(Struct, frozen=True, tag_field="type", tag=True, gc=False):
    """Base of the server messages."""


class Begin(Message, frozen=True, tag=True):
    """Start of the session."""

    id: str = ""
    expires_at: float | None = None  #: Unix seconds
    configuration: dict[str, Any] | None = None


class SpeechStarted(Message, frozen=True, tag=True):
    """The onset of speech; only Universal-3 sends it."""

    timestamp: float = 0.0
    confidence: float | None = None


class Word(Struct, frozen=True, gc=False):
    """One word."""

    text: str
    start: float = 0.0
    end: float = 0.0
    confidence: float | None = None
    word_is_final: bool = False
    speaker: str | None = None


class Turn(Message, frozen=True, tag=True):
    """One turn so far."""

    turn_order: float
    end_of_turn: bool = False
    turn_is_formatted: bool = False
    transcript: str | None = None
    utterance: str | None = None
    end_of_turn_confidence: float | None = None
    words: tuple[Word, ...] | None = None
    language_code: str | None = None
    language_confidence: float | None = None
    speaker_label: str | None = None


class Revision(Struct, frozen=True):
    """Revision of one ended turn."""

    turn_order: float
    speaker_label: str | None = None
    words: tuple[Word, ...] | None = None


class SpeakerRevision(Message, frozen=True, tag=True):
    """Revision of speakers in ended turns."""

    revisions: tuple[Revision, ...] = ()


class Reply(Struct, frozen=True):
    """``LLMGatewayResponse``; the letter case of its type differs between documents."""

    turn_order: float
    transcript: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")


class LLMGatewayResponse(Reply, Message, frozen=True, tag=True):
    """``Reply`` under its usual type."""


class Heartbeat(Message, frozen=True, tag=True):
    """Amount of audio received; only when requested."""

    total_audio_received_ms: float = 0.0
    total_duration_ms: float = 0.0
    realtime_factor: float | None = None
    max_speech_probability: float | None = None


class Silence(Message, frozen=True, tag=True):
    """A range without a transcript; only when requested."""

    start_ms: float = 0.0
    end_ms: float = 0.0


class Warning(Message, frozen=True, tag=True):  # noqa: A001 (the vendor's word)
    """Problem that does not end the session."""

    warning_code: float | None = None
    warning: str = ""


class Error(Message, frozen=True, tag=True):
    """Error that ends the session; a close with the same code follows."""

    error_code: float | None = None
    error: str = ""


class Termination(Message, frozen=True, tag=True):
    """Last message of a session that ended as agreed."""

    audio_duration_seconds: float | None = None
    session_duration_seconds: float | None = None


class Unknown(Struct, frozen=True):
    """Message of a type that this version does not know."""

    type: str


ServerMessage = (
    Begin
    | SpeechStarted
    | Turn
    | SpeakerRevision
    | Reply
    | Heartbeat
    | Silence
    | Warning
    | Error
    | Termination
    | Unknown
)


class _Loose(Struct):
    """Common fields of a message of any other type."""

    type: str | None = None
    error: str | None = None
    error_code: float | None = None


_usual: msgspec.json.Decoder[ServerMessage] = msgspec.json.Decoder(
    Begin
    | SpeechStarted
    | Turn
    | SpeakerRevision
    | LLMGatewayResponse
    | Heartbeat
    | Silence
    | Warning
    | Error
    | Termination
)
_loose = msgspec.json.Decoder(_Loose)
_reply = msgspec.json.Decoder(Reply)
_KNOWN = frozenset(
    ("Begin", "SpeechStarted", "Turn", "SpeakerRevision", "LLMGatewayResponse", "Heartbeat")
) | {"Silence", "Warning", "Error", "Termination"}


def decode(data: bytes | str) -> ServerMessage:
    """Decode one server message.

    Raises ``msgspec.MsgspecError`` when it is no JSON object, or an invalid one of a known type.
    """
    try:
        return _usual.decode(data)
    except msgspec.ValidationError:
        return _decode_unusual(data)


def _decode_unusual(data: bytes | str) -> ServerMessage:
    loose = _loose.decode(data)
    if loose.type in _KNOWN:
        _usual.decode(data)  # raises the error of the field
    if loose.error is not None:
        return Error(loose.error_code, loose.error)
    kind = loose.type or ""
    if kind.lower() == "llmgatewayresponse":
        return _reply.decode(data)
    return Unknown(kind)


# --- client → server -----------------------------------------------------------------------

TERMINATE = '{"type":"Terminate"}'
FORCE_ENDPOINT = '{"type":"ForceEndpoint"}'
KEEP_ALIVE = '{"type":"KeepAlive"}'


def update_configuration(changes: dict[str, Any]) -> str:
    """Encode a change of checked parameters; an invalid one would end the session."""
    return msgspec.json.encode({"type": "UpdateConfiguration", **changes}).decode()
