"""Events of the push protocol, from server to subscriber. Values only.

JSON text frames, one object each. Every server event carries the envelope of ``Event``;
``seq`` is gapless from 1 in a session, and ``from_seq`` is present when one frame covers
several. Durations in ``times`` are milliseconds.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

#: back_channel: one of the prompt's ``back_channels``; too_short: under ``interrupt_words``;
#: limit_reached: a spending limit allows no more requests
SkipReason = Literal["back_channel", "too_short", "limit_reached"]
Status = Literal["completed", "cancelled", "incomplete", "failed"]


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Envelope of an event. The session's log fills it when it numbers the event."""

    seq: int = 0  #: from 1; 0 only in events without a number of their own (heartbeat)
    session_id: str = ""
    epoch: int = 0  #: names the history; greater when another process continues it
    t: int = -1  #: milliseconds on the session's audio clock
    ts: str = ""  #: wall clock, ISO 8601, UTC
    from_seq: int | None = None


# --- the session ---------------------------------------------------------------------------


class Engine(Struct, frozen=True, omit_defaults=True):
    """Engine of speech-to-text or of the language model."""

    name: str  #: assemblyai, local, custom, or none
    url: str
    model: str | None = None


class Totals(Struct, frozen=True, kw_only=True):
    """Totals of a session, for ``session.ended``."""

    turns: int = 0
    responses: int = 0
    completed: int = 0
    cancelled: int = 0
    incomplete: int = 0
    failed: int = 0
    speculative: int = 0  #: calls started before the end of their turn
    adopted: int = 0
    discarded: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    wasted_tokens: int = 0  #: output tokens of cancelled and discarded calls
    estimated_tokens: int = 0  #: the part of the counts above that is estimated
    #: USD, of the responses whose price is known; absent if none is
    cost: float | UnsetType = UNSET
    audio_seconds: float = 0.0


class SessionCreated(Event, frozen=True, kw_only=True, tag="session.created"):
    """Start of a session; its first event."""

    source: str
    stt: Engine
    llm: Engine
    prompts: tuple[str, ...]


class SessionUpdated(Event, frozen=True, kw_only=True, tag="session.updated"):
    """Change of a session's engines or prompts."""

    stt: Engine | None = None
    llm: Engine | None = None
    prompts: tuple[str, ...] | None = None


class SessionEnded(Event, frozen=True, kw_only=True, tag="session.ended"):
    """End of a session; its last event."""

    reason: str  #: source_ended, idle, limit (also one that stopped requests), shutdown, error
    totals: Totals


class SttInterrupted(Event, frozen=True, kw_only=True, tag="stt.interrupted"):
    """Loss of the connection to speech-to-text; audio is buffered."""

    cause: str
    engine: str | None = None  #: the one that was lost, as in the settings
    speaker: str | None = None  #: of the channel, if channels are transcribed separately


class SttResumed(Event, frozen=True, kw_only=True, tag="stt.resumed"):
    """Reconnection to speech-to-text, perhaps with another engine."""

    replayed: float  #: seconds of audio sent again
    engine: str | None = None  #: the one that goes on, as in the settings
    lost_from: float | None = None  #: seconds on the audio clock
    lost_to: float | None = None
    speaker: str | None = None  #: of the channel, if channels are transcribed separately


class SourceInterrupted(Event, frozen=True, kw_only=True, tag="source.interrupted"):
    """Loss of the source's connection; the session waits for its return."""


class SourceResumed(Event, frozen=True, kw_only=True, tag="source.resumed"):
    """Return of the source. The audio clock has not advanced without it."""

    away: float  #: seconds without a source; what it has not sent since is lost


class Dtmf(Event, frozen=True, kw_only=True, tag="dtmf"):
    """Keys that the caller pressed, as they came."""

    digits: str


# --- turns ---------------------------------------------------------------------------------


class WordSpoken(Struct, frozen=True, omit_defaults=True, gc=False):
    """Recognised word."""

    text: str
    start: int  #: milliseconds
    end: int  #: milliseconds
    confidence: float = 1.0
    speaker: str | None = None


