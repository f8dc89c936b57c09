"""What is heard: from speech-to-text to turns, and from turns to requests. Values only.

Times are seconds on the session's audio clock unless a field says otherwise: 0 is the first
sample of the session, and it does not restart when the speech-to-text connection does.
"""

from msgspec import Struct


class Word(Struct, frozen=True):
    """One recognised word."""

    text: str
    start: float  #: seconds
    end: float  #: seconds
    confidence: float = 1.0  #: 0 to 1
    final: bool = True
    speaker: str | None = None


# --- stt → turns ---------------------------------------------------------------------------


class StreamOpened(Struct, frozen=True):
    """A speech-to-text connection answered; its ``order`` numbers start at 0 again."""

    stream_id: str  #: the vendor's session id; quote it to their support
    origin: float  #: where this connection's audio begins on the session's clock
    expires_at: float | None = None  #: Unix seconds
    model: str | None = None


class StreamLost(Struct, frozen=True):
    """The connection broke; audio is kept and will be sent again."""

    cause: str


class StreamResumed(Struct, frozen=True):
    """The connection is back."""

    replayed: float  #: seconds of audio sent again
    lost_from: float | None = None  #: the range that could not be kept, if any
    lost_to: float | None = None


class StreamFailed(Struct, frozen=True):
    """The connection of one channel is lost for good; the other channels go on."""

    cause: str
    code: int | None = None  #: as in ``SttError``


class StreamClosed(Struct, frozen=True):
    """The connection ended as agreed; nothing more will be heard on it."""

    audio_seconds: float | None = None


class SpeechBegan(Struct, frozen=True):
    """Somebody has begun to speak."""

    at: float


class Transcript(Struct, frozen=True):
    """What one turn of one connection reads so far: always the whole text, never a piece."""

    order: int  #: the vendor's turn number, from 0 in each connection
    text: str  #: the best cumulative text: lagging words already added
    ended: bool = False
    formatted: bool = False
    paused: bool = False  #: a silence was seen, but the turn has not ended
    confidence: float = 0.0  #: that the turn is over, 0 to 1
    words: tuple[Word, ...] = ()
    speaker: str | None = None
    language: str | None = None


class SpeakerRevised(Struct, frozen=True):
    """A turn of the connection was somebody else's after all."""

    order: int
    speaker: str | None
    words: tuple[Word, ...] = ()


class InStreamReply(Struct, frozen=True):
    """An answer the speech-to-text service asked a model for by itself."""

    order: int
    body: bytes  #: a chat-completion object, as it came


Heard = (
    StreamOpened
    | StreamLost
    | StreamResumed
    | StreamFailed
    | StreamClosed
    | SpeechBegan
    | Transcript
    | SpeakerRevised
    | InStreamReply
)
