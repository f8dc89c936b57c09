"""One prompt over one session: when it asks, what it asks, what it calls off. Pure."""

from collections import deque
from collections.abc import Sequence
from math import inf

from msgspec import Struct

from pipeline.config.settings import Prompt
from pipeline.errors import GatewayError
from pipeline.interfaces.llm import CompletionRequest, Form, Piece
from pipeline.interfaces.tools import OfferedTools
from pipeline.interfaces.turns import TurnChanged, TurnPaused
from pipeline.responses.conversation import ConversationState
from pipeline.responses.lifecycle import ResponseLifecycle, ResponseOutcome, models_of
from pipeline.responses.policies import POLICIES
from pipeline.responses.prompt import FinishedTurn, speaks_of_turns
from pipeline.responses.request_builder import RequestBuilder
from pipeline.responses.response import Response
from pipeline.responses.steps import Step
from pipeline.responses.text_match import count_words, same_words, says

MOST_PENDING = 5000  #: turns gathered for one answer (a three-hour meeting has some 3,000)
MOST_WAITING = 64  #: batches; past it the newest are asked together
#: seconds; the server may have told another call, of any session, that there is more
LOOK_AGAIN = 1.0


class TurnTiming(Struct, frozen=True):
    """When a turn was over: for us, and for the one who spoke."""

    turn_at: float  #: end of turn received, seconds
    spoken_at: float | None  #: end of speech, seconds; none for a text turn


class TurnBatch(Struct, frozen=True):
    """Turns that wait to be asked together."""

    turns: tuple[FinishedTurn, ...]
    moment: TurnTiming
    response_id: str | None = None  #: given early when something was superseded for it


def merged(batches: Sequence[TurnBatch]) -> TurnBatch:
    ids = [batch.response_id for batch in batches if batch.response_id]
    turns = {asked.turn: asked for batch in batches for asked in batch.turns}  # each once
    return TurnBatch(tuple(turns.values()), batches[-1].moment, ids[0] if ids else None)