class SpeechStartedEvent(Event, frozen=True, kw_only=True, tag="speech.started"):
    """Start of speech."""

    speaker: str | None = None  #: if channels are transcribed separately


class TurnUpdated(Event, frozen=True, kw_only=True, tag="turn.updated"):
    """Partial text of an open turn; replaces the previous partial."""

    turn: int
    text: str
    speaker: str | None = None


class TurnCompleted(Event, frozen=True, kw_only=True, tag="turn.completed"):
    """End of a turn, with its final text."""

    turn: int
    text: str
    end_of_turn_delay: float | None  #: milliseconds; null for a text turn
    speaker: str | None = None
    language: str | None = None
    words: tuple[WordSpoken, ...] = ()
    start: int | None = None  #: milliseconds on the audio clock; null without word times
    end: int | None = None  #: milliseconds


class TurnRevisedEvent(Event, frozen=True, kw_only=True, tag="turn.revised"):
    """Correction of an ended turn's text or speaker."""

    turn: int
    text: str | None = None
    speaker: str | None = None


# --- responses -----------------------------------------------------------------------------


class ErrorDetail(Struct, frozen=True, omit_defaults=True):
    """Description of an error."""

    type: str
    message: str
    code: int | str | None = None
    param: str | None = None


class Times(Struct, frozen=True, kw_only=True):
    """Durations in milliseconds; null if the measured moment did not occur."""

    end_of_turn_delay: float | None = None  #: end of speech → end of turn received
    queue: float | None = None  #: → request sent
    time_to_first_token: float | None = None  #: → first token received
    first_sentence: float | None = None  #: request sent → first sentence complete
    total: float | None = None  #: request sent → end of the reply
    end_to_end: float | None = None  #: end of speech → first text published
    lead: float = 0.0  #: time saved by speculation


class TokenUsage(Struct, frozen=True, omit_defaults=True):
    """Tokens and cost of a response."""

    input_tokens: int
    output_tokens: int
    estimated: bool
    cost: float | None = None  #: USD; absent if the price is not known


class RequestInfo(Struct, frozen=True):
    """Language model call that produced a response."""

    id: str | None
    model: str
    region: str | None


class ResponseWaiting(Event, frozen=True, kw_only=True, tag="response.waiting"):
    """Wait of turns for quota; a response to them follows, or a failed one."""

    prompt: str
    turns: tuple[int, ...]
    reason: str  #: quota: the model's server, or ``requests_per_minute``, allows no request now
    until: str | None = None  #: expected end of the wait: wall clock, ISO 8601


class ResponseSkipped(Event, frozen=True, kw_only=True, tag="response.skipped"):
    """Turns that a prompt does not answer: they met a response that was generated or played."""

    prompt: str
    turns: tuple[int, ...]
    reason: SkipReason


class ResponseCreated(Event, frozen=True, kw_only=True, tag="response.created"):
    """Start of a response: its request was sent to the model."""

    response_id: str
    prompt: str
    turns: tuple[int, ...]
    model: str
    speculative: bool
    supersedes: str | None = None
    client_id: str | None = None  #: of the ``response.create`` that requested it


class ResponseDelta(Event, frozen=True, kw_only=True, tag="response.output_text.delta"):
    """Piece of a response's text, to append to the previous pieces."""

    response_id: str
    delta: str


class ResponseSentence(Event, frozen=True, kw_only=True, tag="response.output_text.sentence"):
    """Complete sentence of a response, ready for speech synthesis."""

    response_id: str
    index: int
    text: str
    #: of its first character in the response's text, in code points; -1: older versions
    start: int = -1
    end: int = -1  #: one past its last character


class ResponseJsonPartial(Event, frozen=True, kw_only=True, tag="response.output_json.partial"):
    """JSON object of a response so far."""

    response_id: str
    value: Any


class ResponseToolCall(Event, frozen=True, kw_only=True, tag="response.tool_call"):
    """Tool call of a response."""

    response_id: str
    call_id: str
    name: str
    arguments: Any
    awaits_result: bool = False  #: a client must run the tool and send ``tool.result``


