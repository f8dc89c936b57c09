"""What subscribers receive: the push protocol, from us. Values only.

JSON text frames, one object each. Every server event carries the envelope of ``Event``;
``seq`` is gapless from 1 in a session, and ``from_seq`` is present when one frame covers
several. Durations in ``times`` are milliseconds.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

Status = Literal["completed", "cancelled", "incomplete", "failed"]


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """The envelope. The log fills it when it gives an event its place."""

    seq: int = 0  #: from 1; 0 only where no place was given (heartbeat)
    session_id: str = ""
    epoch: int = 0  #: grows when another process takes the session over
    t: int = -1  #: milliseconds on the session's audio clock
    ts: str = ""  #: wall clock, ISO 8601, UTC
    from_seq: int | None = None


# --- the session ---------------------------------------------------------------------------


class Engine(Struct, frozen=True, omit_defaults=True):
    """What stands behind speech-to-text or the language model."""

    name: str  #: assemblyai, local, custom, or none
    url: str
    model: str | None = None


class Totals(Struct, frozen=True, kw_only=True):
    """Counted over a session, for ``session.ended``."""

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
    estimated_tokens: int = 0  #: how many of all the above were estimated
    #: USD, of the responses whose price is known; absent where none is
    cost: float | UnsetType = UNSET
    audio_seconds: float = 0.0


class SessionCreated(Event, frozen=True, kw_only=True, tag="session.created"):
    """A session has begun: its first event."""

    source: str
    stt: Engine
    llm: Engine
    prompts: tuple[str, ...]


class SessionUpdated(Event, frozen=True, kw_only=True, tag="session.updated"):
    """A session goes on with other engines or prompts."""

    stt: Engine | None = None
    llm: Engine | None = None
    prompts: tuple[str, ...] | None = None


class SessionEnded(Event, frozen=True, kw_only=True, tag="session.ended"):
    """A session is over: its last event."""

    reason: str  #: source_ended, idle, limit, client, shutdown, error
    totals: Totals


class SttInterrupted(Event, frozen=True, kw_only=True, tag="stt.interrupted"):
    """Speech-to-text is out of reach; audio is kept."""

    cause: str
    speaker: str | None = None  #: whose channel, where channels are heard apart


class SttResumed(Event, frozen=True, kw_only=True, tag="stt.resumed"):
    """Speech-to-text is back."""

    replayed: float  #: seconds of audio sent again
    lost_from: float | None = None  #: seconds on the audio clock
    lost_to: float | None = None
    speaker: str | None = None  #: whose channel, where channels are heard apart


# --- turns ---------------------------------------------------------------------------------


class WordSpoken(Struct, frozen=True, omit_defaults=True, gc=False):
    """One recognised word."""

    text: str
    start: int  #: milliseconds
    end: int  #: milliseconds
    confidence: float = 1.0
    speaker: str | None = None


class SpeechStartedEvent(Event, frozen=True, kw_only=True, tag="speech.started"):
    """Somebody has begun to speak."""

    speaker: str | None = None  #: who, where channels are heard apart


class TurnUpdated(Event, frozen=True, kw_only=True, tag="turn.updated"):
    """An open turn as it reads so far; replaces what was there."""

    turn: int
    text: str
    speaker: str | None = None


class TurnCompleted(Event, frozen=True, kw_only=True, tag="turn.completed"):
    """A turn has ended."""

    turn: int
    text: str
    end_of_turn_delay: float | None  #: milliseconds; null for a text turn
    speaker: str | None = None
    language: str | None = None
    words: tuple[WordSpoken, ...] = ()
    start: int | None = None  #: milliseconds on the audio clock; none without word times
    end: int | None = None  #: milliseconds


class TurnRevisedEvent(Event, frozen=True, kw_only=True, tag="turn.revised"):
    """A turn that has ended reads differently, or was somebody else's."""

    turn: int
    text: str | None = None
    speaker: str | None = None


# --- responses -----------------------------------------------------------------------------


class ErrorDetail(Struct, frozen=True, omit_defaults=True):
    """What went wrong."""

    type: str
    message: str
    code: int | str | None = None
    param: str | None = None


