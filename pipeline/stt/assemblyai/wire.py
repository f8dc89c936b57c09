"""Messages of AssemblyAI Streaming v3, both directions. Pure.

Shapes: AssemblyAI streaming API reference, mid-2026. Unknown fields are skipped, unknown types
become ``Unknown``; fields that may be missing or null have a default; numbers may be written with
or without a fraction, so all are read as floats. A message of a known type with other fields is
read by ``tolerant``; data that is no message at all becomes ``Unreadable``. Times are milliseconds
of this connection's audio.
"""

from typing import Annotated, Any, Union

import msgspec
from msgspec import Meta, Struct

from pipeline.stt.assemblyai import tolerant

#: bytes; three hours of words fit, and decoding it does not hold up other sessions
LONGEST = 4 * 2**20

Order = Annotated[float, Meta(ge=0, le=2**53)]
Milliseconds = Annotated[float, Meta(ge=-1e9, le=1e9)]  #: of audio; others are no times


class Message(Struct, frozen=True, tag_field="type", tag=True, gc=False):
    """Base of the server messages."""


class Begin(Message, frozen=True, tag=True):
    """Start of the session."""

    id: str = ""
    expires_at: float | None = None  #: Unix seconds
    configuration: dict[str, Any] | None = None


class SpeechStarted(Message, frozen=True, tag=True):
    """The onset of speech; only Universal-3 sends it."""

    timestamp: Milliseconds = 0.0
    confidence: float | None = None


class Word(Struct, frozen=True, gc=False):
    """One word."""

    text: str
    start: Milliseconds | None = None
    end: Milliseconds | None = None
    confidence: float | None = None
    word_is_final: bool = False
    speaker: str | None = None


class Turn(Message, frozen=True, tag=True):
    """One turn so far."""

    turn_order: Order
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

    turn_order: Order
    speaker_label: str | None = None
    words: tuple[Word, ...] | None = None


class SpeakerRevision(Message, frozen=True, tag=True):
    """Revision of speakers in ended turns."""

    revisions: tuple[Revision, ...] = ()


class Reply(Struct, frozen=True):
    """``LLMGatewayResponse``; the letter case of its type differs between documents."""

    turn_order: Order
    transcript: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")


class LLMGatewayResponse(Reply, Message, frozen=True, tag=True):
    """``Reply`` under its usual type."""


class Heartbeat(Message, frozen=True, tag=True):
    """Amount of audio received; only when requested."""

    total_audio_received_ms: Milliseconds = 0.0
    total_duration_ms: float = 0.0
    realtime_factor: float | None = None
    max_speech_probability: float | None = None


class Silence(Message, frozen=True, tag=True):
    """A range without a transcript; only when requested."""

    start_ms: Milliseconds = 0.0
    end_ms: Milliseconds = 0.0


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


class Unreadable(Struct, frozen=True):
    """Data that is no message, or one without its required fields."""

    why: str
    text: str = ""  #: its beginning, unless it is an object: that may hold what was said


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
    | Unreadable
)


KINDS = (
    Begin,
    SpeechStarted,
    Turn,
    SpeakerRevision,
    LLMGatewayResponse,
    Heartbeat,
    Silence,
    Warning,
    Error,
    Termination,
)
_usual: msgspec.json.Decoder[ServerMessage] = msgspec.json.Decoder(
    Union[KINDS]  # noqa: UP007 - of a tuple
)
_BY_NAME: dict[str, type[ServerMessage]] = {
    kind.__name__.lower(): kind for kind in KINDS if kind is not Error
}


def decode(data: bytes | str) -> ServerMessage:
    """Decode one server message, whatever it is; never raises."""
    if len(data) > LONGEST:
        return Unreadable(f"it has {len(data)} bytes, more than {LONGEST}")
    try:
        message = _usual.decode(data)
    except (ValueError, RecursionError) as error:  # MsgspecError is a ValueError
        return _decode_unusual(data, str(error))
    if isinstance(message, Error) and not message.error:
        return _decode_unusual(data, "")
    return message


def _decode_unusual(data: bytes | str, why: str) -> ServerMessage:
    try:
        table = tolerant.table(data)
        kind = table.get("type")
        known = _BY_NAME.get(kind.lower()) if isinstance(kind, str) else None
        if known is not None:
            return tolerant.read(known, table)
    except (ValueError, RecursionError):
        return Unreadable(why, tolerant.beginning(data))
    error = tolerant.error_text(table)
    if error is not None:
        return Error(tolerant.error_code(table), error)
    if kind is None or isinstance(kind, str):
        return Unknown(kind or "")
    return Unreadable(why, tolerant.beginning(data))


# --- client → server -----------------------------------------------------------------------

TERMINATE = '{"type":"Terminate"}'
FORCE_ENDPOINT = '{"type":"ForceEndpoint"}'
KEEP_ALIVE = '{"type":"KeepAlive"}'


def update_configuration(changes: dict[str, Any]) -> str:
    """Encode a change of checked parameters; an invalid one would end the session."""
    return msgspec.json.encode({"type": "UpdateConfiguration", **changes}).decode()
