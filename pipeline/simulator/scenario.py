"""Scenario files: the lines for the speech-to-text server, and the parser. Pure.

A scenario is JSON lines: one object per line, empty lines and lines that begin with ``#`` are
comments. A line with ``"stt"`` belongs to the speech-to-text server, one with ``"llm"`` to the
chat-completions server; the value names the kind, and the kinds are the classes below and in
``scenario_llm``. Every field that ends in ``_ms`` is milliseconds, in ``_s`` seconds.

STT lines are played in order. A ``connection`` line opens the script of the next connection;
lines before the first one belong to a first connection with the defaults; the last script
is played again to every further connection. For each LLM request the lines are searched in file
order, and the first that matches and is not used up answers; without one the last user message
is echoed, word by word.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast, get_args

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.validation import suggestion
from pipeline.errors import InputError
from pipeline.simulator.scenario_llm import AnyLlmLine, TcpEnd

# --- speech-to-text ------------------------------------------------------------------------


class SttLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="stt"):
    """Conditions of a line: it is played in file order, when all those that are set hold."""

    at_ms: float | None = None  #: audio received on this connection
    wall_ms: float | None = None  #: wall clock since Begin
    after_ms: float | None = None  #: wall clock since the previous line was played
    on: str | None = None  #: a client message of this type has arrived: Terminate, KeepAlive, ...


class ConnectionLine(SttLine, frozen=True, kw_only=True, tag="connection"):
    """Start of the next connection's script; its own ``at_ms`` and other conditions are ignored."""

    style: Literal["u3", "us"] = "u3"  #: Universal-3 family or Universal-Streaming turns
    begin: bool = True  #: false: Begin is never sent
    begin_ms: float = 0.0  #: delay of Begin
    expires_s: float = 10_800.0  #: Begin.expires_at, from now
    lifetime_ms: float | None = None  #: from Begin to Error 3008 and close
    on_terminate: Literal["flush", "empty", "quiet", "close", "never"] = "flush"
    termination_ms: float = 0.0  #: from Terminate to Termination
    force_ms: float = 0.0  #: from ForceEndpoint to the final of the open turn
    heartbeat_ms: float | None = None  #: interval of Heartbeat, requested or not
    key: str | None = None  #: the required Authorization; else Error and close 1008
    http_status: int = 101  #: any other refuses the handshake
    partials: bool = True  #: false: only the end of each turn is sent
    hear_numbers: bool = False  #: recognise ``number_audio.spoken``: a Turn per silence
    strict_audio: bool = False  #: Error 3007 for frames outside 50-1000 ms or sent too fast


class TimedWord(Struct, frozen=True, forbid_unknown_fields=True):
    """One word of a Turn, as it is on the wire."""

    text: str
    start: int  #: milliseconds of this connection's audio
    end: int  #: milliseconds
    confidence: float = 0.95
    word_is_final: bool = True


class TurnLine(SttLine, frozen=True, kw_only=True):
    """One Turn message. Fields that are not set get the values of the connection's style."""

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


class PartialLine(TurnLine, frozen=True, kw_only=True, tag="partial"):
    """The turn so far; it opens a turn when the previous one has ended."""


class PauseLine(TurnLine, frozen=True, kw_only=True, tag="pause"):
    """A silence partial (U3), or an utterance without an end (Universal-Streaming)."""

    lag: int = 0  #: words by which ``transcript`` lags behind ``utterance``; us only


class EndLine(TurnLine, frozen=True, kw_only=True, tag="end"):
    """The end of the turn; a line after it opens the next turn."""


class FormattedLine(TurnLine, frozen=True, kw_only=True, tag="formatted"):
    """The second end message of the turn that ended last; us only."""


class SpeechStartedLine(SttLine, frozen=True, kw_only=True, tag="speech_started"):
    """The onset of speech, which the U3 family sends."""

    timestamp_ms: int | None = None  #: default: the audio received so far


class MessageLine(SttLine, frozen=True, kw_only=True, tag="message"):
    """Any text frame: an object, or with a string exactly that text."""

    message: dict[str, Any] | str


class LlmResponseLine(SttLine, frozen=True, kw_only=True, tag="llm_response"):
    """In-stream reply to a turn; sent only to a connection with ``llm_gateway``."""

    text: str
    turn_order: int | None = None  #: default: the turn that ended last
    transcript: str | None = None  #: default: that turn's text
    type_name: str = "LLMGatewayResponse"


