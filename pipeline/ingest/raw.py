"""The plain ingest format: ``session.start``, binary audio, commands as JSON text. Pure."""

from collections.abc import Sequence

import msgspec

from pipeline.errors import InputError
from pipeline.events import (
    AudioFormat,
    ClientCommand,
    SessionEndCommand,
    StartCommand,
    SubscribeCommand,
    decode_command,
)

MAX_MESSAGE_BYTES = 1 << 16  #: of audio; 50 ms of 96 kHz stereo are 19,200
MAX_COMMAND_BYTES = 1 << 14
MAX_CHANNELS = 8
SAMPLE_RATES = range(8000, 96001)  #: hertz


class RawAdapter:
    """One connection. It starts with ``session.start``, then audio and commands in any order."""

    def __init__(self) -> None:
        self._started = False
        self._ended = False

    def receive(self, message: bytes | str) -> Sequence[bytes | ClientCommand]:
        """Return the audio or the command that ``message`` is. Raises ``InputError``."""
        if isinstance(message, bytes):
            return self._audio(message)
        return (self._command(message),)

    def _audio(self, data: bytes) -> Sequence[bytes]:
        if not self._started:
            raise InputError("audio came before session.start")
        if len(data) > MAX_MESSAGE_BYTES:
            raise InputError(f"{len(data)} bytes of audio; at most {MAX_MESSAGE_BYTES} a message")
        if self._ended or not data:
            return ()
        return (data,)

    def _command(self, text: str) -> ClientCommand:
        if len(text) > MAX_COMMAND_BYTES:
            raise InputError(f"a command of {len(text)} characters; at most {MAX_COMMAND_BYTES}")
        try:
            command = decode_command(text)
        except msgspec.MsgspecError as error:
            raise InputError(f"not a command: {error}") from error
        match command:
            case StartCommand():
                self._start(command)
            case SubscribeCommand():
                raise InputError("session.subscribe belongs on /v1/events")
            case _ if not self._started:
                raise InputError("the first message must be session.start")
            case SessionEndCommand():
                self._ended = True
            case _:
                pass
        return command

    def _start(self, command: StartCommand) -> None:
        if self._started:
            raise InputError("session.start came twice")
        check_format(command.audio)
        if command.session_id is not None:
            check_session_id(command.session_id)
        self._started = True


def check_format(audio: AudioFormat) -> None:
    """Raise ``InputError`` when ``audio`` is out of range."""
    if audio.sample_rate not in SAMPLE_RATES:
        raise InputError(
            f"audio.sample_rate is {audio.sample_rate}; "
            f"it must be {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]}"
        )
    if not 1 <= audio.channels <= MAX_CHANNELS:
        raise InputError(f"audio.channels is {audio.channels}; it must be 1 to {MAX_CHANNELS}")


def check_session_id(session_id: str) -> None:
    """Raise ``InputError`` when a client may not choose ``session_id``."""
    plain = session_id.replace("-", "").replace("_", "").replace(".", "")
    if not (1 <= len(session_id) <= 64 and plain.isascii() and plain.isalnum()):
        raise InputError("session_id: 1 to 64 of the characters A-Z a-z 0-9 . _ -")
