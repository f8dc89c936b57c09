"""What a scenario file can say, and the reading of it. Pure.

A scenario is JSON lines: one object per line, empty lines and lines that begin with ``#`` are
comments. A line with ``"stt"`` belongs to the speech-to-text server, one with ``"llm"`` to the
chat-completions server; the value names the kind, and the kinds are the classes below. Every
field that ends in ``_ms`` is milliseconds, in ``_s`` seconds.

STT lines are played in order. A ``connection`` line opens the script of the next connection;
lines before the first one belong to a first connection with the defaults; the last script
is played again to every further connection. LLM lines are looked at in file order for each
request, and the first that fits and is not used up answers; without one the last user message
is echoed, word by word.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast, get_args

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipeline.checking import meant
from pipeline.errors import InputError

How = Literal["fin", "rst"]  #: an orderly end of the TCP stream, or a reset


# --- speech-to-text ------------------------------------------------------------------------


class SttLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="stt"):
    """When a line is played: once all of these that are set have come true, in file order."""

    at_ms: float | None = None  #: audio received on this connection
    wall_ms: float | None = None  #: wall clock since Begin
    after_ms: float | None = None  #: wall clock since the line before was played
    on: str | None = None  #: a client message of this type has arrived: Terminate, KeepAlive, ...


class Connection(SttLine, frozen=True, kw_only=True, tag="connection"):
    """The next connection begins here; its own ``at_ms`` and the like mean nothing."""

    style: Literal["u3", "us"] = "u3"  #: Universal-3 family or Universal-Streaming turns
    begin: bool = True  #: false: Begin never comes
    begin_ms: float = 0.0  #: how late Begin comes
    expires_s: float = 10_800.0  #: what Begin.expires_at says, from now
    lifetime_ms: float | None = None  #: Error 3008 and close, so long after Begin
    on_terminate: Literal["flush", "empty", "quiet", "close", "never"] = "flush"
    termination_ms: float = 0.0  #: from Terminate to Termination
    force_ms: float = 0.0  #: from ForceEndpoint to the final of the open turn
    heartbeat_ms: float | None = None  #: a Heartbeat so often, asked for or not
    key: str | None = None  #: what Authorization must say; else Error and close 1008
    http_status: int = 101  #: another one refuses the handshake
    partials: bool = True  #: false: of each turn only its end is told
    hear_numbers: bool = False  #: hear what ``numbers.spoken`` says: a Turn per silence
    strict_audio: bool = False  #: Error 3007 for frames outside 50-1000 ms or sent too fast


class TimedWord(Struct, frozen=True, forbid_unknown_fields=True):
    """One word of a Turn, as it is on the wire."""

    text: str
    start: int  #: milliseconds of this connection's audio
    end: int  #: milliseconds
    confidence: float = 0.95
    word_is_final: bool = True


class TurnLine(SttLine, frozen=True, kw_only=True):
    """One Turn message. What is not said is filled in the way the connection's style does."""

    text: str = ""
    words: tuple[TimedWord, ...] | None = None  #: default: made from ``text``
    start_ms: float | None = None  #: where the first word starts
    end_ms: float | None = None  #: where the last word ends
    turn_order: int | None = None  #: default: counted
    formatted: bool | None = None  #: turn_is_formatted
    confidence: float | None = None  #: end_of_turn_confidence
    utterance: str | None = None
    transcript: str | None = None
    extra: dict[str, Any] = {}  #: further fields of the message


class Partial(TurnLine, frozen=True, kw_only=True, tag="partial"):
    """The turn so far; it opens one when the turn before has ended."""


class Pause(TurnLine, frozen=True, kw_only=True, tag="pause"):
    """A silence partial (U3), or an utterance without an end (Universal-Streaming)."""

    lag: int = 0  #: words by which ``transcript`` lags behind ``utterance``; us only


class End(TurnLine, frozen=True, kw_only=True, tag="end"):
    """The end of the turn; a line after it opens the next turn."""