class ErrorFrameLine(SttLine, frozen=True, kw_only=True, tag="error"):
    """An Error frame, then a close with the same code."""

    error_code: int
    error: str = "example text"
    typed: bool = True  #: false: the frame is ``{"error": ...}`` alone
    close_code: int | None = None  #: default: ``error_code``; 0: no close follows
    reason: str = "See Error message for details"


class CloseLine(SttLine, frozen=True, kw_only=True, tag="close"):
    """A websocket close without an Error frame before it."""

    code: int = 1000
    reason: str = ""


class DropSocketLine(SttLine, frozen=True, kw_only=True, tag="drop"):
    """The TCP connection ends without a close frame."""

    by: TcpEnd = "rst"


class SilentLine(SttLine, frozen=True, kw_only=True, tag="silent"):
    """From here on nothing is sent; TCP and pongs continue."""


class StopReadingLine(SttLine, frozen=True, kw_only=True, tag="stop_reading"):
    """From here on nothing is read off the socket: buffers fill, no pong is sent."""


class HeartbeatLine(SttLine, frozen=True, kw_only=True, tag="heartbeat"):
    """One Heartbeat, with the audio received so far."""


class TokenLine(SttLine, frozen=True, kw_only=True, tag="token"):
    """Response to the next ``GET /v3/token``; the last such line serves all further requests."""

    status: int = 200
    body: str | None = None  #: default: a token that opens a session here
    delay_ms: float = 0.0


AnySttLine = (
    ConnectionLine
    | PartialLine
    | PauseLine
    | EndLine
    | FormattedLine
    | SpeechStartedLine
    | MessageLine
    | LlmResponseLine
    | ErrorFrameLine
    | CloseLine
    | DropSocketLine
    | SilentLine
    | StopReadingLine
    | HeartbeatLine
    | TokenLine
)


# --- a whole scenario ----------------------------------------------------------------------


class SttScript(Struct, frozen=True):
    """Script of one connection."""

    connection: ConnectionLine = ConnectionLine()
    lines: tuple[AnySttLine, ...] = ()

    def lasting(self, seconds: int) -> "SttScript":
        """Return the script for a connection that ends after ``seconds``."""
        connection = replace(self.connection, expires_s=seconds, lifetime_ms=seconds * 1000)
        return SttScript(connection, self.lines)

    def without_answers(self) -> "SttScript":
        """Return the script for a connection without in-stream replies."""
        lines = tuple(line for line in self.lines if not isinstance(line, LlmResponseLine))
        return SttScript(self.connection, lines)


class Scenario(Struct, frozen=True):
    """Scripts of both servers."""

    connections: tuple[SttScript, ...] = (SttScript(),)
    llm: tuple[AnyLlmLine, ...] = ()
    tokens: tuple[TokenLine, ...] = ()

    def script(self, number: int) -> SttScript:
        """Return the script of a connection, counted from 0; the last one serves the rest."""
        return self.connections[min(number, len(self.connections) - 1)]


Line = str | Mapping[str, Any] | AnySttLine | AnyLlmLine

_KINDS: dict[str, dict[str, type[Struct]]] = {
    "stt": {str(kind.__struct_config__.tag): kind for kind in get_args(AnySttLine)},
    "llm": {str(kind.__struct_config__.tag): kind for kind in get_args(AnyLlmLine)},
}


def parse(text: str) -> Scenario:
    """Parse a scenario file. Raises ``InputError`` that names the line and the unknown word."""
    return read(text.splitlines())


def read(lines: Iterable[Line]) -> Scenario:
    """Return the scenario of lines: JSON text, mappings, or the structs of this module."""
    scripts: list[SttScript] = []
    llm: list[AnyLlmLine] = []
    tokens: list[TokenLine] = []
    for number, line in enumerate(lines, start=1):
        try:
            made = _line(line)
        except (msgspec.ValidationError, msgspec.DecodeError, ValueError) as error:
            raise InputError(f"scenario line {number}: {error}") from error
        match made:
            case None:
                pass
            case ConnectionLine():
                scripts.append(SttScript(made))
            case TokenLine():
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
        raise ValueError('a line has either "stt": KIND or "llm": KIND')
    kinds = _KINDS[servers[0]]
    name = str(line[servers[0]])
    if name not in kinds:
        raise ValueError(f"no such {servers[0]} line {name!r}{suggestion(name, kinds)}")
    kind = kinds[name]
    for key in line:
        if key not in kind.__struct_fields__ and key != servers[0]:
            raise ValueError(f"{name} has no {key!r}{suggestion(key, kind.__struct_fields__)}")
    return cast("AnySttLine | AnyLlmLine", msgspec.convert(line, kind))
