"""Streaming v3, server side: parameters and client messages in, frames out. Pure.

AssemblyAI docs: streaming API reference and Universal-3 Pro message sequence, 2026.
"""

from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec
from msgspec import Struct

from pipeline.interfaces.stt import Word

BAD_REQUEST = 3006  #: bad parameter, message type or JSON; inactivity
BAD_AUDIO = 3007  #: invalid length of an audio frame
EXPIRED = 3008
TOO_MANY = 3009
SERVER_FAULT = 3005

SHORTEST_FRAME, LONGEST_FRAME = 0.050, 1.000  #: seconds
SHORT_FRAMES_TOLERATED = 49  #: in a row, as the service does (observed 2026-09)
LARGEST_MESSAGE = 128 * 1024  #: bytes; more is closed with 1009
SESSION_SECONDS = 3 * 3600
HEARTBEAT_SECONDS = 5.0

_LONGEST_TEXT, _MOST_KEYTERMS = 1750, 100
_SHORTEST_SILENCE_MS, _LONGEST_SILENCE_MS = 50, 10_000


Encoding = Literal["pcm_s16le", "pcm_mulaw"]


class RefusedClient(Exception):
    """Refusal of a client, sent as an Error frame; ``code`` closes the connection."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Tunable(Struct, frozen=True, kw_only=True):
    """Parameters that a client can also change while it streams."""

    min_turn_silence: int | None = None  #: ms
    max_turn_silence: int | None = None  #: ms
    vad_threshold: float | None = None
    session_heartbeat: bool | None = None


class Parameters(Struct, frozen=True, kw_only=True):
    """Connection parameters of a client."""

    sample_rate: int = 16_000
    encoding: Encoding = "pcm_s16le"
    inactivity_timeout: int | None = None  #: seconds
    include_partial_turns: bool = True
    tunable: Tunable = Tunable()

    @property
    def bytes_per_second(self) -> int:
        return self.sample_rate * (1 if self.encoding == "pcm_mulaw" else 2)


class Control(Struct, frozen=True):
    """Text message of a client: ``type`` and, for an update, the changed parameters."""

    type: Literal["Terminate", "ForceEndpoint", "KeepAlive", "UpdateConfiguration"]
    tunable: Tunable = Tunable()


def parameters(query: Mapping[str, str]) -> Parameters:
    """Decode the query; ignore unknown names, as the service does; refuse invalid values."""
    timeout = _number(query, "inactivity_timeout", 5, 3600)
    rate = _number(query, "sample_rate", 8000, 96_000)
    partial = _flag(query, "include_partial_turns")
    return Parameters(
        sample_rate=16_000 if rate is None else int(rate),
        encoding=_encoding(query),
        inactivity_timeout=None if timeout is None else int(timeout),
        include_partial_turns=True if partial is None else partial,
        tunable=_tunable(query),
    )


def control(text: str) -> Control:
    try:
        message: object = msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise RefusedClient(BAD_REQUEST, "Invalid JSON") from None
    if not isinstance(message, dict):
        raise RefusedClient(BAD_REQUEST, "Invalid JSON: not an object")
    fields = cast("dict[str, Any]", message)
    match fields.get("type"):
        case "Terminate" | "ForceEndpoint" | "KeepAlive" as kind:
            return Control(kind)
        case "UpdateConfiguration" as kind:
            _check_texts(fields)
            return Control(kind, _tunable(fields))
        case other:
            raise RefusedClient(BAD_REQUEST, f"Invalid Message Type: {other}")


def check_frame(size: int, asked: Parameters, short_in_a_row: int) -> int:
    """Refuse a frame of invalid length; return the number of short ones in a row."""
    seconds = size / asked.bytes_per_second
    if SHORTEST_FRAME <= seconds <= LONGEST_FRAME:
        return 0
    if seconds > LONGEST_FRAME or short_in_a_row >= SHORT_FRAMES_TOLERATED:
        heard = f"{seconds * 1000:.0f} ms, expected between 50 and 1000 ms"
        raise RefusedClient(BAD_AUDIO, f"Input duration violation: {heard}")
    return short_in_a_row + 1


def merged(old: Tunable, new: Tunable) -> Tunable:
    changes = {
        name: value for name, value in msgspec.structs.asdict(new).items() if value is not None
    }
    return msgspec.structs.replace(old, **changes)


# --- server messages -----------------------------------------------------------------------


def begin(session_id: str, expires_at: int, model: str) -> bytes:
    configuration = {
        "model": model,
        "mode": None,
        "api_version": "2025-05-12",
        "speaker_labels": False,
        "redact_pii": False,
        "filter_profanity": False,
        "domain": None,
        "voice_focus": None,
    }
    return _frame("Begin", id=session_id, expires_at=expires_at, configuration=configuration)


def speech_started(at: float) -> bytes:
    return _frame("SpeechStarted", timestamp=_ms(at))


def turn(order: int, words: tuple[Word, ...], *, ended: bool, confidence: float) -> bytes:
    """Encode the whole turn so far, which replaces the previous one, as in the U3 family."""
    text = " ".join(word.text for word in words)
    return _frame(
        "Turn",
        turn_order=order,
        turn_is_formatted=ended,
        end_of_turn=ended,
        transcript=text,
        utterance=text if ended else "",
        end_of_turn_confidence=1.0 if ended else confidence,
        words=[_word(word) for word in words],
    )


def heartbeat(heard: float, lasted: float, loudest: float) -> bytes:
    return _frame(
        "Heartbeat",
        total_audio_received_ms=_ms(heard),
        total_duration_ms=_ms(lasted),
        realtime_factor=round(heard / lasted, 3) if lasted else 0.0,
        max_speech_probability=round(loudest, 3),
    )


def error(code: int, message: str) -> bytes:
    return _frame("Error", error_code=code, error=message)


def termination(heard: float, lasted: float) -> bytes:
    return _frame(
        "Termination",
        audio_duration_seconds=round(heard),
        session_duration_seconds=round(lasted),
    )


def _frame(kind: str, **fields: object) -> bytes:
    return msgspec.json.encode({"type": kind, **fields})


def _word(word: Word) -> dict[str, object]:
    return {
        "text": word.text,
        "start": _ms(word.start),
        "end": _ms(word.end),
        "confidence": word.confidence,
        "word_is_final": word.final,
    }


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


# --- reading values ------------------------------------------------------------------------


def _tunable(fields: Mapping[str, Any]) -> Tunable:
    least = _silence(fields, "min_turn_silence")
    if least is None:
        least = _silence(fields, "min_end_of_turn_silence_when_confident")  # the old name
    return Tunable(
        min_turn_silence=least,
        max_turn_silence=_silence(fields, "max_turn_silence"),
        vad_threshold=_number(fields, "vad_threshold", 0, 1),
        session_heartbeat=_flag(fields, "session_heartbeat"),
    )


def _encoding(query: Mapping[str, str]) -> Encoding:
    match query.get("encoding", "pcm_s16le"):
        case "pcm_s16le" | "pcm_mulaw" as known:
            return known
        case other:
            raise RefusedClient(BAD_REQUEST, f"encoding: {other} is not pcm_s16le or pcm_mulaw")


def _silence(fields: Mapping[str, Any], name: str) -> int | None:
    value = _number(fields, name, 0, 3_600_000)
    if value is None:
        return None
    return max(_SHORTEST_SILENCE_MS, min(_LONGEST_SILENCE_MS, int(value)))


def _number(fields: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        value = float(raw)
    except (TypeError, ValueError):
        raise RefusedClient(BAD_REQUEST, f"{name}: {raw!r} is not a number") from None
    if not least <= value <= most:
        raise RefusedClient(BAD_REQUEST, f"{name}: {raw} is not between {least} and {most}")
    return value


def _flag(fields: Mapping[str, Any], name: str) -> bool | None:
    raw = fields.get(name)
    if raw is None or isinstance(raw, bool):
        return raw
    match str(raw).lower():
        case "true":
            return True
        case "false":
            return False
        case _:
            raise RefusedClient(BAD_REQUEST, f"{name}: {raw!r} is not true or false")


def _check_texts(fields: Mapping[str, Any]) -> None:
    for name in ("prompt", "agent_context"):
        text = fields.get(name)
        if text is not None and (not isinstance(text, str) or len(text) > _LONGEST_TEXT):
            raise RefusedClient(
                BAD_REQUEST, f"{name}: not a text of at most {_LONGEST_TEXT} characters"
            )
    terms = fields.get("keyterms_prompt")
    if terms is not None and (not isinstance(terms, list) or len(terms) > _MOST_KEYTERMS):  # pyright: ignore[reportUnknownArgumentType]
        raise RefusedClient(
            BAD_REQUEST, f"keyterms_prompt: not a list of at most {_MOST_KEYTERMS} terms"
        )
