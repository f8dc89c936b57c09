"""The scheduler of one prompt in one session: triggers, gates, policy, speculation. Pure."""

from collections import deque
from collections.abc import Sequence
from math import inf

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.settings import Prompt
from pipeline.errors import GatewayBusy, GatewayError
from pipeline.interfaces.llm import CompletionRequest, Form, Piece
from pipeline.interfaces.tools import OfferedTools
from pipeline.interfaces.turns import TurnChanged, TurnPaused
from pipeline.protocol.events import ErrorDetail, ErrorEvent, ResponseSkipped, SkipReason
from pipeline.responses.conversation import ConversationState
from pipeline.responses.gates import TurnGates
from pipeline.responses.lifecycle import ResponseLifecycle, ResponseOutcome, models_of
from pipeline.responses.policies import POLICIES
from pipeline.responses.prompt import FinishedTurn, uses_turn_tag
from pipeline.responses.request_builder import RequestBuilder
from pipeline.responses.response import Response
from pipeline.responses.steps import Publish, PublishWait, Step
from pipeline.responses.text_match import same_words

MOST_PENDING = 5000  #: turns collected for one request (a three-hour meeting has some 3,000)
MOST_WAITING = 64  #: batches; past it the newest are merged
#: seconds; the reply to another call, of any session, may have reported more quota
LOOK_AGAIN = 1.0
CLOSING_WAIT = 4.0  #: seconds; so long the end of a session waits for quota


class TurnTiming(Struct, frozen=True):
    """Times of a turn's end: received by us, and spoken."""

    turn_at: float  #: end of turn received, seconds
    spoken_at: float | None  #: end of speech, seconds; none for a text turn


class TurnBatch(Struct, frozen=True):
    """Turns that wait for one request."""

    turns: tuple[FinishedTurn, ...]
    moment: TurnTiming
    response_id: str | None = None  #: assigned early, when it superseded a response
    since: float | None = None  #: when it began to wait for quota, seconds
    reported: frozenset[int] = frozenset()  #: turns whose wait was published
    client_id: str | None = None  #: of the newest command that requested it


