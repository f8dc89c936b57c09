"""Turn events: output of the turn tracker, input of the response scheduler. Values only."""

from msgspec import Struct

from pipeline.interfaces.stt import Word


class TurnStarted(Struct, frozen=True):
    """The first words of a turn."""

    turn: int  #: from 1 in a session
    at: float
    speaker: str | None = None


class TurnChanged(Struct, frozen=True):
    """A turn reads differently; it is still open."""

    turn: int
    text: str  #: replaces what was there
    speaker: str | None = None


class TurnPaused(Struct, frozen=True):
    """A silence inside an open turn: the chance to speculate."""

    turn: int
    text: str
    confidence: float = 0.0
    speaker: str | None = None


class TurnEnded(Struct, frozen=True):
    """A turn is over: its final text."""

    turn: int
    text: str
    end: float | None = None  #: where the last word ends; none when no word times came
    speaker: str | None = None
    language: str | None = None
    words: tuple[Word, ...] = ()


class TurnRevised(Struct, frozen=True):
    """A turn that has ended reads differently, or was somebody else's."""

    turn: int
    text: str | None = None
    speaker: str | None = None


class SpeechStarted(Struct, frozen=True):
    """Somebody has begun to speak."""

    at: float
    speaker: str | None = None  #: known where every channel has its own


TurnEvent = SpeechStarted | TurnStarted | TurnChanged | TurnPaused | TurnEnded | TurnRevised
