"""What clients send: the push protocol, towards us. Values only.

JSON text frames, one object each, and beside them binary audio; ``events`` is the other direction.
"""

from itertools import chain
from typing import Any, Literal

import msgspec
from msgspec import Struct

DEEPEST = 64  #: levels of objects and lists in what a client sends

Encoding = Literal["pcm_s16le", "pcm_mulaw"]


class Command(Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """What a client asks for."""


class AudioFormat(Struct, frozen=True, forbid_unknown_fields=True):
    """How the client's audio is encoded."""

    encoding: Encoding = "pcm_s16le"
    sample_rate: int = 16000  #: hertz, 8000 to 96000
    channels: int = 1
    separate: bool = False  #: each channel is heard by itself, and is one speaker; else mixed
    speakers: tuple[str, ...] = ()  #: what those are called, one name for each channel


class SubscribeCommand(Command, frozen=True, kw_only=True, tag="session.subscribe"):
    """Send me a session's events."""

    session_id: str  #: or * for every session
    after_seq: int | None = None
    epoch: int | None = None  #: of the last event seen, if the client kept it
    events: tuple[str, ...] = ()  #: globs; empty is everything


class StartCommand(Command, frozen=True, kw_only=True, tag="session.start"):
    """Begin a session; its audio follows."""

    audio: AudioFormat | None = AudioFormat()  #: null: no audio, the turns come as text
    session_id: str | None = None
    prompts: tuple[str, ...] | None = None  #: names from the settings; none is all
    resume: bool = False  #: go on with the session of that id, also where another source feeds it
    after_seq: int | None = None  #: of a session that goes on: send the events after this one


class TurnCommitCommand(Command, frozen=True, kw_only=True, tag="turn.commit"):
    """End the open turn now."""


class SessionEndCommand(Command, frozen=True, kw_only=True, tag="session.end"):
    """The audio is over; hear it out."""


class TurnCreateCommand(Command, frozen=True, kw_only=True, tag="turn.create"):
    """Take this text as a turn."""

    text: str
    speaker: str | None = None
    final: bool = True  #: false: still being said; the next ``turn.create`` replaces it


class _Control(Command, frozen=True, kw_only=True):
    """What steers a session that is running, from its source's socket or a subscriber's."""

    session_id: str | None = None  #: which one; none is the source's own, or the one followed


class ResponseCancelCommand(_Control, frozen=True, kw_only=True, tag="response.cancel"):
    """Call a response off."""

    response_id: str | None = None  #: none is every live one


class ResponseCreateCommand(_Control, frozen=True, kw_only=True, tag="response.create"):
    """Ask a prompt now."""

    prompt: str | None = None


class SessionUpdateCommand(_Control, frozen=True, kw_only=True, tag="session.update"):
    """Change the session as it runs."""

    stt: dict[str, Any] = {}
    vars: dict[str, str] = {}


class PlaybackReportCommand(_Control, frozen=True, kw_only=True, tag="playback.report"):
    """So much of a response was really heard."""

    response_id: str
    text: str | None = None  #: what was heard so far, or
    characters: int | None = None  #: how many characters of it


class ToolResultCommand(_Control, frozen=True, kw_only=True, tag="tool.result"):
    """The result of a tool that the client ran."""

    call_id: str
    result: Any


ControlCommand = (
    ResponseCancelCommand
    | ResponseCreateCommand
    | SessionUpdateCommand
    | PlaybackReportCommand
    | ToolResultCommand
)
ClientCommand = (
    SubscribeCommand
    | StartCommand
    | TurnCommitCommand
    | SessionEndCommand
    | TurnCreateCommand
    | ControlCommand
)


_command: msgspec.json.Decoder[ClientCommand] = msgspec.json.Decoder(ClientCommand)


def decode_command(data: bytes | str) -> ClientCommand:
    """Read a client's command. Raises ``msgspec.MsgspecError`` saying what does not fit."""
    command = _command.decode(data)
    match command:
        case ToolResultCommand(result=free) | SessionUpdateCommand(stt=free):
            _check_depth(free)
        case _:
            pass
    return command


def _check_depth(value: Any) -> None:
    """Refuse what is nested so deep that whoever walks it would fall."""
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        lists: list[list[Any]] = [one for one in level if isinstance(one, list)]
        tables: list[dict[str, Any]] = [one for one in level if isinstance(one, dict)]
        level = [*chain.from_iterable(lists), *chain.from_iterable(t.values() for t in tables)]
        if not level:
            return
    raise msgspec.ValidationError(f"nested more than {DEEPEST} deep")
