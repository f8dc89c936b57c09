"""Protocol events of turn and connection events. Pure."""

from pipeline.interfaces.stt import (
    Heard,
    StreamFailed,
    StreamLost,
    StreamResumed,
    StreamUnanswered,
)
from pipeline.interfaces.turns import (
    SpeechStarted,
    TurnChanged,
    TurnEnded,
    TurnEvent,
    TurnPaused,
    TurnRevised,
    TurnStarted,
)
from pipeline.protocol.events import (
    ErrorDetail,
    ErrorEvent,
    Event,
    SpeechStartedEvent,
    SttInterrupted,
    SttResumed,
    TurnCompleted,
    TurnRevisedEvent,
    TurnUpdated,
    WordSpoken,
)


def of_connection(heard: Heard, speaker: str | None) -> Event | None:
    """Return the event of a change of the connection of ``speaker``, if it has one."""
    match heard:
        case StreamLost(cause, engine):
            return SttInterrupted(cause=cause, engine=engine or None, speaker=speaker)
        case StreamResumed(replayed, lost_from, lost_to, engine):
            return SttResumed(
                replayed=replayed,
                engine=engine or None,
                lost_from=lost_from,
                lost_to=lost_to,
                speaker=speaker,
            )
        case StreamUnanswered(lost_from, lost_to, waited):
            return stt_error(
                f"speech-to-text did not confirm its end within {waited:.0f} s: what was said from"
                f" {lost_from:.1f} to {lost_to:.1f} s may be lost",
                None,
            )
        case StreamFailed(cause, code):
            return stt_error(f"{speaker} is no longer transcribed, the others are: {cause}", code)
        case _:
            return None


def stt_error(message: str, code: int | None) -> ErrorEvent:
    return ErrorEvent(error=ErrorDetail(type="stt_error", message=message, code=code))


def internal_error(message: str) -> ErrorEvent:
    return ErrorEvent(error=ErrorDetail(type="internal_error", message=message))


def of_turn(event: TurnEvent, now: float, spoken_at: float | None) -> Event | None:
    """Return the protocol event of ``event``, if it has one; times are in seconds."""
    match event:
        case SpeechStarted(_, speaker):
            return SpeechStartedEvent(speaker=speaker)
        case TurnChanged(turn, text, speaker):
            return TurnUpdated(turn=turn, text=text, speaker=speaker)
        case TurnEnded():
            return _completed(event, now, spoken_at)
        case TurnRevised(turn, text, speaker):
            return TurnRevisedEvent(turn=turn, text=text, speaker=speaker)
        case TurnStarted() | TurnPaused():
            return None


def _completed(event: TurnEnded, now: float, spoken_at: float | None) -> TurnCompleted:
    words = tuple(
        WordSpoken(
            word.text,
            round(word.start * 1000),
            round(word.end * 1000),
            word.confidence,
            word.speaker,
        )
        for word in event.words
    )
    delay = None if spoken_at is None else round((now - spoken_at) * 1000, 2)
    return TurnCompleted(
        turn=event.turn,
        text=event.text,
        speaker=event.speaker,
        language=event.language,
        words=words,
        start=words[0].start if words else None,
        end=words[-1].end if words else None,
        end_of_turn_delay=delay,
    )