def merged(batches: Sequence[TurnBatch]) -> TurnBatch:
    ids = [batch.response_id for batch in batches if batch.response_id]
    clients = [batch.client_id for batch in batches if batch.client_id]
    turns = {each.turn: each for batch in batches for each in batch.turns}  # each once
    return TurnBatch(
        tuple(turns.values()),
        batches[-1].moment,
        ids[0] if ids else None,
        min((batch.since for batch in batches if batch.since is not None), default=None),
        frozenset[int]().union(*(batch.reported for batch in batches)),
        clients[-1] if clients else None,
    )


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
        offered_tools: OfferedTools | None = None,
    ) -> None:
        self.lifecycle = ResponseLifecycle(name, prompt, conversation, form, offered_tools)
        self._name = name
        self._prompt = prompt
        self._rules = POLICIES[prompt.policy]
        self._gates = TurnGates(prompt)
        self._requests = RequestBuilder(
            prompt, conversation, self.lifecycle.history, form, offered_tools
        )
        self._conversation = conversation
        self._pending: deque[FinishedTurn] = deque(maxlen=MOST_PENDING)
        self._pending_moment: TurnTiming | None = None
        self._waiting: deque[TurnBatch] = deque()
        self._silent_at = inf
        self._admitted_at = inf  # when the budget admits the next batch
        self._closing_at = inf  # when the session's turns were over
        #: open turns whose first words came while a response ran, and that did not interrupt it
        self._begun_while_running: set[int] = set()
        self._superseded: str | None = None  # the response that the next one replaces

    # --- time -----------------------------------------------------------------

    @property
    def deadline(self) -> float:
        """When ``tick`` is due, in seconds; ``inf`` if nothing waits for time to pass."""
        return min(self._silent_at, self._admitted_at)

    @property
    def idle(self) -> bool:
        return not self.lifecycle.live and not self._waiting

    def tick(self, now: float) -> list[Step]:
        steps: list[Step] = []
        if now >= self._silent_at:
            steps += self._fire(now)
        if now >= self._admitted_at:
            steps += self._advance(now)
        return steps

    def finish(self, now: float) -> list[Step]:
        """Send what was collected: the session's turns are over."""
        self._closing_at = now
        steps = self.lifecycle.discard("session ended", now, learn=False)
        return steps + (self._fire(now) if self._pending else self._advance(now))

    # --- turns -----------------------------------------------------------------------

    def silence(self, seconds: float, now: float) -> list[Step]:
        """Take the length of a silence in the audio that is over: it may have been the trigger."""
        prompt = self._prompt
        collected = self._pending and len(self._pending) >= prompt.every_turns
        due = prompt.after_silence and seconds >= prompt.after_silence and not prompt.at_end
        return self._fire(now) if collected and due else []

    def speech(self, speaker: str | None, now: float) -> list[Step]:
        """Take the start of speech, which may bring no turn."""
        if self._silent_at < inf:
            self._silent_at = now + self._prompt.after_silence
        interrupts = self._prompt.interrupt == "speech" and self._gates.listens_to(speaker)
        return self._interrupt(now) if interrupts else []

    def began(self, turn: int, speaker: str | None, now: float) -> list[Step]:
        """Take the first words of a turn."""
        steps = self.speech(speaker, now)
        if self.lifecycle.is_running(now):
            self._begun_while_running.add(turn)
        return steps

    def changed(self, event: TurnChanged, now: float) -> list[Step]:
        """Take the new text of the open turn."""
        self._silent_at = inf
        steps: list[Step] = []
        speculation = self.lifecycle.speculation
        if speculation is not None and self._is_contradicted(speculation, event.turn, event.text):
            steps += self.lifecycle.discard("speech resumed", now)
        if not self._gates.listens_to(event.speaker):
            return steps
        if self._gates.interrupts(event.text) and (interruption := self._interrupt(now)):
            steps += interruption
            self._begun_while_running.discard(event.turn)
        return steps

    def paused(self, event: TurnPaused, now: float) -> list[Step]:
        """Take a pause in the open turn: speculate that it has ended, if the prompt does so."""
        finished = FinishedTurn(event.turn, event.text, event.speaker)
        speculation = self.lifecycle.speculation
        if speculation is not None and self._still_says(speculation, event.turn, event.text):
            return []
        if (
            speculation is not None
            and speculation.turns[-1].turn != event.turn
            and not self._gates.wants(finished)
        ):
            return []  # another speaker, whom this prompt does not answer
        steps = self.lifecycle.discard("speech resumed", now)
        skipped = self._skip_reason(event.turn, event.text, now) is not None
        if skipped or not self._may_speculate(finished):
            return steps
        model = self._prompt.model or self._conversation.model
        if self._conversation.spending.reached(self._name, self._prompt) is not None:
            return steps
        if not self._conversation.budget.speculate(model, now):
            return steps
        turns = self._with_unanswered((finished,))
        request = self._request(turns, model, speculated=finished)
        response = Response(self._conversation.new_id(), turns, request)
        return steps + self.lifecycle.speculate(response)

    def ended(self, finished: FinishedTurn, moment: TurnTiming, now: float) -> list[Step]:
        """Take an ended turn: adopt the speculation, or collect the turn for a request."""
        steps: list[Step] = []
        wanted = self._gates.wants(finished)
        reason = self._skip_reason(finished.turn, finished.text, now) if wanted else None
        self._begun_while_running.discard(finished.turn)
        if reason is not None:
            wanted = False
            skipped = ResponseSkipped(prompt=self._name, turns=(finished.turn,), reason=reason)
            steps.append(Publish(skipped))
        speculation = self.lifecycle.speculation
        if speculation is not None and (wanted or speculation.turns[-1].turn == finished.turn):
            if wanted and self._is_right(speculation, finished):
                return self._adopt(speculation, moment, now)
            steps += self.lifecycle.discard("not what was said", now)
        if wanted:
            self._pending.append(finished)
            self._pending_moment = moment
        return steps + self._trigger(now)

    # --- replies ------------------------------------------------------------------

    def received(self, response: Response, pieces: Sequence[Piece], now: float) -> list[Step]:
        steps = self.lifecycle.receive(response, pieces, now)
        return steps + self._advance(now) if response.over else steps

    def failed(self, response: Response, error: GatewayError, now: float) -> list[Step]:
        return self.lifecycle.fail(response, error, now) + self._advance(now)

    # --- commands ----------------------------------------------------------------------------

    def cancel(self, response_id: str | None, now: float) -> list[Step]:
        steps: list[Step] = []
        self.lifecycle.playback.stop(response_id)
        for response in list(self.lifecycle.live.values()):
            if response_id in (None, response.id):
                steps += self.lifecycle.end(response, ResponseOutcome("cancelled", "client"), now)
        return steps + self._advance(now)

    def create(self, now: float, client_id: str | None = None) -> list[Step]:
        """Send what was collected now, or else the last turn again.

        Before the first turn only a prompt over a stored transcript can send a request.
        """
        last = self._conversation.last_turn()
        if not self._pending and last is not None:
            self._pending.append(last)
        if not self._pending and not self._asks_of_stored():
            return []
        self._pending_moment = TurnTiming(now, None)
        return self._fire(now, client_id)

    def abort(self, reason: str, now: float) -> list[Step]:
        """End everything at once."""
        self._waiting.clear()
        self._pending.clear()
        self._silent_at = self._admitted_at = inf
        steps = self.lifecycle.discard(reason, now, learn=False)
        for response in list(self.lifecycle.live.values()):
            steps += self.lifecycle.end(response, ResponseOutcome("cancelled", reason), now)
        return steps

    def _asks_of_stored(self) -> bool:
        return bool(self._prompt.transcript_id) and not uses_turn_tag(self._prompt)

    # --- gates and triggers ------------------------------------------------------------------

    def _skip_reason(self, turn: int, text: str, now: float) -> SkipReason | None:
        """Return why a turn that ends now is not answered, if it is a back-channel."""
        is_met = turn in self._begun_while_running or self.lifecycle.is_running(now)
        return self._gates.skip_reason(text) if is_met else None

    def _trigger(self, now: float) -> list[Step]:
        """Send what was collected, if it is enough; called at the end of every turn."""
        if self._prompt.at_end or len(self._pending) < self._prompt.every_turns:
            return []
        if self._prompt.after_silence:
            if not self._conversation.real_time:
                return []  # ``silence`` tells, or the end of the session
            talking = bool(self._conversation.open_turns)  # on another channel
            self._silent_at = inf if talking else now + self._prompt.after_silence
            return []
        return self._fire(now)

    def _fire(self, now: float, client_id: str | None = None) -> list[Step]:
        """Make one batch of the collected turns."""
        self._silent_at = inf
        moment = self._pending_moment or TurnTiming(now, None)
        self._waiting.append(TurnBatch(tuple(self._pending), moment, client_id=client_id))
        self._pending.clear()
        steps = self._skip_waiting(after=len(self._waiting) - 1)
        if len(self._waiting) > MOST_WAITING:
            last = merged([self._waiting.pop(), self._waiting.pop()][::-1])
            self._waiting.append(last)
        return steps + self._advance(now)

    # --- policies ----------------------------------------------------------------------------

    def _advance(self, now: float) -> list[Step]:
        """Start the responses that may start now."""
        self._admitted_at = inf
        steps = self._skip_waiting(after=1)
        while self._waiting:
            if self._rules.merges_waiting or now < self._short_until(now):
                self._waiting = deque([merged(self._waiting)])
            if not self._has_room():
                return steps
            steps += self._replace_live(now)
            model = self._conversation.budget.admit(self._models(), now)
            batch = self._waiting.popleft()
            if model is not None:
                steps += self._ask(batch, model)
            elif now >= self._expiry(batch, now):
                steps += self._give_up(batch, now)
            else:
                return steps + self._wait_for_quota(batch, now)
        return steps

    def _skip_waiting(self, after: int) -> list[Step]:
        """Skip the waiting batches but the first ``after`` where a spending limit is reached."""
        spending = self._conversation.spending
        limit = spending.reached(self._name, self._prompt)
        if limit is None or len(self._waiting) <= after:
            return []
        spending.has_refused = True
        steps: list[Step] = []
        if spending.is_new(limit):
            steps.append(Publish(ErrorEvent(error=limit.error())))
        while len(self._waiting) > after:
            numbers = tuple(each.turn for each in self._waiting[after].turns)
            skipped = ResponseSkipped(prompt=self._name, turns=numbers, reason="limit_reached")
            steps.append(Publish(skipped))
            del self._waiting[after]
        return steps

    def _expiry(self, batch: TurnBatch, now: float) -> float:
        """Return when a batch that waits for quota has waited too long."""
        since = now if batch.since is None else batch.since
        return min(since + self._prompt.total_timeout, self._closing_at + CLOSING_WAIT)

    def _wait_for_quota(self, batch: TurnBatch, now: float) -> list[Step]:
        """Keep a batch waiting, and report the wait of each of its turns once."""
        free_at = self._short_until(now)
        turns = frozenset(each.turn for each in batch.turns)
        since = now if batch.since is None else batch.since
        waiting = replace(batch, since=since, reported=turns)
        self._waiting.appendleft(waiting)
        self._admitted_at = min(free_at, now + LOOK_AGAIN, self._expiry(waiting, now))
        if turns <= batch.reported:
            return []
        numbers = tuple(each.turn for each in self._with_unanswered(batch.turns))
        return [PublishWait(self._name, numbers, free_at - now)]

    def _has_room(self) -> bool:
        """Return whether the policy lets another response begin beside the live ones."""
        live, prompt = len(self.lifecycle.live), self._prompt
        if self._rules.replaces_live:
            return prompt.interrupt != "never" or not live
        return live < (prompt.parallel if self._rules.concurrent else 1)

    def _replace_live(self, now: float) -> list[Step]:
        """End the responses that the first waiting batch replaces, where the policy says so."""
        if not self._rules.replaces_live or not self.lifecycle.live:
            return []
        batch = self._waiting[0]
        new_id = batch.response_id or self._conversation.new_id()
        self._waiting[0] = replace(batch, response_id=new_id)
        return self._supersede(new_id, now)

    def _supersede(self, new_id: str, now: float) -> list[Step]:
        steps: list[Step] = []
        for old in list(self.lifecycle.live.values()):
            self._superseded = old.id
            steps += self.lifecycle.end(
                old, ResponseOutcome("cancelled", "superseded", new_id), now
            )
        return steps

    def _ask(self, batch: TurnBatch, model: str) -> list[Step]:
        return self.lifecycle.begin(self._response(batch, model))

    def _give_up(self, batch: TurnBatch, now: float) -> list[Step]:
        """Fail the response to turns that waited for quota too long."""
        model, wait = self._models()[0], self._short_until(now) - now
        limit = f"for {self._prompt.total_timeout:g} s (the prompt's total_timeout)"
        if self._closing_at < inf:
            limit = "when the session ended"
        message = f"{model} had no quota {limit}; some is expected in {wait:.0f} s"
        error = ErrorDetail(type=GatewayBusy.kind, message=message)
        return self.lifecycle.refuse(self._response(batch, model), error, now)

    def _response(self, batch: TurnBatch, model: str) -> Response:
        turns = self._with_unanswered(batch.turns)
        response = Response(
            batch.response_id or self._conversation.new_id(), turns, self._request(turns, model)
        )
        response.turn_at, response.spoken_at = batch.moment.turn_at, batch.moment.spoken_at
        response.client_id = batch.client_id
        if batch.response_id:
            response.supersedes, self._superseded = self._superseded, None
        return response

    def _models(self) -> tuple[str, ...]:
        return models_of(self._prompt, self._conversation)

    def _short_until(self, now: float) -> float:
        """Return when there is quota again; ``now`` or earlier while some is left."""
        return self._conversation.budget.free_at(self._models(), now)

    def _interrupt(self, now: float) -> list[Step]:
        """End what is live, and merge what waits, since each batch may be interrupted in turn."""
        steps: list[Step] = []
        if self.lifecycle.live and self._waiting and self._rules.merges_unanswered:
            self._waiting = deque([merged(self._waiting)])
        for response in list(self.lifecycle.live.values()):
            steps += self.lifecycle.end(response, ResponseOutcome("cancelled", "interrupted"), now)
        return steps + self._advance(now) if steps else []

    # --- speculation -------------------------------------------------------------------------

    def _still_says(self, speculation: Response, turn: int, text: str) -> bool:
        return speculation.turns[-1].turn == turn and same_words(speculation.last_text, text)

    def _is_contradicted(self, speculation: Response, turn: int, text: str) -> bool:
        """Return whether the turn's text now differs from the text speculated on."""
        return speculation.turns[-1].turn == turn and not same_words(speculation.last_text, text)

    def _may_speculate(self, finished: FinishedTurn) -> bool:
        prompt = self._prompt
        one_turn = prompt.every_turns == 1 and not prompt.after_silence and not prompt.at_end
        nothing_first = not self._waiting and not self._pending and self._has_room()
        return prompt.speculate and one_turn and nothing_first and self._gates.wants(finished)

    def _is_right(self, speculation: Response, finished: FinishedTurn) -> bool:
        """Return whether the speculation's request is the one to send now (law 3)."""
        if not self._still_says(
            speculation, finished.turn, finished.text
        ) or not self._may_speculate(finished):
            return False
        as_speculated = FinishedTurn(
            finished.turn, speculation.last_text, finished.speaker, finished.language
        )
        turns = self._with_unanswered((as_speculated,))
        if [t.turn for t in turns] != [t.turn for t in speculation.turns]:
            return False
        return (
            self._request(turns, speculation.request.model, speculated=as_speculated)
            == speculation.request
        )

    def _adopt(self, speculation: Response, moment: TurnTiming, now: float) -> list[Step]:
        speculation.turn_at, speculation.spoken_at = moment.turn_at, moment.spoken_at
        steps: list[Step] = []
        if self._rules.replaces_live:
            steps += self._supersede(speculation.id, now)
            speculation.supersedes, self._superseded = self._superseded, None
        return steps + self.lifecycle.adopt(now)

    # --- requests ----------------------------------------------------------------------------

    def _to_be_replaced(self) -> Sequence[str]:
        """Return the live responses that will have ended when the next one begins."""
        return tuple(self.lifecycle.live) if self._rules.replaces_live else ()

    def _with_unanswered(self, turns: tuple[FinishedTurn, ...]) -> tuple[FinishedTurn, ...]:
        return self._requests.with_unanswered(turns, self._to_be_replaced())

    def _request(
        self, turns: tuple[FinishedTurn, ...], model: str, speculated: FinishedTurn | None = None
    ) -> CompletionRequest:
        return self._requests.build(turns, model, self._to_be_replaced(), speculated)
