"""The response scheduler: decides per session which LLM requests start and which are cancelled.

Nothing is published without its decision. Pure: its input is turn events, replies, client
commands and the time; its output is steps, carried out in order. Its laws are in README.md here.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

from pipeline.config.settings import Prompt
from pipeline.errors import GatewayError
from pipeline.interfaces.llm import Form, Piece
from pipeline.interfaces.tools import OfferedTools
from pipeline.interfaces.turns import (
    SpeechStarted,
    TurnChanged,
    TurnEnded,
    TurnEvent,
    TurnPaused,
    TurnRevised,
    TurnStarted,
)
from pipeline.protocol.events import Totals
from pipeline.responses.alignment import PlaybackReport
from pipeline.responses.conversation import ConversationState
from pipeline.responses.prompt import FinishedTurn
from pipeline.responses.prompt_scheduler import PromptScheduler, TurnTiming
from pipeline.responses.response import Response
from pipeline.responses.steps import Step

NO_FORMS: Mapping[str, Form] = {}
NO_TOOLS: Mapping[str, OfferedTools] = {}


class ResponseScheduler:
    """One prompt scheduler per prompt; they share the conversation, and nothing else."""

    def __init__(
        self,
        prompts: Mapping[str, Prompt],
        conversation: ConversationState,
        forms: Mapping[str, Form] = NO_FORMS,
        offered_tools: Mapping[str, OfferedTools] = NO_TOOLS,
    ) -> None:
        self._conversation = conversation
        self._prompt_schedulers = {
            name: PromptScheduler(
                name, prompt, conversation, forms.get(name), offered_tools.get(name)
            )
            for name, prompt in prompts.items()
        }
        self._order = list(self._prompt_schedulers.values())

    @property
    def deadline(self) -> float:
        """When ``tick`` is due; ``inf`` if nothing waits for time to pass."""
        return min((each.deadline for each in self._order), default=inf)

    @property
    def idle(self) -> bool:
        """Whether every response has ended and no turn waits for one."""
        return all(each.idle for each in self._order)

    def totals(self, audio_seconds: float) -> Totals:
        return self._conversation.totals(audio_seconds)

    # --- turns -----------------------------------------------------------------------

    def heard(self, event: TurnEvent, now: float, spoken_at: float | None = None) -> list[Step]:
        """Take a turn event; ``spoken_at`` is when the speech of an ended turn stopped."""
        match event:
            case TurnEnded(turn, text):
                finished = FinishedTurn(turn, text, event.speaker, event.language)
                self._conversation.add_turn(finished)
                self._conversation.silent_from = event.end
                timing = TurnTiming(now, spoken_at)
                return self._from_each(lambda each: each.ended(finished, timing, now))
            case TurnChanged():
                return self._from_each(lambda each: each.changed(event, now))
            case TurnPaused():
                return self._from_each(lambda each: each.paused(event, now))
            case SpeechStarted(_, speaker):
                return self._from_each(lambda each: each.speech(speaker, now))
            case TurnStarted(turn, at, speaker):
                steps = self._after_silence(at, now)
                self._conversation.open_turns.add(turn)
                return steps + self._from_each(lambda each: each.began(turn, speaker, now))
            case TurnRevised(turn, text, speaker):
                self._conversation.revise(turn, text, speaker)
                return []

    def _after_silence(self, at: float, now: float) -> list[Step]:
        """Return what a silence in the audio, over at ``at``, triggers: its length is not ours."""
        silent_from = self._conversation.silent_from
        if self._conversation.real_time or silent_from is None:
            return []
        return self._from_each(lambda each: each.silence(at - silent_from, now))

    def _from_each(self, decide: Callable[[PromptScheduler], list[Step]]) -> list[Step]:
        """Return the steps that the prompt schedulers decide on, in the order of the prompts."""
        return [step for each in self._order for step in decide(each)]

    # --- replies ------------------------------------------------------------------

    def sent(self, response_id: str, now: float) -> None:
        """Take the time at which the request was sent."""
        found = self._find(response_id)
        if found is not None:
            prompt_scheduler, response = found
            prompt_scheduler.lifecycle.sent(response, now)

    def received(self, response_id: str, pieces: Sequence[Piece], now: float) -> list[Step]:
        """Take pieces of a reply; those of an ended response are ignored."""
        found = self._find(response_id)
        if found is None:
            return []
        prompt_scheduler, response = found
        return prompt_scheduler.received(response, pieces, now)

    def failed(self, response_id: str, error: GatewayError, now: float) -> list[Step]:
        """Take a failed call, or one that returned early; ignored if the reply is over."""
        found = self._find(response_id)
        if found is None or found[1].over:
            return []
        prompt_scheduler, response = found
        return prompt_scheduler.failed(response, error, now)

    def tool_done(self, call_id: str, value: Any, now: float) -> list[Step]:
        """Take a tool's result: the first one counts, also after its response's end."""
        return self._from_each(lambda each: each.lifecycle.tool_done(call_id, value, now))

    def waits_for_client(self, call_id: str) -> bool:
        """Return whether a client is to send the result of this call."""
        loops = (each.lifecycle.tools for each in self._order)
        return any(loop is not None and loop.waits_for_client(call_id) for loop in loops)

    # --- commands ----------------------------------------------------------------------------

    def cancel(self, response_id: str | None, now: float) -> list[Step]:
        """Cancel one response, or all of them, for a client."""
        return self._from_each(lambda each: each.cancel(response_id, now))

    @property
    def has_turn(self) -> bool:
        """Whether a turn has ended."""
        return self._conversation.last_turn() is not None

    def create(self, prompt: str | None, now: float, client_id: str | None = None) -> list[Step]:
        """Create a response for a client now. Raises KeyError for an unknown prompt."""
        requested = self._order if prompt is None else [self._prompt_schedulers[prompt]]
        return [step for each in requested for step in each.create(now, client_id)]

    def played(self, response_id: str, report: PlaybackReport, now: float) -> list[Step]:
        """Take what the client played of a response: the history is cut to it."""
        return self._from_each(
            lambda each: each.lifecycle.playback.report(response_id, report, now)
        )

    def set_vars(self, values: Mapping[str, str]) -> None:
        self._conversation.vars.update(values)

    # --- time and the end --------------------------------------------------------------------

    def tick(self, now: float) -> list[Step]:
        return self._from_each(lambda each: each.tick(now) if now >= each.deadline else [])

    def finish(self, now: float) -> list[Step]:
        """Send what was collected: no more turns will come."""
        return self._from_each(lambda each: each.finish(now))

    def abort(self, reason: str, now: float) -> list[Step]:
        """End every response at once."""
        return self._from_each(lambda each: each.abort(reason, now))

    def _find(self, response_id: str) -> tuple[PromptScheduler, Response] | None:
        """Return the response whose reply is not over, if there is one."""
        for each in self._order:
            response = each.lifecycle.find(response_id)
            if response is not None:
                return None if response.over else (each, response)
        return None
