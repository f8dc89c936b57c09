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
from pipeline.interfaces.tools import Kit
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
from pipeline.responses.conversation import Desk
from pipeline.responses.prompt import Asked
from pipeline.responses.prompt_scheduler import Lane, Moment
from pipeline.responses.response import Response
from pipeline.responses.steps import Step

NO_FORMS: Mapping[str, Form] = {}
NO_KITS: Mapping[str, Kit] = {}


class Ledger:
    """One lane a prompt; they share a desk and never see one another."""

    def __init__(
        self,
        prompts: Mapping[str, Prompt],
        desk: Desk,
        forms: Mapping[str, Form] = NO_FORMS,
        kits: Mapping[str, Kit] = NO_KITS,
    ) -> None:
        self._desk = desk
        self._lanes = {
            name: Lane(name, prompt, desk, forms.get(name), kits.get(name))
            for name, prompt in prompts.items()
        }
        self._order = list(self._lanes.values())

    @property
    def deadline(self) -> float:
        """When ``tick`` is due; ``inf`` if nothing waits for time to pass."""
        return min((lane.deadline for lane in self._order), default=inf)

    @property
    def idle(self) -> bool:
        """Whether every response has ended and no turn waits for one."""
        return all(lane.idle for lane in self._order)

    def totals(self, audio_seconds: float) -> Totals:
        return self._desk.totals(audio_seconds)

    # --- what is heard -----------------------------------------------------------------------

    def heard(self, event: TurnEvent, now: float, spoken_at: float | None = None) -> list[Step]:
        """Take a turn event in; ``spoken_at`` is when the speech of an ended turn stopped."""
        match event:
            case TurnEnded(turn, text):
                asked = Asked(turn, text, event.speaker, event.language)
                self._desk.hear(asked)
                moment = Moment(now, spoken_at)
                return [s for lane in self._order for s in lane.ended(asked, moment, now)]
            case TurnChanged():
                return [s for lane in self._order for s in lane.changed(event, now)]
            case TurnPaused():
                return [s for lane in self._order for s in lane.paused(event, now)]
            case SpeechStarted(_, speaker):
                return [s for lane in self._order for s in lane.speech(speaker, now)]
            case TurnStarted(turn, _, speaker):
                self._desk.open_turns.add(turn)
                return [s for lane in self._order for s in lane.speech(speaker, now)]
            case TurnRevised(turn, text, speaker):
                self._desk.revise(turn, text, speaker)
                return []

    # --- what a call brings ------------------------------------------------------------------

    def sent(self, response_id: str, now: float) -> None:
        """The request has left."""
        found = self._find(response_id)
        if found is not None:
            lane, response = found
            lane.answers.sent(response, now)

    def received(self, response_id: str, pieces: Sequence[Piece], now: float) -> list[Step]:
        """Take pieces of a reply in. Whatever comes for a response that has ended is nothing."""
        found = self._find(response_id)
        if found is None:
            return []
        lane, response = found
        return lane.received(response, pieces, now)

    def failed(self, response_id: str, error: GatewayError, now: float) -> list[Step]:
        """The call failed, or returned without an end; nothing, if the reply is over already."""
        found = self._find(response_id)
        if found is None or found[1].over:
            return []
        lane, response = found
        return lane.failed(response, error, now)

    def tool_done(self, call_id: str, value: Any, now: float) -> list[Step]:
        """Take a tool's result in: the first one counts, also after its response's end."""
        return [
            step for lane in self._order for step in lane.answers.tool_done(call_id, value, now)
        ]

    def waits_for_client(self, call_id: str) -> bool:
        """Return whether a client is to tell the result of this call."""
        loops = (lane.answers.tools for lane in self._order)
        return any(loop is not None and loop.waits_for_client(call_id) for loop in loops)

    # --- commands ----------------------------------------------------------------------------

    def cancel(self, response_id: str | None, now: float) -> list[Step]:
        """A client calls off one response, or all of them."""
        return [s for lane in self._order for s in lane.cancel(response_id, now)]

    def create(self, prompt: str | None, now: float) -> list[Step]:
        """A client asks for an answer now. Raises KeyError for a prompt that is not run."""
        lanes = self._order if prompt is None else [self._lanes[prompt]]
        return [step for lane in lanes for step in lane.create(now)]

    def played(
        self, response_id: str, *, text: str | None = None, characters: int | None = None
    ) -> bool:
        """Cut the history to what the client played; return whether it knows the response."""
        return any(
            lane.answers.history.play(response_id, text=text, characters=characters)
            for lane in self._order
        )

    def set_vars(self, values: Mapping[str, str]) -> None:
        self._desk.vars.update(values)

    # --- time and the end --------------------------------------------------------------------

    def tick(self, now: float) -> list[Step]:
        return [s for lane in self._order if now >= lane.deadline for s in lane.tick(now)]

    def finish(self, now: float) -> list[Step]:
        """No more turns will come: ask whatever was being gathered."""
        return [step for lane in self._order for step in lane.finish(now)]

    def abort(self, reason: str, now: float) -> list[Step]:
        """End every response at once."""
        return [step for lane in self._order for step in lane.abort(reason, now)]

    def _find(self, response_id: str) -> tuple[Lane, Response] | None:
        """Return the response whose reply is not over; a whole guess takes nothing in either."""
        for lane in self._order:
            response = lane.answers.find(response_id)
            if response is not None:
                return None if response.over else (lane, response)
        return None
