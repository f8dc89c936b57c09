"""One connection, from opening to its end: what each message and close means. Pure.

========  =====================  ===========================================================
state     event                  then
========  =====================  ===========================================================
opening   Begin                  open: ``StreamOpened``
opening   anything else, close   ``error``: refused, busy or lost
open      Turn and its like      what was heard
open      terminate()            ending
open      Error, close           ``error``
ending    Turn and its like      what was heard: the last turn is still due
ending    Termination            over: ``StreamClosed``
ending    close 1000             over: ``StreamClosed``
ending    Error, other close     ``error``: the last turn may be missing
========  =====================  ===========================================================
"""

from collections import deque
from collections.abc import Sequence
from typing import Literal

import msgspec

from pipeline.errors import SttError, SttLost, SttRefused
from pipeline.interfaces.stt import (
    Heard,
    InStreamReply,
    SpeakerRevised,
    SpeechBegan,
    StreamClosed,
    StreamOpened,
)
from pipeline.stt.assemblyai import transcripts, wire
from pipeline.stt.assemblyai.close_codes import CloseReason, error_of
from pipeline.stt.assemblyai.endpoint import SttEndpoint
from pipeline.stt.loudness import quiet

State = Literal["opening", "open", "ending", "over"]
RECENT = 40  #: frames that are kept to tell speech from a pause: 2 s


class StreamProtocol:
    """Follows one connection; the door feeds it and does what it says."""

    def __init__(self, connection: SttEndpoint, origin: float = 0.0) -> None:
        self.state: State = "opening"
        self.origin = origin  #: seconds on the session's clock, where its audio begins
        self.sent = 0.0  #: seconds of audio
        self.received: float | None = None  #: seconds of audio the server says it has
        self.heartbeat: float | None = None  #: when it said so last
        self.sent_at_heartbeat = 0.0  #: seconds of audio
        self.spoke: float | None = None  #: when the last message came
        self.sent_when_spoke = 0.0  #: seconds of audio
        self.expires_at: float | None = None  #: Unix seconds
        self.note = ""  #: of the last message, worth a line in the log
        self._connection = connection
        self._ending: CloseReason | None = None
        self._frames: deque[bytes] = deque(maxlen=RECENT)

    def __repr__(self) -> str:
        return f"<Link {self.state} origin={self.origin:.2f} sent={self.sent:.2f}>"

    # --- what we do ------------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        """Note that a frame is being sent."""
        self.sent += len(frame) / self._connection.bytes_per_second
        self._frames.append(frame)

    def terminate(self) -> str:
        """Ask for the end; return what to send. Everything until ``over`` must be read."""
        self.state = "ending"
        return wire.TERMINATE

    # --- what they do ----------------------------------------------------------------------

    def receive(self, data: bytes | str, now: float) -> Sequence[Heard]:
        """Return what one message says. Raises ``SttRefused`` when it cannot be read."""
        self.spoke, self.sent_when_spoke = now, self.sent
        self.note = ""
        try:
            message = wire.decode(data)
        except msgspec.MsgspecError as error:
            raise SttRefused(
                f"speech-to-text at {self._connection.host} sent a message that cannot be read"
                f" ({error}); is this an AssemblyAI Streaming v3 server?"
            ) from error
        if isinstance(message, wire.Turn):
            return (self._turn(message),)
        return self._other(message, now)

    def _turn(self, turn: wire.Turn) -> Heard:
        family = self._connection.family
        doubtful = family == "universal-3" and not (turn.end_of_turn or turn.utterance)
        silence = doubtful and quiet(self._frames, self._connection.encoding)
        return transcripts.transcript(turn, origin=self.origin, family=family, quiet=silence)

    def _other(self, message: wire.ServerMessage, now: float) -> Sequence[Heard]:
        match message:
            case wire.Begin():
                return (self._begin(message),)
            case wire.SpeechStarted():
                return (SpeechBegan(self.origin + message.timestamp / 1000),)
            case wire.Heartbeat():
                self.received, self.heartbeat = message.total_audio_received_ms / 1000, now
                self.sent_at_heartbeat = self.sent
            case wire.SpeakerRevision():
                return [self._revised(revision) for revision in message.revisions]
            case wire.Reply():
                return (InStreamReply(int(message.turn_order), bytes(message.data)),)
            case wire.Error():
                self._fail(message)
            case wire.Termination():
                self.state = "over"
                return (StreamClosed(message.audio_duration_seconds),)
            case _:
                self.note = repr(message)
        return ()

    def _begin(self, begin: wire.Begin) -> Heard:
        if self.state == "opening":
            self.state = "open"
        self.expires_at = begin.expires_at
        model = (begin.configuration or {}).get("model") or self._connection.model
        return StreamOpened(begin.id, self.origin, begin.expires_at, str(model))

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

    def close(self, code: int, reason: str = "") -> Sequence[Heard]:
        """Note that the connection is closed; return what is heard when that was agreed.

        Raises ``SttRefused``, ``SttBusy`` or ``SttLost`` when it was not.
        """
        if self.state == "over":
            return ()
        if self.state == "ending" and self._ending is None and code in (1000, 1005):
            self.state = "over"
            return (StreamClosed(),)
        raise self._error(code, reason)

    def give_up(self) -> Sequence[Heard]:
        """Wait no longer for the last turn; return what is heard instead."""
        if self.state == "over":
            return ()
        self.state = "over"
        return (StreamClosed(),)

    @property
    def behind(self) -> float:
        """Seconds of audio that had been sent and not received at the last Heartbeat."""
        return 0.0 if self.received is None else self.sent_at_heartbeat - self.received

    @property
    def ending(self) -> CloseReason | None:
        """How the connection ended, where that is known."""
        return self._ending

    @property
    def failed(self) -> bool:
        """An Error has come; only the close is still due."""
        return self._ending is not None

    def _error(self, code: int, reason: str) -> SttError:
        # The reason of the close only points at the Error message before it.
        told = self._ending
        ending = (
            CloseReason(code, reason) if told is None else CloseReason(told.code or code, told.text)
        )
        self._ending = ending
        opened = self.state != "opening"
        key_given = bool(self._connection.headers) or "token" in self._connection.parameters
        return error_of(ending, self._connection.host, opened=opened, key_given=key_given)

    def silent(self, waited: float) -> SttError:
        """Say that the server accepted the connection and then never began."""
        return SttLost(
            f"speech-to-text at {self._connection.host} took the connection but sent no Begin"
            f" within {waited:g} s"
        )