class FormattedCopy(TurnLine, frozen=True, kw_only=True, tag="formatted"):
    """The second end message of the turn that ended last; us only."""


class SpeechStarted(SttLine, frozen=True, kw_only=True, tag="speech_started"):
    """The onset of speech, as the U3 family tells it."""

    timestamp_ms: int | None = None  #: default: the audio received so far


class RawMessage(SttLine, frozen=True, kw_only=True, tag="message"):
    """Any text frame: an object, or with a string exactly that text."""

    message: dict[str, Any] | str


class LlmResponse(SttLine, frozen=True, kw_only=True, tag="llm_response"):
    """The answer of the in-stream mode to a turn; nothing where it was not asked for."""

    text: str
    turn_order: int | None = None  #: default: the turn that ended last
    transcript: str | None = None  #: default: that turn's text
    type_name: str = "LLMGatewayResponse"


class ErrorFrame(SttLine, frozen=True, kw_only=True, tag="error"):
    """An Error frame, then a close with the same code."""

    error_code: int
    error: str = "example text"
    typed: bool = True  #: false: the frame is ``{"error": ...}`` alone
    close_code: int | None = None  #: default: ``error_code``; 0: no close follows
    reason: str = "See Error message for details"


class Close(SttLine, frozen=True, kw_only=True, tag="close"):
    """A websocket close without an Error frame before it."""

    code: int = 1000
    reason: str = ""


class Drop(SttLine, frozen=True, kw_only=True, tag="drop"):
    """The TCP connection ends without a close frame."""

    by: How = "rst"


class Silent(SttLine, frozen=True, kw_only=True, tag="silent"):
    """From here on nothing is sent, whatever comes; TCP and pongs go on."""


class StopReading(SttLine, frozen=True, kw_only=True, tag="stop_reading"):
    """From here on nothing is read off the socket: buffers fill, no pong is sent."""


class Heartbeat(SttLine, frozen=True, kw_only=True, tag="heartbeat"):
    """One Heartbeat, with the audio really received."""


class Token(SttLine, frozen=True, kw_only=True, tag="token"):
    """How the next ``GET /v3/token`` is answered; the last such line serves the rest."""

    status: int = 200
    body: str | None = None  #: default: a token that opens a session here
    delay_ms: float = 0.0


AnySttLine = (
    Connection
    | Partial
    | Pause
    | End
    | FormattedCopy
    | SpeechStarted
    | RawMessage
    | LlmResponse
    | ErrorFrame
    | Close
    | Drop
    | Silent
    | StopReading
    | Heartbeat
    | Token
)


# --- chat completions ----------------------------------------------------------------------


class LlmLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="llm"):
    """A line for the chat-completions server."""


class Answering(LlmLine, frozen=True, kw_only=True):
    """Which requests a line answers."""

    match: str | None = None  #: a piece of the last user message; case does not matter
    model: str | None = None  #: only requests for this model
    times: int | None = None  #: uses; 0: no end; default: 1, but no end with ``match``
    headers: dict[str, str] = {}  #: further response headers
    headers_ms: float = 0.0  #: from the request to the head of the answer


class CallLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool call of an answer."""

    name: str
    arguments: dict[str, Any] | str = ""
    id: str | None = None


class Cut(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body stops early, after so many tokens or bytes, whichever is first."""

    after_tokens: int | None = None
    after_bytes: int | None = None  #: of the body as it is on the wire
    #: end, reset, stay open in silence, or send comments for ever
    by: Literal["fin", "rst", "hang", "keepalive"] = "fin"


