"""Values that speech-to-text delivers to a session. Values only.

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
    """Start of a speech-to-text connection; its ``order`` numbers start at 0 again."""

    stream_id: str  #: the vendor's session id; quote it to their support
    origin: float  #: where this connection's audio begins on the session's clock
    expires_at: float | None = None  #: Unix seconds
    model: str | None = None
    engine: str = ""  #: as in the settings


class StreamLost(Struct, frozen=True):
    """Loss of the connection; audio is kept and will be sent again."""

    cause: str
    engine: str = ""  #: the one that was lost


class StreamResumed(Struct, frozen=True):
    """Return of the connection, perhaps with another engine."""

    replayed: float  #: seconds of audio sent again
    lost_from: float | None = None  #: seconds; the range that was not kept, if any
    lost_to: float | None = None
    engine: str = ""  #: the one that goes on


class StreamFailed(Struct, frozen=True):
    """Final loss of one channel's connection; the other channels continue."""

    cause: str
    code: int | None = None  #: as in ``SttError``


class StreamUnanswered(Struct, frozen=True):
    """Audio with speech at the end of a stream whose end the server did not confirm."""

    lost_from: float  #: seconds
    lost_to: float  #: seconds
    waited: float  #: seconds


class StreamClosed(Struct, frozen=True):
    """End of the stream as agreed; no value follows."""

    audio_seconds: float | None = None


class SpeechBegan(Struct, frozen=True):
    """Onset of speech."""

    at: float


class Transcript(Struct, frozen=True):
    """Transcript of one turn of one connection so far: always the whole text."""

    order: int  #: the vendor's turn number, from 0 in each connection
    text: str  #: the best cumulative text: lagging words already added
    ended: bool = False
    formatted: bool = False
    paused: bool = False  #: the speaker is silent, but the turn has not ended
    confidence: float = 0.0  #: that the turn is over, 0 to 1
    words: tuple[Word, ...] = ()
    speaker: str | None = None
    language: str | None = None
    #: ended by our deadline, not by the server; later words of this order are another turn
    expired: bool = False


class SpeakerRevised(Struct, frozen=True):
    """Revision of the speaker of an earlier turn."""

    order: int
    speaker: str | None
    words: tuple[Word, ...] = ()


class InStreamReply(Struct, frozen=True):
    """LLM reply that the speech-to-text service requested by itself."""

    order: int
    body: bytes  #: a chat-completion object, unchanged


Heard = (
    StreamOpened
    | StreamLost
    | StreamResumed
    | StreamFailed
    | StreamUnanswered
    | StreamClosed
    | SpeechBegan
    | Transcript
    | SpeakerRevised
    | InStreamReply
)
