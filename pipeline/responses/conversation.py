"""The shared state of a session's prompts: turns, transcript, variables, totals. Pure."""

from collections import deque
from collections.abc import Callable

from msgspec import UNSET, Struct, UnsetType

from pipeline.interfaces.request_log import CallReport
from pipeline.protocol.events import Totals
from pipeline.responses.fencing import transcript_lines
from pipeline.responses.prompt import FinishedTurn
from pipeline.responses.rate_limit import Budget
from pipeline.responses.spending import PromptSpending

CALL_IDS = 4096  #: tool call ids remembered, so that none is used twice
TRANSCRIPT_TURNS = 2000  #: turns kept for {{transcript}}; the oldest go first


class TotalsCounter(Struct):
    """Running totals, field for field as in ``events.Totals``."""

    turns: int = 0
    responses: int = 0
    completed: int = 0
    cancelled: int = 0
    incomplete: int = 0
    failed: int = 0
    speculative: int = 0
    adopted: int = 0
    discarded: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    wasted_tokens: int = 0
    estimated_tokens: int = 0
    cost: float | UnsetType = UNSET

    def add(self, call: CallReport) -> None:
        setattr(self, call.outcome, getattr(self, call.outcome) + 1)
        spent, usage = call.usage.input_tokens + call.usage.output_tokens, call.usage
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        if call.outcome in ("cancelled", "discarded"):
            self.wasted_tokens += usage.output_tokens
        if usage.estimated:
            self.estimated_tokens += spent
        if usage.cost is not None:
            before = 0.0 if self.cost is UNSET else self.cost
            self.cost = round(before + usage.cost, 9)


class ConversationState:
    """State of one session that every prompt scheduler reads and writes."""

    def __init__(
        self,
        budget: Budget,
        model: str,
        new_id: Callable[[], str],
        session_id: str = "",
        spending: PromptSpending | None = None,
    ) -> None:
        self.budget = budget
        self.model = model  #: the engine's default
        self.new_id = new_id
        self.session_id = session_id  #: for the request log
        self.spending = spending or PromptSpending()
        self.vars: dict[str, str] = {}
        self.counts = TotalsCounter()
        #: false: audio comes faster or slower than it was spoken, and durations are those of the
        #: audio, not those of the clock
        self.real_time = True
        self.silent_from: float | None = None  #: seconds of audio; where the last turn ended
        self.open_turns: set[int] = set()  #: several only with separate channels
        self._transcript: deque[FinishedTurn] = deque(maxlen=TRANSCRIPT_TURNS)
        self._last = 0  # the turn that ended last
        self._call_ids: dict[str, None] = {}
        self._calls = 0

    def new_call_id(self, wanted: str) -> str:
        """Return a tool call id new to the session: ``wanted``, unless it is used already."""
        self._calls += 1
        call_id = wanted if wanted and wanted not in self._call_ids else f"call_{self._calls}"
        while call_id in self._call_ids:  # a model's own ids may look like ours
            call_id += "_"
        self._call_ids[call_id] = None
        if len(self._call_ids) > CALL_IDS:
            del self._call_ids[next(iter(self._call_ids))]
        return call_id

    def add_turn(self, finished: FinishedTurn) -> None:
        """Add a turn that has ended; one that began later may have ended before it."""
        self.counts.turns += 1
        self.open_turns.discard(finished.turn)
        self._last = finished.turn
        later: list[FinishedTurn] = []
        while self._transcript and self._transcript[-1].turn > finished.turn:
            later.append(self._transcript.pop())
        self._transcript.append(finished)
        self._transcript.extend(reversed(later))

    def revise(self, turn: int, text: str | None, speaker: str | None) -> None:
        for at, each in enumerate(self._transcript):
            if each.turn == turn:
                self._transcript[at] = FinishedTurn(
                    turn, text or each.text, speaker or each.speaker, each.language
                )

    def transcript(self, speculated: FinishedTurn | None = None) -> str:
        """Return all turns, a line each; ``speculated`` stands for the one that has its number.

        They are in the order of their numbers, which is that of their beginnings.
        """
        turns: list[FinishedTurn] = list(self._transcript)
        if speculated is not None:
            turns = [*(each for each in turns if each.turn != speculated.turn), speculated]
            turns.sort(key=lambda each: each.turn)
        return transcript_lines(turns)

    def last_turn(self) -> FinishedTurn | None:
        """Return the turn that ended last."""
        newest_first = reversed(self._transcript)
        return next((each for each in newest_first if each.turn == self._last), None)

    def totals(self, audio_seconds: float) -> Totals:
        counts = {name: getattr(self.counts, name) for name in TotalsCounter.__struct_fields__}
        return Totals(**counts, audio_seconds=round(audio_seconds, 3))