class PromptScheduler:
    """Scheduling of one prompt's responses: policy, triggers, gates and speculation.

    ``policies.POLICIES`` holds what each policy does.
    """

    def __init__(
        self,
        name: str,
        prompt: Prompt,
        conversation: ConversationState,
        form: Form | None = None,
        kit: OfferedTools | None = None,
    ) -> None:
        self.answers = ResponseLifecycle(name, prompt, conversation, form, kit)
        self._prompt = prompt
        self._rules = POLICIES[prompt.policy]
        self._requests = RequestBuilder(prompt, conversation, self.answers.history, form, kit)
        self._conversation = conversation
        self._pending: deque[FinishedTurn] = deque(maxlen=MOST_PENDING)
        self._pending_moment: TurnTiming | None = None
        self._waiting: deque[TurnBatch] = deque()
        self._silent_at = inf
        self._admitted_at = inf  # when the budget lets the next batch go
        self._superseded: str | None = None  # what the next response takes the place of

    # --- what the shell asks -----------------------------------------------------------------

    @property
    def deadline(self) -> float:
        """When ``tick`` is due, in seconds; ``inf`` if nothing waits for time to pass."""
        return min(self._silent_at, self._admitted_at)

    @property
    def idle(self) -> bool:
        return not self.answers.live and not self._waiting

    def tick(self, now: float) -> list[Step]:
        steps: list[Step] = []
        if now >= self._silent_at:
            steps += self._fire(now)
        if now >= self._admitted_at:
            steps += self._advance(now)
        return steps

    def finish(self, now: float) -> list[Step]:
        """The session's turns are over: whatever was being gathered is asked now."""
        steps = self.answers.discard("session ended", now, learn=False)
        return steps + (self._fire(now) if self._pending else [])

    # --- what is heard -----------------------------------------------------------------------

    def speech(self, speaker: str | None, now: float) -> list[Step]:
        """Somebody began to speak; it may still come to nothing."""
        if self._silent_at < inf:
            self._silent_at = now + self._prompt.after_silence
        interrupts = self._prompt.interrupt == "speech" and self._listens_to(speaker)
        return self._interrupt(now) if interrupts else []

    def changed(self, event: TurnChanged, now: float) -> list[Step]:
        """The open turn reads differently."""
        self._silent_at = inf
        steps: list[Step] = []
        guess = self.answers.guess
        if guess is not None and self._denies(guess, event.turn, event.text):
            steps += self.answers.discard("speech resumed", now)
        if not self._listens_to(event.speaker):
            return steps
        how = self._prompt.interrupt
        if how == "speech" or (
            how == "words" and count_words(event.text) >= self._prompt.interrupt_words
        ):
            steps += self._interrupt(now)
        return steps

    def paused(self, event: TurnPaused, now: float) -> list[Step]:
        """The open turn fell silent: guess that it is over, if this prompt does so."""
        asked = FinishedTurn(event.turn, event.text, event.speaker)
        guess = self.answers.guess
        if guess is not None and self._still_says(guess, event.turn, event.text):
            return []
        if guess is not None and guess.turns[-1].turn != event.turn and not self._wants(asked):
            return []  # somebody else, whom this prompt does not answer
        steps = self.answers.discard("speech resumed", now)
        if not self._may_guess(asked):
            return steps
        model = self._prompt.model or self._conversation.model
        if not self._conversation.budget.speculate(model, now):
            return steps
        turns = self._with_unanswered((asked,))
        request = self._request(turns, model, guessed=asked)
        response = Response(self._conversation.new_id(), turns, request)
        return steps + self.answers.speculate(response)

    def ended(self, asked: FinishedTurn, moment: TurnTiming, now: float) -> list[Step]:
        """A turn is over: adopt the guess, or gather the turn and perhaps ask."""
        steps: list[Step] = []
        wanted = self._wants(asked)
        guess = self.answers.guess
        if guess is not None and (wanted or guess.turns[-1].turn == asked.turn):
            if wanted and self._fits(guess, asked):
                return self._adopt(guess, moment, now)
            steps += self.answers.discard("not what was said", now)
        if wanted:
            self._pending.append(asked)
            self._pending_moment = moment
        return steps + self._trigger(now)

    # --- what a call brings ------------------------------------------------------------------

    def received(self, response: Response, pieces: Sequence[Piece], now: float) -> list[Step]:
        steps = self.answers.receive(response, pieces, now)
        return steps + self._advance(now) if response.over else steps

    def failed(self, response: Response, error: GatewayError, now: float) -> list[Step]:
        return self.answers.fail(response, error, now) + self._advance(now)

    # --- commands ----------------------------------------------------------------------------

    def cancel(self, response_id: str | None, now: float) -> list[Step]:
        steps: list[Step] = []
        for response in list(self.answers.live.values()):
            if response_id in (None, response.id):
                steps += self.answers.end(response, ResponseOutcome("cancelled", "client"), now)
        return steps + self._advance(now)

    def create(self, now: float) -> list[Step]:
        """Ask now: what was gathered, or else the last turn once more.

        Before the first turn only a prompt over a stored transcript has something to ask.
        """
        last = self._conversation.last_turn()
        if not self._pending and last is not None:
            self._pending.append(last)
        if not self._pending and not self._asks_of_stored():
            return []
        self._pending_moment = TurnTiming(now, None)
        return self._fire(now)

    def abort(self, reason: str, now: float) -> list[Step]:
        """End everything at once."""
        self._waiting.clear()
        self._pending.clear()
        self._silent_at = self._admitted_at = inf
        steps = self.answers.discard(reason, now, learn=False)
        for response in list(self.answers.live.values()):
            steps += self.answers.end(response, ResponseOutcome("cancelled", reason), now)
        return steps

    def _asks_of_stored(self) -> bool:
        return bool(self._prompt.transcript_id) and not speaks_of_turns(self._prompt)

    # --- gates and triggers ------------------------------------------------------------------

    def _listens_to(self, speaker: str | None) -> bool:
        """Whether it is for this speaker to interrupt: whom the prompt answers, or nobody knows."""
        return not self._prompt.speaker or speaker in (None, self._prompt.speaker)

    def _wants(self, asked: FinishedTurn) -> bool:
        prompt = self._prompt
        if prompt.speaker and asked.speaker != prompt.speaker:
            return False
        if prompt.keyword and not says(asked.text, prompt.keyword):
            return False
        return count_words(asked.text) >= prompt.min_words

    def _trigger(self, now: float) -> list[Step]:
        """A turn has ended, wanted or not: ask, if what was gathered is enough."""
        if self._prompt.at_end or len(self._pending) < self._prompt.every_turns:
            return []
        if self._prompt.after_silence:
            talking = bool(self._conversation.open_turns)  # on another channel
            self._silent_at = inf if talking else now + self._prompt.after_silence
            return []
        return self._fire(now)

    def _fire(self, now: float) -> list[Step]:
        """What was gathered becomes one batch."""
        self._silent_at = inf
        moment = self._pending_moment or TurnTiming(now, None)
        self._waiting.append(TurnBatch(tuple(self._pending), moment))
        self._pending.clear()
        if len(self._waiting) > MOST_WAITING:
            last = merged([self._waiting.pop(), self._waiting.pop()][::-1])
            self._waiting.append(last)
        return self._advance(now)

    # --- policies ----------------------------------------------------------------------------

    def _advance(self, now: float) -> list[Step]:
        """Start what may start now."""
        self._admitted_at = inf
        steps: list[Step] = []
        while self._waiting:
            if self._rules.merges_waiting or now < self._short_until(now):
                self._waiting = deque([merged(self._waiting)])
            if not self._has_room():
                return steps
            steps += self._make_way(now)
            model = self._conversation.budget.admit(self._models(), now)
            if model is None:
                free_at = self._conversation.budget.free_at(self._models(), now)
                self._admitted_at = min(free_at, now + LOOK_AGAIN)
                return steps
            steps += self._ask(self._waiting.popleft(), model)
        return steps

    def _has_room(self) -> bool:
        """Return whether the policy lets another response begin beside the live ones."""
        live, prompt = len(self.answers.live), self._prompt
        if self._rules.replaces_live:
            return prompt.interrupt != "never" or not live
        return live < (prompt.parallel if self._rules.concurrent else 1)

    def _make_way(self, now: float) -> list[Step]:
        """With policy supersede, end what the first waiting batch takes the place of."""
        if not self._rules.replaces_live or not self.answers.live:
            return []
        batch = self._waiting[0]
        new_id = batch.response_id or self._conversation.new_id()
        self._waiting[0] = TurnBatch(batch.turns, batch.moment, new_id)
        return self._supersede(new_id, now)

    def _supersede(self, new_id: str, now: float) -> list[Step]:
        steps: list[Step] = []
        for old in list(self.answers.live.values()):
            self._superseded = old.id
            steps += self.answers.end(old, ResponseOutcome("cancelled", "superseded", new_id), now)
        return steps

    def _ask(self, batch: TurnBatch, model: str) -> list[Step]:
        turns = self._with_unanswered(batch.turns)
        response = Response(
            batch.response_id or self._conversation.new_id(), turns, self._request(turns, model)
        )
        response.turn_at, response.spoken_at = batch.moment.turn_at, batch.moment.spoken_at
        if batch.response_id:
            response.supersedes, self._superseded = self._superseded, None
        return self.answers.ask(response)

    def _models(self) -> tuple[str, ...]:
        return models_of(self._prompt, self._conversation)

    def _short_until(self, now: float) -> float:
        """Return when quota is there again; ``now`` or earlier while some is left."""
        return self._conversation.budget.free_at(self._models(), now)

    def _interrupt(self, now: float) -> list[Step]:
        """End what is live. What waits is told together, for each may be interrupted in turn."""
        steps: list[Step] = []
        if self.answers.live and self._waiting and self._rules.merges_unanswered:
            self._waiting = deque([merged(self._waiting)])
        for response in list(self.answers.live.values()):
            steps += self.answers.end(response, ResponseOutcome("cancelled", "interrupted"), now)
        return steps + self._advance(now) if steps else []

    # --- speculation -------------------------------------------------------------------------

    def _still_says(self, guess: Response, turn: int, text: str) -> bool:
        return guess.turns[-1].turn == turn and same_words(guess.asked_text, text)

    def _denies(self, guess: Response, turn: int, text: str) -> bool:
        """Whether the turn that was guessed reads differently; another turn says nothing of it."""
        return guess.turns[-1].turn == turn and not same_words(guess.asked_text, text)

    def _may_guess(self, asked: FinishedTurn) -> bool:
        prompt = self._prompt
        one_turn = prompt.every_turns == 1 and not prompt.after_silence and not prompt.at_end
        nothing_first = not self._waiting and not self._pending and self._has_room()
        return prompt.speculate and one_turn and nothing_first and self._wants(asked)

    def _fits(self, guess: Response, asked: FinishedTurn) -> bool:
        """Return whether the guess asked just what would be asked now (law 5)."""
        if not self._still_says(guess, asked.turn, asked.text) or not self._may_guess(asked):
            return False
        as_guessed = FinishedTurn(asked.turn, guess.asked_text, asked.speaker, asked.language)
        turns = self._with_unanswered((as_guessed,))
        if [t.turn for t in turns] != [t.turn for t in guess.turns]:
            return False
        return self._request(turns, guess.request.model, guessed=as_guessed) == guess.request

    def _adopt(self, guess: Response, moment: TurnTiming, now: float) -> list[Step]:
        guess.turn_at, guess.spoken_at = moment.turn_at, moment.spoken_at
        steps: list[Step] = []
        if self._rules.replaces_live:
            steps += self._supersede(guess.id, now)
            guess.supersedes, self._superseded = self._superseded, None
        return steps + self.answers.adopt(now)

    # --- requests ----------------------------------------------------------------------------

    def _to_be_replaced(self) -> Sequence[str]:
        """Return the live responses that will have ended when the next one begins."""
        return tuple(self.answers.live) if self._rules.replaces_live else ()

    def _with_unanswered(self, turns: tuple[FinishedTurn, ...]) -> tuple[FinishedTurn, ...]:
        return self._requests.with_unanswered(turns, self._to_be_replaced())

    def _request(
        self, turns: tuple[FinishedTurn, ...], model: str, guessed: FinishedTurn | None = None
    ) -> CompletionRequest:
        return self._requests.build(turns, model, self._to_be_replaced(), guessed)
