"""Builders of transcripts, and turn events as short lines."""

from collections.abc import Iterable

from pipeline.interfaces.stt import Heard, StreamOpened, Transcript, Word
from pipeline.interfaces.turns import (
    SpeechStarted,
    TurnChanged,
    TurnEnded,
    TurnEvent,
    TurnPaused,
    TurnRevised,
    TurnStarted,
)
from pipeline.turns.tracker import TurnTracker


def part(order: int, text: str, *, formatted: bool = False, confidence: float = 0.0) -> Transcript:
    return Transcript(order, text, formatted=formatted, confidence=confidence)


def pause(order: int, text: str, *, confidence: float = 0.0) -> Transcript:
    return Transcript(order, text, paused=True, confidence=confidence)


def end(order: int, text: str, *, formatted: bool = True, speaker: str | None = None) -> Transcript:
    return Transcript(order, text, ended=True, formatted=formatted, confidence=1.0, speaker=speaker)


def opened(origin: float = 0.0) -> StreamOpened:
    return StreamOpened("stream", origin)


def word(text: str, start: float, end: float) -> Word:
    return Word(text, start, end)


def track(heard: Iterable[Heard], tracker: TurnTracker | None = None) -> list[TurnEvent]:
    """Feed a tracker, new unless given; return its turn events."""
    tracker = tracker or TurnTracker()
    return [event for one in heard for event in tracker.feed(one)]


def lines(events: Iterable[TurnEvent]) -> list[str]:
    """Return turn events as short lines, such as ``1 ended: Hello.``"""
    return [_line(event) for event in events]


def _line(event: TurnEvent) -> str:
    match event:
        case TurnStarted(turn):
            return f"{turn} started"
        case TurnChanged(turn, text):
            return f"{turn}: {text}"
        case TurnPaused(turn, text):
            return f"{turn} paused: {text}"
        case TurnEnded(turn, text):
            return f"{turn} ended: {text}"
        case TurnRevised(turn, text, speaker):
            return f"{turn} revised: {text or ''}" + (f" ({speaker})" if speaker else "")
        case SpeechStarted(at):
            return f"speech at {at:g}"