class ReplyLine(Answering, frozen=True, kw_only=True, tag="reply"):
    """An answer of the model, streamed when the request asks for it."""

    text: str | None = None  #: default: an echo of the last user message
    tokens: tuple[str, ...] | None = None  #: default: the words of ``text``
    first_token_ms: float = 0.0  #: from the head of the answer
    token_ms: float = 0.0  #: between two tokens
    token_times_ms: tuple[float, ...] | None = None  #: each token, from the head of the answer
    tool_calls: tuple[CallLine, ...] = ()
    answering_model: str | None = None  #: what ``model`` says; default: the one asked
    finish_reason: str | None = "auto"  #: auto: stop or tool_calls; null: none is sent
    usage: Literal["auto", "last", "each", "none"] = "auto"  #: auto: last when asked for
    usage_names: Literal["both", "input", "prompt"] = "both"  #: streams say prompt unless input
    done: bool = True  #: the stream ends with [DONE]
    framing: Literal["chunked", "length", "close"] = "chunked"
    newline: Literal["lf", "crlf"] = "lf"
    comments: int = 0  #: comment lines before the first token
    blank_tool_delta: bool = False  #: an empty tool-call delta comes first
    tool_id: Literal["id", "function"] = "id"  #: where the call's id is, in a stream
    tool_place: Literal["message", "choice", "spread"] = "message"  #: in a whole answer
    fragments: int = 3  #: pieces in which the arguments of a tool call arrive
    error_event: dict[str, Any] | str | None = None  #: after the tokens, in place of the end
    plain: bool = False  #: one JSON body although ``stream`` was asked for
    slice_bytes: int = 0  #: write the body in pieces of so many bytes
    cut: Cut | None = None


class ErrorLine(Answering, frozen=True, kw_only=True, tag="error"):
    """A refusal."""

    status: int = 500
    message: str = "the provider failed"
    shape: Literal["business", "nested", "authorization", "text"] = "business"
    retry_after_s: float | None = None
    internal_retry_ms: float = 0.0  #: added unless the request says fallback_config.retry false


class RawLine(Answering, frozen=True, kw_only=True, tag="raw"):
    """Any body; with ``pieces`` each is written for itself, ``piece_ms`` apart."""

    status: int = 200
    content_type: str = "text/event-stream"
    body: str = ""
    pieces: tuple[str, ...] = ()
    piece_ms: float = 0.0
    framing: Literal["chunked", "length", "close"] = "chunked"
    slice_bytes: int = 0
    cut: Cut | None = None


class HangLine(Answering, frozen=True, kw_only=True, tag="hang"):
    """The request is read and never answered."""


class DropLine(Answering, frozen=True, kw_only=True, tag="drop"):
    """The connection ends where the answer's head would come."""

    by: How = "rst"


class LimitLine(LlmLine, frozen=True, kw_only=True, tag="limit"):
    """429 past so many requests per window and model; a dropped or refused request counts."""

    requests: int = 30
    per_s: float = 60.0  #: the window, from its first request
    model: str | None = None  #: default: each model has this limit


class ServerLine(LlmLine, frozen=True, kw_only=True, tag="server"):
    """What holds for every request."""

    key: str | None = None  #: what Authorization must hold, bare or after Bearer


class ModelLine(LlmLine, frozen=True, kw_only=True, tag="model"):
    """An entry of ``GET /models``; a listed model refuses parameters that it does not list."""

    id: str
    supported_parameters: tuple[str, ...] | None = None  #: default: anything goes
    extra: dict[str, Any] = {}  #: further fields of the entry


class TranscriptLine(LlmLine, frozen=True, kw_only=True, tag="transcript"):
    """A stored transcript, for ``transcript_id``."""

    id: str
    text: str = ""
    deleted: bool = False


class RecordingLine(LlmLine, frozen=True, kw_only=True, tag="recording"):
    """What the next recording becomes that is uploaded to be stored (``/v2/transcript``)."""

    id: str | None = None  #: default: counted
    text: str = "A scripted transcript."
    queued_ms: float = 0.0  #: from when it was asked for
    processing_ms: float = 0.0  #: after that
    error: str | None = None  #: it ends so, and not with a text
    fails_at: Literal["upload", "transcript", "look"] | None = None  #: which requests are refused
    fails: int = 1  #: so many of them; -1: all
    status: int = 500
    message: str = "the service failed"