class Times(Struct, frozen=True, kw_only=True):
    """Milliseconds; null where the moment never came (design: section 6)."""

    end_of_turn_delay: float | None = None  #: end of speech → end of turn received
    queue: float | None = None  #: → request sent
    time_to_first_token: float | None = None  #: → first token received
    first_sentence: float | None = None  #: request sent → first sentence whole
    total: float | None = None  #: request sent → reply over
    end_to_end: float | None = None  #: end of speech → first text published
    lead: float = 0.0  #: what speculation saved


class TokenUsage(Struct, frozen=True, omit_defaults=True):
    """What a response cost."""

    input_tokens: int
    output_tokens: int
    estimated: bool
    cost: float | None = None  #: USD; absent where the price is not known


class RequestInfo(Struct, frozen=True):
    """Which call of which model a response came from."""

    id: str | None
    model: str
    region: str | None


class ResponseCreated(Event, frozen=True, kw_only=True, tag="response.created"):
    """A model has been asked."""

    response_id: str
    prompt: str
    turns: tuple[int, ...]
    model: str
    speculative: bool
    supersedes: str | None = None


class ResponseDelta(Event, frozen=True, kw_only=True, tag="response.output_text.delta"):
    """A piece of a response, to be put behind the others."""

    response_id: str
    delta: str


class ResponseSentence(Event, frozen=True, kw_only=True, tag="response.output_text.sentence"):
    """A whole sentence of a response, ready for speech synthesis."""

    response_id: str
    index: int
    text: str


class ResponseJsonPartial(Event, frozen=True, kw_only=True, tag="response.output_json.partial"):
    """The object of a response so far."""

    response_id: str
    value: Any


class ResponseToolCall(Event, frozen=True, kw_only=True, tag="response.tool_call"):
    """A response asks for a tool."""

    response_id: str
    call_id: str
    name: str
    arguments: Any
    awaits_result: bool = False  #: a client is to carry it out and send ``tool.result``


class ResponseToolResult(Event, frozen=True, kw_only=True, tag="response.tool_result"):
    """What the tool said."""

    response_id: str
    call_id: str
    name: str
    result: Any


class ResponseDone(Event, frozen=True, kw_only=True, tag="response.done"):
    """The one ending of a response; no later event names it."""

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


# --- the connection ------------------------------------------------------------------------


class SessionState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What somebody needs who missed events: ended turns, the open one, open responses."""

    status: str = "live"
    turns: tuple[TurnCompleted, ...] = ()
    open_turn: TurnUpdated | None = None  #: the one that was heard last
    open_turns: tuple[TurnUpdated, ...] = ()  #: all of them, where there are several
    responses: tuple[dict[str, Any], ...] = ()


class SessionResync(Event, frozen=True, kw_only=True, tag="session.resync"):
    """What the events between ``from_seq`` and ``seq`` add up to."""

    state: SessionState
    reason: str | None = None


class Heartbeat(Event, frozen=True, kw_only=True, tag="heartbeat"):
    """The newest ``seq`` there is, for a subscriber to notice that it is behind."""

    head: int


class ErrorEvent(Event, frozen=True, kw_only=True, tag="error"):
    """Something was refused, or failed outside any response."""

    error: ErrorDetail


ServerEvent = (
    SessionCreated
    | SessionUpdated
    | SessionEnded
    | SttInterrupted
    | SttResumed
    | SpeechStartedEvent
    | TurnUpdated
    | TurnCompleted
    | TurnRevisedEvent
    | ResponseCreated
    | ResponseDelta
    | ResponseSentence
    | ResponseJsonPartial
    | ResponseToolCall
    | ResponseToolResult
    | ResponseDone
    | SessionResync
    | Heartbeat
    | ErrorEvent
)


class Unknown(Struct, frozen=True):
    """An event of a newer server, kept as it came."""

    type: str
    raw: bytes


class Frame(Struct, frozen=True, gc=False):
    """One event as it stands in a session's log: encoded once, sent to everybody."""

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
    """Return the ``type`` that an event or a command has on the wire."""
    return str(type(message).__struct_config__.tag)


def decode_event(data: bytes | str) -> ServerEvent | Unknown:
    """Read a server event. Raises ``msgspec.MsgspecError`` when it is none."""
    try:
        return _server.decode(data)
    except msgspec.ValidationError:
        kind = _tagged.decode(data).type
        if kind in _known:
            raise
        return Unknown(kind, data.encode() if isinstance(data, str) else bytes(data))
