"""State machine of one Streaming v3 connection. Pure.

========  =====================  ===========================================================
state     event                  then
========  =====================  ===========================================================
opening   Begin                  open: ``StreamOpened``
opening   no v3 message first    ``error``: refused
opening   Error, close           ``error``: refused, busy or lost
open      Turn and its like      transcripts
open      terminate()            ending
open      Error, close           ``error``
open      unreadable message     none: counted and skipped
ending    Turn and its like      transcripts: the last turn is still due
open      Termination            ``error``: lost, because the client did not request it
ending    Termination            over: ``StreamClosed``
ending    close 1000             over: ``StreamClosed``
ending    Error, other close     ``error``: the last turn may be missing
========  =====================  ===========================================================
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import SttError, SttLost, SttRefused
from pipeline.interfaces.stt import (
    Heard,
    InStreamReply,
    SpeakerRevised,
    SpeechBegan,
    StreamClosed,
    StreamOpened,
)
from pipeline.interfaces.stt_protocol import Progress, State, SttEndpoint
from pipeline.stt.assemblyai import transcripts, wire
from pipeline.stt.assemblyai.close_codes import CloseReason, error_of
from pipeline.stt.assemblyai.parameters import Family, family_of
from pipeline.stt.loudness import quiet

UNREQUESTED = 1000  #: close code that an end on the server's own account counts as
RECENT = 40  #: frames that are kept to distinguish speech from a pause: 2 s


class StreamProtocol:
    """One connection; implements ``SttProtocol``."""

    def __init__(self, endpoint: SttEndpoint, origin: float = 0.0) -> None:
        self.state: State = "opening"
        self.origin = origin  #: seconds on the session's clock, where its audio begins
        self.progress = Progress()
        self.expires_at: float | None = None  #: Unix seconds
        self.note = ""  #: log text about the last message
        self._endpoint = endpoint
        self._family: Family = family_of(endpoint.model)
        self._bytes_per_second = endpoint.bytes_per_second
        self._ending: CloseReason | None = None
        self._unread = ""  # the last message, if it was skipped: it may say why a close follows
        self._frames: deque[bytes] = deque(maxlen=RECENT)

    def __repr__(self) -> str:
        sent = self.progress.sent
        return f"<StreamProtocol {self.state} origin={self.origin:.2f} sent={sent:.2f}>"

    # --- client to server ------------------------------------------------------------------

    def open(self) -> Sequence[bytes | str]:
        """Return nothing: all parameters are in the address."""
        return ()

    def send(self, frame: bytes) -> bytes:
        """Count a frame and return it: audio is sent as plain binary messages."""
        self.progress.sent += len(frame) / self._bytes_per_second
        self._frames.append(frame)
        return frame

    def force_endpoint(self) -> str:
        """Return the message that ends the open turn; without one it does nothing."""
        return wire.FORCE_ENDPOINT

    def update(self, changes: Mapping[str, Any]) -> str:
        """Return the message that changes parameters, which must have been checked."""
        return wire.update_configuration(dict(changes))

    def terminate(self) -> str:
        """Return the message that ends the session; read on until the state is ``over``."""
        self.state = "ending"
        return wire.TERMINATE

    # --- server to client ------------------------------------------------------------------

    def receive(self, data: bytes | str, now: float) -> Sequence[Heard]:
        """Return the values in one message.

        Raises ``SttRefused`` when it is the first and not of this protocol, and ``SttLost`` when
        it ends the session although the client did not request it.
        """
        first = self.state == "opening" and self.progress.message is None
        self.note, self._unread = "", ""
        message = wire.decode(data)
        if not isinstance(message, wire.Heartbeat):  # which proves the transport only
            self.progress.note_message(now)
        if isinstance(message, wire.Turn):
            return (self._turn(message),)
        if isinstance(message, wire.Unreadable | wire.Unknown):
            self._skip(message, first=first)
            return ()
        return self._other(message, now)

    def _skip(self, message: wire.Unreadable | wire.Unknown, *, first: bool) -> None:
        if isinstance(message, wire.Unreadable):
            self._unread = message.text
            self.progress.skipped += 1
            self.note = f"skipped a message that cannot be read: {message.why}"
        elif message.type:
            self.note = f"skipped a message of type {message.type!r}"
            return
        if first:
            shown = f" {self._unread!r}" if self._unread else ""
            raise SttRefused(
                f"speech-to-text at {self._endpoint.host} began with a message that cannot be"
                f" read{shown}; is this an AssemblyAI Streaming v3 server?"
            )

    def _turn(self, turn: wire.Turn) -> Heard:
        doubtful = self._family == "universal-3" and not (turn.end_of_turn or turn.utterance)
        silence = doubtful and quiet(self._frames, self._endpoint.encoding)
        return transcripts.transcript(turn, origin=self.origin, family=self._family, quiet=silence)

    def _other(self, message: wire.ServerMessage, now: float) -> Sequence[Heard]:
        match message:
            case wire.Begin():
                return (self._begin(message),)
            case wire.SpeechStarted():
                return (SpeechBegan(self.origin + message.timestamp / 1000),)
            case wire.Heartbeat():
                received = message.total_audio_received_ms / 1000
                self.progress.note_heartbeat(received, now, message.max_speech_probability)
            case wire.SpeakerRevision():
                return [self._revised(revision) for revision in message.revisions]
            case wire.Reply():
                return (InStreamReply(int(message.turn_order), bytes(message.data)),)
            case wire.Error():
                self._fail(message)
            case wire.Termination():
                return (self._terminated(message),)
            case _:
                self.note = repr(message)
        return ()

    def _begin(self, begin: wire.Begin) -> Heard:
        if self.state == "opening":
            self.state = "open"
        self.expires_at = begin.expires_at
        model = (begin.configuration or {}).get("model") or self._endpoint.model
        return StreamOpened(begin.id, self.origin, begin.expires_at, str(model))

    def _terminated(self, end: wire.Termination) -> Heard:
        if self.state != "ending":
            raise self._error(UNREQUESTED, "")
        self.state = "over"
        return StreamClosed(end.audio_duration_seconds)

    def _revised(self, revision: wire.Revision) -> Heard:
        return SpeakerRevised(
            int(revision.turn_order),
            transcripts.speaker(revision.speaker_label),
            transcripts.words(revision.words, self.origin),
        )

    def _fail(self, error: wire.Error) -> None:
        code = None if error.error_code is None else int(error.error_code)
        self._ending = CloseReason(code, error.error)
        self.note = repr(error)

    # --- the end ---------------------------------------------------------------------------

    def close(self, code: int, reason: str = "") -> Sequence[Heard]:
        """Record that the socket is closed; return the last values if the end was agreed.

        Raises ``SttRefused``, ``SttBusy`` or ``SttLost`` for any other end.
        """
        if self.state == "over":
            return ()
        if self.state == "ending" and self._ending is None and code in (1000, 1005):
            self.state = "over"
            return (StreamClosed(),)
        raise self._error(code, reason)

    def give_up(self) -> Sequence[Heard]:
        """Stop waiting for the last turn; return the values that close the stream."""
        if self.state == "over":
            return ()
        self.state = "over"
        return (StreamClosed(),)

    @property
    def failed(self) -> bool:
        """Whether an Error came, so that only the close is still due."""
        return self._ending is not None

    @property
    def too_fast(self) -> bool:
        """Whether the server ended the connection because audio came too fast."""
        return self._ending is not None and self._ending.too_fast

    def _error(self, code: int, reason: str) -> SttError:
        # The reason of the close only points at the Error message before it.
        error = self._ending
        ending = (
            CloseReason(code, reason or self._unread)
            if error is None
            else CloseReason(error.code or code, error.text)
        )
        self._ending = ending
        opened = self.state != "opening"
        key_given = bool(self._endpoint.headers) or "token" in self._endpoint.parameters
        return error_of(ending, self._endpoint.host, opened=opened, key_given=key_given)

    def begin_timeout(self, waited: float) -> SttError:
        """Return the error for a server that accepted the connection and sent no Begin."""
        return SttLost(
            f"speech-to-text at {self._endpoint.host} took the connection but sent no Begin"
            f" within {waited:g} s"
        )
