"""Snapshot of a session's state, of bounded size, for subscribers that missed events. Pure."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from msgspec.structs import replace

from pipeline.protocol.events import (
    Event,
    ResponseCreated,
    ResponseDelta,
    ResponseDone,
    ResponsePlayed,
    ResponseToolCall,
    ResponseToolResult,
    SessionCreated,
    SessionEnded,
    SessionState,
    TurnCompleted,
    TurnRevisedEvent,
    TurnUpdated,
)

TURNS = 500  #: newest ended turns in a snapshot; an export contains all turns
RESPONSES = 100  #: newest ended responses in a snapshot, in addition to every open one


class SnapshotBuilder:
    """Builds the snapshot of one session from its events, applied in order."""

    def __init__(self, *, turns: int = TURNS, responses: int = RESPONSES) -> None:
        self._status = "live"
        self._turns: dict[int, TurnCompleted] = {}
        self._keep_turns = turns
        self._open_turns: dict[int, TurnUpdated] = {}  # in order of their latest update
        self._open: dict[str, tuple[ResponseCreated, list[str]]] = {}
        self._calls: dict[str, dict[str, ResponseToolCall]] = {}  # of open responses, no result yet
        self._done: deque[dict[str, Any]] = deque(maxlen=responses)
        self._played: dict[str, dict[str, Any]] = {}  # of open responses

    def apply(self, event: Event) -> None:
        apply = self._apply.get(type(event))
        if apply is not None:
            apply(self, event)

    def state(self) -> SessionState:
        return SessionState(
            status=self._status,
            turns=tuple(self._turns.values()),
            open_turn=next(reversed(self._open_turns.values()), None),
            open_turns=tuple(self._open_turns.values()) if len(self._open_turns) > 1 else (),
            responses=(*self._done, *map(self._live, self._open)),
        )

    @property
    def open_responses(self) -> tuple[tuple[ResponseCreated, str], ...]:
        """Responses without a ``response.done``, with their text so far."""
        return tuple((created, "".join(parts)) for created, parts in self._open.values())

    @property
    def ended(self) -> bool:
        return self._status == "ended"

    def _session_created(self, _: SessionCreated) -> None:
        self._status = "live"

    def _session_ended(self, _: SessionEnded) -> None:
        self._status = "ended"
        self._open_turns.clear()

    def _turn_updated(self, event: TurnUpdated) -> None:
        self._open_turns.pop(event.turn, None)
        self._open_turns[event.turn] = event

    def _turn_completed(self, event: TurnCompleted) -> None:
        self._open_turns.pop(event.turn, None)
        self._turns[event.turn] = replace(event, words=())
        if len(self._turns) > self._keep_turns:
            del self._turns[next(iter(self._turns))]

    def _turn_revised(self, event: TurnRevisedEvent) -> None:
        turn = self._turns.get(event.turn)
        if turn is not None:
            self._turns[event.turn] = replace(
                turn,
                text=turn.text if event.text is None else event.text,
                speaker=turn.speaker if event.speaker is None else event.speaker,
            )

    def _created(self, event: ResponseCreated) -> None:
        self._open[event.response_id] = (event, [])

    def _delta(self, event: ResponseDelta) -> None:
        entry = self._open.get(event.response_id)
        if entry is not None:
            entry[1].append(event.delta)

    def _tool_called(self, event: ResponseToolCall) -> None:
        self._calls.setdefault(event.response_id, {})[event.call_id] = event

    def _tool_returned(self, event: ResponseToolResult) -> None:
        self._calls.get(event.response_id, {}).pop(event.call_id, None)

    def _ended(self, event: ResponseDone) -> None:
        entry = self._open.pop(event.response_id, None)
        self._calls.pop(event.response_id, None)
        created = entry[0] if entry else None
        ended: dict[str, Any] = {
            "response_id": event.response_id,
            "status": event.status,
            "text": event.text,
        }
        if event.reason is not None:
            ended["reason"] = event.reason
        if played := self._played.pop(event.response_id, None):
            ended["played"] = played
        self._done.append({**_origin(created), **ended})

    def _was_played(self, event: ResponsePlayed) -> None:
        played = {
            "text": event.text,
            "characters": event.characters,
            "interrupted": event.interrupted,
        }
        if event.response_id in self._open:
            self._played[event.response_id] = played
            return
        for at, ended in enumerate(self._done):
            if ended["response_id"] == event.response_id:
                self._done[at] = {**ended, "played": played}

    def _live(self, response_id: str) -> dict[str, Any]:
        created, parts = self._open[response_id]
        text = "".join(parts)
        parts[:] = [text]
        live: dict[str, Any] = {
            **_origin(created),
            "response_id": response_id,
            "status": "in_progress",
            "text": text,
        }
        if calls := self._calls.get(response_id):
            live["tool_calls"] = [_call(call) for call in calls.values()]
        if played := self._played.get(response_id):
            live["played"] = played
        return live

    _apply: ClassVar[Mapping[type[Event], Callable[[Any, Any], None]]] = {
        ResponseDelta: _delta,
        TurnUpdated: _turn_updated,
        TurnCompleted: _turn_completed,
        TurnRevisedEvent: _turn_revised,
        ResponseCreated: _created,
        ResponseDone: _ended,
        ResponsePlayed: _was_played,
        ResponseToolCall: _tool_called,
        ResponseToolResult: _tool_returned,
        SessionCreated: _session_created,
        SessionEnded: _session_ended,
    }


def _origin(created: ResponseCreated | None) -> dict[str, Any]:
    if created is None:
        return {}
    return {"prompt": created.prompt, "turns": created.turns, "model": created.model}


def _call(event: ResponseToolCall) -> dict[str, Any]:
    return {
        "call_id": event.call_id,
        "name": event.name,
        "arguments": event.arguments,
        "awaits_result": event.awaits_result,
    }
