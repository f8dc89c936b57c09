"""What a scenario file can say, and the reading of it. Pure.

A scenario is JSON lines: one object per line, empty lines and lines that begin with ``#`` are
comments. A line with ``"stt"`` belongs to the speech-to-text server, one with ``"llm"`` to the
chat-completions server; the value names the kind, and the kinds are the classes below and in
``lines_llm``. Every field that ends in ``_ms`` is milliseconds, in ``_s`` seconds.

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

from pipeline.config.validation import suggestion
from pipeline.errors import InputError
from pipeline.simulator.scenario_llm import AnyLlmLine, How

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
        raise ValueError(f"no such {servers[0]} line {name!r}{suggestion(name, kinds)}")
    kind = kinds[name]
    for key in line:
        if key not in kind.__struct_fields__ and key != servers[0]:
            raise ValueError(f"{name} has no {key!r}{suggestion(key, kind.__struct_fields__)}")
    return cast("AnySttLine | AnyLlmLine", msgspec.convert(line, kind))
