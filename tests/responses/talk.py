"""Driver of a response scheduler: its steps as short lines."""

import itertools
from collections.abc import Sequence

from pipeline.config.settings import Prompt
from pipeline.errors import GatewayError, GatewayLost
from pipeline.interfaces.llm import CompletionRequest, Ending, Finished, TextDelta
from pipeline.interfaces.turns import SpeechStarted, TurnChanged, TurnEnded, TurnEvent, TurnPaused
from pipeline.protocol.events import Event, ResponseDone
from pipeline.responses.alignment import PlaybackReport
from pipeline.responses.conversation import ConversationState
from pipeline.responses.rate_limit import Budget
from pipeline.responses.scheduler import ResponseScheduler
from pipeline.responses.steps import (
    CancelCall,
    Publish,
    PublishWait,
    Report,
    RunTool,
    StartCall,
    Step,
    StopTool,
)
from tests.responses.scripted import short


class Talk:
    """Scheduler with a clock; every method returns the steps that it caused, as short lines."""

    def __init__(
        self,
        *,
        limit: int = 0,
        budget: Budget | None = None,
        real_time: bool = True,
        **prompts: Prompt,
    ) -> None:
        ids = itertools.count(1)
        self.budget = budget or Budget(limit)
        conversation = ConversationState(self.budget, "model", lambda: f"r{next(ids)}")
        conversation.real_time = real_time
        self.scheduler = ResponseScheduler(prompts, conversation)
        self.now = 0.0
        self.requests: dict[str, CompletionRequest] = {}
        self.done: dict[str, ResponseDone] = {}
        self.reports: list[str] = []

    def hears(self, event: TurnEvent, spoken_at: float | None = None) -> list[str]:
        return self.do(self.scheduler.heard(event, self.now, spoken_at))

    def ends(self, turn: int, text: str, speaker: str | None = None) -> list[str]:
        return self.hears(TurnEnded(turn, text, speaker=speaker), self.now - 0.5)

    def pauses(self, turn: int, text: str, speaker: str | None = None) -> list[str]:
        return self.hears(TurnPaused(turn, text, speaker=speaker))

    def changes(self, turn: int, text: str) -> list[str]:
        return self.hears(TurnChanged(turn, text))

    def speech(self) -> list[str]:
        return self.hears(SpeechStarted(self.now))

    def sent(self, key: str) -> None:
        self.scheduler.sent(key, self.now)

    def brings(self, key: str, *words: str) -> list[str]:
        pieces = [TextDelta(word) for word in words]
        return self.do(self.scheduler.received(key, pieces, self.now))

    def over(
        self, key: str, text: str = "", reason: str | None = "stop", ending: Ending = "whole"
    ) -> list[str]:
        said = [TextDelta(text)] if text else []
        finished = Finished(reason, reason is not None, ending=ending)
        return self.do(self.scheduler.received(key, [*said, finished], self.now))

    def fails(self, key: str, error: GatewayError | None = None) -> list[str]:
        return self.do(self.scheduler.failed(key, error or GatewayLost("cut"), self.now))

    def plays(self, key: str, text: str | None = None, characters: int | None = None) -> list[str]:
        return self.do(self.scheduler.played(key, PlaybackReport(text, characters), self.now))

    def tick(self, seconds: float) -> list[str]:
        self.now += seconds
        return self.do(self.scheduler.tick(self.now))

    def asked(self, key: str) -> list[str]:
        """Return the messages of a request, as ``role: content``."""
        return [f"{one.role}: {one.content}" for one in self.requests[key].messages]

    def do(self, steps: Sequence[Step]) -> list[str]:
        return [line for step in steps if (line := self._line(step))]

    def _published(self, event: Event) -> str:
        if isinstance(event, ResponseDone):
            self.done[event.response_id] = event
        return short(event)

    def _line(self, step: Step) -> str:
        match step:
            case Publish(event):
                return self._published(event)
            case StartCall(key, request, speculative):
                self.requests[key] = request
                return f"{'guess' if speculative else 'ask'} {key}"
            case CancelCall(key):
                return f"cancel {key}"
            case Report(call):
                self.reports.append(f"{call.response_id} {call.outcome}")
                return ""
            case PublishWait(_, turns, seconds):
                return f"{' '.join(map(str, turns))} waits {seconds:g} s"
            case RunTool(run):
                return f"run {run.call_id}"
            case StopTool(call_id):
                return f"stop {call_id}"
