"""The plain ingest format: ``session.start``, binary audio, commands as JSON text. Pure."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from pipeline.errors import InputError
from pipeline.ingest.opening import ADDRESS, check_session_id
from pipeline.ingest.pcm import Mixer, check_channels, check_rate, check_size, expand
from pipeline.protocol.close_codes import CloseCode, Disconnect
from pipeline.protocol.commands import (
    AudioFormat,
    ClientCommand,
    SessionEndCommand,
    StartCommand,
    SubscribeCommand,
    decode_command,
)
from pipeline.protocol.events import Frame
from pipeline.runtime.containers import MOST_HEAD, container_of, is_undecided

MAX_COMMAND_BYTES = 1 << 14


class RawAdapter:
    """Adapter of one connection: ``session.start``, then audio and commands in any order.

    The sample rate is kept; several channels are mixed to one, unless they are separate.
    """

    takes_events = True
    takes_over = False

    def __init__(self, address: Mapping[str, str] = ADDRESS) -> None:
        del address  # session.start has all parameters
        self._started = False
        self._ended = False
        self._mixer: Mixer | None = None  # none: a session without audio
        self._expands = False
        self._head: bytes | None = b""  # of the audio, until it is known to be no container

    def receive(self, message: bytes | str) -> Sequence[bytes | ClientCommand]:
        """Decode the audio or command in ``message``.

        Raises ``InputError``, or ``Disconnect`` for a recording in place of raw audio.
        """
        if isinstance(message, bytes):
            return self._audio(message)
        return (self._command(message),)

    def answer(self, frame: Frame) -> Sequence[bytes]:
        """Return nothing: the events themselves are sent."""
        return ()

    def _audio(self, data: bytes) -> Sequence[bytes]:
        if not self._started:
            raise InputError("audio came before session.start")
        if self._mixer is None:
            raise InputError("audio came, but session.start has audio: null")
        check_size(data)
        if self._ended or not data:
            return ()
        if self._head is not None:
            self._check_head(data)
        return (self._mixer.feed(expand(data, "mulaw") if self._expands else data),)

    def _check_head(self, data: bytes) -> None:
        """Raise ``Disconnect`` if the audio begins like a recording, which would be noise."""
        self._head = (self._head or b"") + data[:MOST_HEAD]
        container = container_of(self._head)
        if container is not None:
            raise Disconnect(
                f"this is {container}, not raw audio: decode it first, or use pipeline run FILE",
                code=CloseCode.BAD_REQUEST,
            )
        if not is_undecided(self._head):
            self._head = None

    def _command(self, text: str) -> ClientCommand:
        if len(text) > MAX_COMMAND_BYTES:
            raise InputError(f"a command of {len(text)} characters; at most {MAX_COMMAND_BYTES}")
        try:
            command = decode_command(text)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise InputError(f"not a command: {error}") from error
        match command:
            case StartCommand():
                return self._start(command)
            case SubscribeCommand():
                raise InputError("session.subscribe belongs on /v1/events")
            case _ if not self._started:
                raise InputError("the first message must be session.start")
            case SessionEndCommand():
                self._ended = True
            case _:
                pass
        return command

    def _start(self, command: StartCommand) -> StartCommand:
        if self._started:
            raise InputError("session.start came twice")
        if command.session_id is not None:
            check_session_id(command.session_id)
        if (command.after_seq or 0) < 0:
            raise InputError("after_seq is negative")
        audio = command.audio
        if audio is not None:
            command = replace(command, audio=self._prepare(audio))
        self._started = True
        return command

    def _prepare(self, audio: AudioFormat) -> AudioFormat:
        """Prepare the decoding of ``audio``; return the session's format."""
        check_rate(audio.sample_rate, "audio.sample_rate")
        check_channels(audio.channels, "audio.channels")
        mixed = 1 if audio.separate else audio.channels
        self._mixer = Mixer(mixed)
        if mixed == 1:
            return audio
        self._expands = audio.encoding == "pcm_mulaw"
        return AudioFormat("pcm_s16le", audio.sample_rate, 1)
