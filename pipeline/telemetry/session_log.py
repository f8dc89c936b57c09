"""Log lines about sessions: start, end, errors, turns and calls.

Sessions and trouble at level INFO and above, each turn and call at DEBUG; at INFO too where
what was said is wanted. Ids and numbers are fields; what was said is the field ``said`` only.
"""

import logging
from typing import Any

import msgspec

from pipeline.interfaces.request_log import FAILED, CallRecord, CallReport
from pipeline.protocol.events import (
    ErrorEvent,
    Event,
    ResponseWaiting,
    SessionCreated,
    SessionEnded,
    SourceInterrupted,
    SourceResumed,
    SttInterrupted,
    SttResumed,
    TurnCompleted,
)

logger = logging.getLogger("pipeline.sessions")


def _source(session_id: str, event: Event) -> None:
    match event:
        case SourceInterrupted():
            _log(logging.WARNING, "the source's connection was lost", session_id, {})
        case SourceResumed(away=away):
            _log(logging.INFO, "the source is back", session_id, {"away": away})
        case _:
            pass


class SessionLogger:
    """Logs events and calls."""

    def __init__(self, *, said: bool) -> None:
        self._level = logging.INFO if said else logging.DEBUG  # of turns and answers

    def event(self, session_id: str, event: Event) -> None:
        """Log an event, if it is worth a line."""
        match event:
            case SessionCreated(source=source, stt=stt, llm=llm):
                engines = {"source": source, "stt": stt.name, "llm": llm.name, "model": llm.model}
                _log(logging.INFO, "session began", session_id, engines)
            case SessionEnded(reason=reason, totals=totals):
                counted: dict[str, Any] = msgspec.to_builtins(totals)
                _log(logging.INFO, f"session ended: {reason}", session_id, counted)
            case TurnCompleted(turn=turn, end_of_turn_delay=delay, text=text):
                counted = {"turn": turn, "end_of_turn_delay": delay}
                _log(self._level, "turn ended", session_id, counted, said=text)
            case SttInterrupted(cause=cause):
                lost = f"speech-to-text was interrupted: {cause}"
                counted = {"engine": event.engine, "speaker": event.speaker}
                _log(logging.WARNING, lost, session_id, counted)
            case SttResumed():
                counted = {"replayed": event.replayed, "engine": event.engine}
                counted |= {"speaker": event.speaker}
                counted |= {"lost_from": event.lost_from, "lost_to": event.lost_to}
                _log(logging.INFO, "speech-to-text goes on", session_id, counted)
            case ResponseWaiting(prompt=prompt, turns=turns, reason=reason, until=until):
                counted = {"prompt": prompt, "turns": list(turns), "until": until}
                _log(logging.WARNING, f"a turn waits for {reason}", session_id, counted)
            case ErrorEvent(error=error):
                fields = {"type": error.type, "code": error.code}
                _log(logging.ERROR, error.message, session_id, fields)
            case _:
                _source(session_id, event)

    def answered(self, session_id: str, report: CallReport) -> None:
        """Log how a response ended."""
        level = max(self._level, logging.WARNING) if report.outcome in FAILED else self._level
        fields: dict[str, Any] = {
            "response_id": report.response_id,
            "prompt": report.prompt,
            "turns": report.turns,
            "reason": report.reason,
            "usage": msgspec.to_builtins(report.usage),
            "times": msgspec.to_builtins(report.times),
        }
        _log(level, f"response {report.outcome}", session_id, fields, said=report.text)

    def called(self, call: CallRecord) -> None:
        """Log one HTTP call of a language model."""
        failed = call.outcome in FAILED
        fields: dict[str, Any] = {
            "response_id": call.response_id,
            "request_id": call.request_id,
            "token_name": call.token_name,
            "host": call.host,
            "model": call.model,
            "why": call.why,
            "attempt": call.attempt,
            "reason": call.reason,
            "status": call.status,
            "times": msgspec.to_builtins(call.times),
        }
        level = logging.WARNING if failed else logging.DEBUG
        said = call.error or ""  # servers quote the request
        _log(level, f"call {call.outcome}", call.session_id, fields, said=said)


def _log(
    level: int, message: str, session_id: str, fields: dict[str, Any], *, said: str = ""
) -> None:
    if logger.isEnabledFor(level):
        given = {name: value for name, value in fields.items() if value not in (None, "")}
        about = {"session_id": session_id, "fields": given, "said": said}
        logger.log(level, "%s", message, extra=about)
