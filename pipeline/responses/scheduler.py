"""The judge: every session has one, and nothing is shown or asked without its word. Pure.

It is fed what was heard, what calls brought, what clients asked and the time; it answers with
steps, to be carried out in order. Its laws stand in the README under "How it works".
"""

from collections.abc import Mapping, Sequence
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
from pipeline.responses.conversation import ConversationState
from pipeline.responses.prompt import FinishedTurn
from pipeline.responses.prompt_scheduler import PromptScheduler, TurnTiming
from pipeline.responses.response import Response
from pipeline.responses.steps import Step

NO_FORMS: Mapping[str, Form] = {}
NO_KITS: Mapping[str, OfferedTools] = {}


class ResponseScheduler:
    """One lane a prompt; they share a desk and never see one another."""

    def __init__(
        self,
        prompts: Mapping[str, Prompt],
        conversation: ConversationState,
        forms: Mapping[str, Form] = NO_FORMS,
        kits: Mapping[str, OfferedTools] = NO_KITS,
    ) -> None:
        self._conversation = conversation
        self._prompt_schedulers = {
            name: PromptScheduler(name, prompt, conversation, forms.get(name), kits.get(name))
            for name, prompt in prompts.items()
        }
        self._order = list(self._prompt_schedulers.values())

    @property
    def deadline(self) -> float:
        """When ``tick`` is due; ``inf`` if nothing waits for time to pass."""
        return min((prompt_scheduler.deadline for prompt_scheduler in self._order), default=inf)

    @property
    def idle(self) -> bool:
        """Whether every response has ended and no turn waits for one."""
        return all(prompt_scheduler.idle for prompt_scheduler in self._order)

    def totals(self, audio_seconds: float) -> Totals:
        return self._conversation.totals(audio_seconds)

    # --- what is heard -----------------------------------------------------------------------

    def heard(self, event: TurnEvent, now: float, spoken_at: float | None = None) -> list[Step]:
        """Take a turn event in; ``spoken_at`` is when the speech of an ended turn stopped."""
        match event:
            case TurnEnded(turn, text):
                asked = FinishedTurn(turn, text, event.speaker, event.language)
                self._conversation.hear(asked)
                moment = TurnTiming(now, spoken_at)
                return [
                    s
                    for prompt_scheduler in self._order
                    for s in prompt_scheduler.ended(asked, moment, now)
                ]
            case TurnChanged():
                return [
                    s
                    for prompt_scheduler in self._order
                    for s in prompt_scheduler.changed(event, now)
                ]
            case TurnPaused():
                return [
                    s
                    for prompt_scheduler in self._order
                    for s in prompt_scheduler.paused(event, now)
                ]
            case SpeechStarted(_, speaker):
                return [
                    s
                    for prompt_scheduler in self._order
                    for s in prompt_scheduler.speech(speaker, now)
                ]
            case TurnStarted(turn, _, speaker):
                self._conversation.open_turns.add(turn)
                return [
                    s
                    for prompt_scheduler in self._order
                    for s in prompt_scheduler.speech(speaker, now)
                ]
            case TurnRevised(turn, text, speaker):
                self._conversation.revise(turn, text, speaker)
                return []

    # --- what a call brings ------------------------------------------------------------------

    def sent(self, response_id: str, now: float) -> None:
        """The request has left."""
        found = self._find(response_id)
        if found is not None:
            prompt_scheduler, response = found
            prompt_scheduler.answers.sent(response, now)

    def received(self, response_id: str, pieces: Sequence[Piece], now: float) -> list[Step]:
        """Take pieces of a reply in. Whatever comes for a response that has ended is nothing."""
        found = self._find(response_id)
        if found is None:
            return []
        prompt_scheduler, response = found
        return prompt_scheduler.received(response, pieces, now)

    def failed(self, response_id: str, error: GatewayError, now: float) -> list[Step]:
        """The call failed, or returned without an end; nothing, if the reply is over already."""
        found = self._find(response_id)
        if found is None or found[1].over:
            return []
        prompt_scheduler, response = found
        return prompt_scheduler.failed(response, error, now)

    def tool_done(self, call_id: str, value: Any, now: float) -> list[Step]:
        """Take a tool's result in: the first one counts, also after its response's end."""
        return [
            step
            for prompt_scheduler in self._order
            for step in prompt_scheduler.answers.tool_done(call_id, value, now)
        ]

    def waits_for_client(self, call_id: str) -> bool:
        """Return whether a client is to tell the result of this call."""
        loops = (prompt_scheduler.answers.tools for prompt_scheduler in self._order)
        return any(loop is not None and loop.waits_for_client(call_id) for loop in loops)

    # --- commands ----------------------------------------------------------------------------

    def cancel(self, response_id: str | None, now: float) -> list[Step]:
        """A client calls off one response, or all of them."""
        return [
            s for prompt_scheduler in self._order for s in prompt_scheduler.cancel(response_id, now)
        ]

    def create(self, prompt: str | None, now: float) -> list[Step]:
        """A client asks for an answer now. Raises KeyError for a prompt that is not run."""
        prompt_schedulers = self._order if prompt is None else [self._prompt_schedulers[prompt]]
        return [
            step for prompt_scheduler in prompt_schedulers for step in prompt_scheduler.create(now)
        ]

    def played(
        self, response_id: str, *, text: str | None = None, characters: int | None = None
    ) -> bool:
        """Cut the history to what the client played; return whether it knows the response."""
        return any(
            prompt_scheduler.answers.history.play(response_id, text=text, characters=characters)
            for prompt_scheduler in self._order
        )

    def set_vars(self, values: Mapping[str, str]) -> None:
        self._conversation.vars.update(values)

    # --- time and the end --------------------------------------------------------------------

    def tick(self, now: float) -> list[Step]:
        return [
            s
            for prompt_scheduler in self._order
            if now >= prompt_scheduler.deadline
            for s in prompt_scheduler.tick(now)
        ]

    def finish(self, now: float) -> list[Step]:
        """No more turns will come: ask whatever was being gathered."""
        return [step for prompt_scheduler in self._order for step in prompt_scheduler.finish(now)]

    def abort(self, reason: str, now: float) -> list[Step]:
        """End every response at once."""
        return [
            step for prompt_scheduler in self._order for step in prompt_scheduler.abort(reason, now)
        ]

    def _find(self, response_id: str) -> tuple[PromptScheduler, Response] | None:
        """Return the response whose reply is not over; a whole guess takes nothing in either."""
        for prompt_scheduler in self._order:
            response = prompt_scheduler.answers.find(response_id)
            if response is not None:
                return None if response.over else (prompt_scheduler, response)
        return None