AnyAnswer = ReplyLine | ErrorLine | RawLine | HangLine | DropLine
AnyLlmLine = AnyAnswer | LimitLine | ServerLine | ModelLine | TranscriptLine | RecordingLine


# --- a whole scenario ----------------------------------------------------------------------


class SttScript(Struct, frozen=True):
    """What one connection hears."""

    connection: Connection = Connection()
    lines: tuple[AnySttLine, ...] = ()

    def lasting(self, seconds: int) -> "SttScript":
        """Return what a connection hears that may last so long."""
        how = replace(self.connection, expires_s=seconds, lifetime_ms=seconds * 1000)
        return SttScript(how, self.lines)

    def without_answers(self) -> "SttScript":
        """Return what a connection hears that has not asked for answers in-stream."""
        heard = tuple(line for line in self.lines if not isinstance(line, LlmResponse))
        return SttScript(self.connection, heard)


class Scenario(Struct, frozen=True):
    """What both servers do."""

    connections: tuple[SttScript, ...] = (SttScript(),)
    llm: tuple[AnyLlmLine, ...] = ()
    tokens: tuple[Token, ...] = ()

    def script(self, number: int) -> SttScript:
        """Return the script of a connection, counted from 0; the last one serves the rest."""
        return self.connections[min(number, len(self.connections) - 1)]


Line = str | Mapping[str, Any] | AnySttLine | AnyLlmLine

_KINDS: dict[str, dict[str, type[Struct]]] = {
    "stt": {str(kind.__struct_config__.tag): kind for kind in get_args(AnySttLine)},
    "llm": {str(kind.__struct_config__.tag): kind for kind in get_args(AnyLlmLine)},
}


def parse(text: str) -> Scenario:
    """Read a scenario file's text. Raises ``InputError`` that names the line and the word."""
    return read(text.splitlines())


def read(lines: Iterable[Line]) -> Scenario:
    """Make a scenario of lines: JSON text, mappings, or the structs of this module."""
    scripts: list[SttScript] = []
    llm: list[AnyLlmLine] = []
    tokens: list[Token] = []
    for number, line in enumerate(lines, start=1):
        try:
            made = _line(line)
        except (msgspec.ValidationError, msgspec.DecodeError, ValueError) as error:
            raise InputError(f"scenario line {number}: {error}") from error
        match made:
            case None:
                pass
            case Connection():
                scripts.append(SttScript(made))
            case Token():
                tokens.append(made)
            case SttLine():
                script = scripts.pop() if scripts else SttScript()
                scripts.append(SttScript(script.connection, (*script.lines, made)))
            case _:
                llm.append(made)
    return Scenario(tuple(scripts) or (SttScript(),), tuple(llm), tuple(tokens))


def _line(line: Line) -> AnySttLine | AnyLlmLine | None:
    if isinstance(line, Struct):
        return line
    if isinstance(line, str):
        line = line.strip()
        if not line or line.startswith("#"):
            return None
        line = msgspec.json.decode(line, type=dict[str, Any])
    return _made(dict(line))


def _made(line: dict[str, Any]) -> AnySttLine | AnyLlmLine:
    servers = [server for server in _KINDS if server in line]
    if len(servers) != 1:
        raise ValueError('a line says either "stt": KIND or "llm": KIND')
    kinds = _KINDS[servers[0]]
    name = str(line[servers[0]])
    if name not in kinds:
        raise ValueError(f"no such {servers[0]} line {name!r}{meant(name, kinds)}")
    kind = kinds[name]
    for key in line:
        if key not in kind.__struct_fields__ and key != servers[0]:
            raise ValueError(f"{name} has no {key!r}{meant(key, kind.__struct_fields__)}")
    return cast("AnySttLine | AnyLlmLine", msgspec.convert(line, kind))
