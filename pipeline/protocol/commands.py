"""Commands of the push protocol, from client to server. Values only.

JSON text frames, one object each, and binary audio; ``events`` is the other direction.
"""

from itertools import chain
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

MAX_DEPTH = 64  #: levels of nested objects and lists in a client's command

#: chosen by the client: a command that is sent again with its id takes effect once
ClientId = Annotated[str, Meta(min_length=1, max_length=64)]
#: keys of a telephone
Digits = Annotated[str, Meta(pattern=r"^[0-9A-D*#]{1,64}$")]
Encoding = Literal["pcm_s16le", "pcm_mulaw"]


class Command(Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """Base of all client commands."""


class AudioFormat(Struct, frozen=True, forbid_unknown_fields=True):
    """Encoding of the client's audio."""

    encoding: Encoding = "pcm_s16le"
    sample_rate: int = 16000  #: hertz, 8000 to 96000
    channels: int = 1
    separate: bool = False  #: transcribe each channel separately, as one speaker; else mix them
    speakers: tuple[str, ...] = ()  #: names of those speakers, one per channel


class SubscribeCommand(Command, frozen=True, kw_only=True, tag="session.subscribe"):
    """Subscribes to a session's events."""

    session_id: str  #: or * for every session
    after_seq: int | None = None
    epoch: int | None = None  #: of the last event received, if the client kept it
    events: tuple[str, ...] = ()  #: globs of event types; empty: all events


class StartCommand(Command, frozen=True, kw_only=True, tag="session.start"):
    """Starts a session; its audio follows."""

    audio: AudioFormat | None = AudioFormat()  #: null: no audio, turns are sent as text
    session_id: str | None = None
    prompts: tuple[str, ...] | None = None  #: names from the settings; null: all prompts
    resume: bool = False  #: continue the session of that id, even if another source feeds it
    after_seq: int | None = None  #: of a continued session: send the events after this one
    epoch: int | None = None  #: of the last event received, if the client kept it


class TurnCommitCommand(Command, frozen=True, kw_only=True, tag="turn.commit"):
    """Ends the open turn now."""


class SessionEndCommand(Command, frozen=True, kw_only=True, tag="session.end"):
    """Ends the audio; the session finishes its open turns and ends."""

    client_id: ClientId | None = None


class TurnCreateCommand(Command, frozen=True, kw_only=True, tag="turn.create"):
    """Adds a turn as text."""

    text: str
    speaker: str | None = None
    language: str | None = None
    final: bool = True  #: false: a partial; the next ``turn.create`` replaces it
    client_id: ClientId | None = None


class DtmfCommand(Command, frozen=True, kw_only=True, tag="dtmf.create"):
    """Adds keys that the caller pressed; they become a turn, as the settings ``dtmf`` say."""

    digits: Digits
    client_id: ClientId | None = None


class _Control(Command, frozen=True, kw_only=True):
    """Base of commands that control a live session, from its source or a subscriber."""

    session_id: str | None = None  #: null: the source's own session, or the one subscribed to


class ResponseCancelCommand(_Control, frozen=True, kw_only=True, tag="response.cancel"):
    """Cancels a response."""

    response_id: str | None = None  #: null: every live response


class ResponseCreateCommand(_Control, frozen=True, kw_only=True, tag="response.create"):
    """Starts a response of a prompt now."""

    prompt: str | None = None
    client_id: ClientId | None = None  #: also in the ``response.created`` that it leads to


class SessionUpdateCommand(_Control, frozen=True, kw_only=True, tag="session.update"):
    """Changes settings of a live session."""

    stt: dict[str, Any] = {}
    vars: dict[str, str] = {}


class PlaybackReportCommand(_Control, frozen=True, kw_only=True, tag="playback.report"):
    """Reports the part of a response that was played to the caller."""

    response_id: str
    #: the text played so far; spaces, case, punctuation, Markdown and numbers may differ
    text: str | None = None
    characters: int | None = None  #: or the number of characters played, in code points
    duration: float | None = None  #: or the milliseconds played


class ToolResultCommand(_Control, frozen=True, kw_only=True, tag="tool.result"):
    """Returns the result of a tool that the client ran."""

    call_id: str
    result: Any
    client_id: ClientId | None = None


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
    | DtmfCommand
    | ControlCommand
)


_command: msgspec.json.Decoder[ClientCommand] = msgspec.json.Decoder(ClientCommand)


def decode_command(data: bytes | str) -> ClientCommand:
    """Decode a client's command. Raises ``msgspec.MsgspecError`` that names the invalid field."""
    command = _command.decode(data)
    match command:
        case ToolResultCommand(result=value) | SessionUpdateCommand(stt=value):
            _check_depth(value)
        case _:
            pass
    return command


def _check_depth(value: Any) -> None:
    """Refuse values nested so deeply that a recursive function over them would fail."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        lists: list[list[Any]] = [one for one in level if isinstance(one, list)]
        tables: list[dict[str, Any]] = [one for one in level if isinstance(one, dict)]
        level = [*chain.from_iterable(lists), *chain.from_iterable(t.values() for t in tables)]
        if not level:
            return
    raise msgspec.ValidationError(f"nested more than {MAX_DEPTH} deep")