class ResponseToolResult(Event, frozen=True, kw_only=True, tag="response.tool_result"):
    """Result of a tool call."""

    response_id: str
    call_id: str
    name: str
    result: Any


class ResponseDone(Event, frozen=True, kw_only=True, tag="response.done"):
    """End of a response, exactly one per response; only ``response.played`` may follow."""

    response_id: str
    status: Status
    text: str
    usage: TokenUsage
    times: Times
    request: RequestInfo
    reason: str | None = None
    superseded_by: str | None = None
    json: Any = None
    error: ErrorDetail | None = None


class ResponsePlayed(Event, frozen=True, kw_only=True, tag="response.played"):
    """Part of a response that the caller heard, by the latest ``playback.report``."""

    response_id: str
    text: str  #: the beginning of the response's text
    characters: int  #: its length in code points
    interrupted: bool  #: there was more, or would have been


# --- the connection ------------------------------------------------------------------------


class SessionState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Snapshot of a session for a subscriber that missed events: turns and open responses."""

    status: str = "live"
    turns: tuple[TurnCompleted, ...] = ()
    open_turn: TurnUpdated | None = None  #: the one updated last
    open_turns: tuple[TurnUpdated, ...] = ()  #: all of them, if there are several
    responses: tuple[dict[str, Any], ...] = ()


class SessionResync(Event, frozen=True, kw_only=True, tag="session.resync"):
    """Snapshot that replaces the events from ``from_seq`` to ``seq``."""

    state: SessionState
    reason: str | None = None


class Heartbeat(Event, frozen=True, kw_only=True, tag="heartbeat"):
    """Newest ``seq`` of a session, so that a subscriber detects missing events."""

    head: int


class AudioAck(Event, frozen=True, kw_only=True, tag="audio.ack"):
    """Audio received so far, sent to the source only, at most once a second."""

    position: int  #: milliseconds of the source's audio; later audio may have been lost


class ErrorEvent(Event, frozen=True, kw_only=True, tag="error"):
    """Refused command, or failure outside any response."""

    error: ErrorDetail


ServerEvent = (
    SessionCreated
    | SessionUpdated
    | SessionEnded
    | SttInterrupted
    | SttResumed
    | SourceInterrupted
    | SourceResumed
    | Dtmf
    | SpeechStartedEvent
    | TurnUpdated
    | TurnCompleted
    | TurnRevisedEvent
    | ResponseWaiting
    | ResponseSkipped
    | ResponseCreated
    | ResponseDelta
    | ResponseSentence
    | ResponseJsonPartial
    | ResponseToolCall
    | ResponseToolResult
    | ResponseDone
    | ResponsePlayed
    | SessionResync
    | Heartbeat
    | AudioAck
    | ErrorEvent
)


class UnknownEvent(Struct, frozen=True):
    """Event of a type that only a newer server knows, kept undecoded."""

    type: str
    raw: bytes


class Frame(Struct, frozen=True, gc=False):
    """Event in a session's log: encoded once, sent to every subscriber."""

    seq: int
    type: str
    data: bytes  #: the whole JSON text


encode = msgspec.json.Encoder().encode
_server: msgspec.json.Decoder[ServerEvent] = msgspec.json.Decoder(ServerEvent)


class _Tagged(Struct):
    type: str


_tagged = msgspec.json.Decoder(_Tagged)
_known = frozenset(str(kind.__struct_config__.tag) for kind in ServerEvent.__args__)


def type_of(message: Struct) -> str:
    """Return the ``type`` of an event or a command on the wire."""
    return str(type(message).__struct_config__.tag)


def decode_event(data: bytes | str) -> ServerEvent | UnknownEvent:
    """Decode a server event. Raises ``msgspec.MsgspecError`` for other data."""
    try:
        return _server.decode(data)
    except msgspec.ValidationError:
        kind = _tagged.decode(data).type
        if kind in _known:
            raise
        return UnknownEvent(kind, data.encode() if isinstance(data, str) else bytes(data))
