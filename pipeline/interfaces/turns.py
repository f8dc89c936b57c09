"""Turn events: output of the turn tracker, input of the response scheduler. Values only."""

from msgspec import Struct

from pipeline.interfaces.stt import Word


class TurnStarted(Struct, frozen=True):
    """Start of a turn, at its first words."""

    turn: int  #: from 1 in a session
    at: float
    speaker: str | None = None


class TurnChanged(Struct, frozen=True):
    """Changed text or speaker of an open turn."""

    turn: int
    text: str  #: replaces the earlier text
    speaker: str | None = None


class TurnPaused(Struct, frozen=True):
    """Pause inside an open turn: the chance to speculate."""

    turn: int
    text: str
    confidence: float = 0.0
    speaker: str | None = None


class TurnEnded(Struct, frozen=True):
    """End of a turn, with its final text."""

    turn: int
    text: str
    end: float | None = None  #: end of the last word; none without word times
    speaker: str | None = None
    language: str | None = None
    words: tuple[Word, ...] = ()


class TurnRevised(Struct, frozen=True):
    """Changed text or speaker of an ended turn."""

    turn: int
    text: str | None = None
    speaker: str | None = None


class SpeechStarted(Struct, frozen=True):
    """Start of speech."""

    at: float
    speaker: str | None = None  #: known if every channel has its own speaker


TurnEvent = SpeechStarted | TurnStarted | TurnChanged | TurnPaused | TurnEnded | TurnRevised
