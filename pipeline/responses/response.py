"""The record of one response: request, reply and times. Pure; times are in seconds."""

from pipeline.interfaces.llm import CompletionRequest, Finished, JsonReader, Prices, Usage, estimate
from pipeline.protocol.events import RequestInfo, Times, TokenUsage
from pipeline.responses.partials import PartialPacer
from pipeline.responses.prompt import FinishedTurn
from pipeline.responses.sentences import SentenceSplitter
from pipeline.responses.thoughts import ThoughtFilter
from pipeline.responses.tool_calls import ToolCallAssembler, ToolRound


class Response:
    """State of one response; it decides nothing."""

    __slots__ = (
        "client_id",
        "ended_at",
        "finished",
        "first_at",
        "gathered",
        "host",
        "id",
        "last_sent_at",
        "model",
        "over",
        "partials",
        "prices",
        "published_at",
        "reader",
        "refused",
        "replies",
        "request",
        "request_id",
        "round",
        "round_start",
        "rounds",
        "sent_at",
        "sentence_at",
        "sentences",
        "speculative",
        "spent",
        "splitter",
        "spoken_at",
        "supersedes",
        "text",
        "thoughts",
        "turn_at",
        "turns",
    )

    def __init__(
        self, response_id: str, turns: tuple[FinishedTurn, ...], request: CompletionRequest
    ) -> None:
        self.id = response_id
        self.turns = turns
        self.request = request
        self.model = request.model
        self.speculative = False
        self.supersedes: str | None = None
        self.client_id: str | None = None  # of the command that requested it
        self.text = ""  # all received; of a live response all of it is published
        self.finished: Finished | None = None
        self.refused = False  # by the server, before any text: no tokens were spent on it
        self.over = False  # the call has returned: nothing is left to cancel
        self.request_id: str | None = None
        self.host: str | None = None
        self.prices: Prices | None = None  # of the requested model
        self.spoken_at: float | None = None  # end of speech
        self.turn_at: float | None = None  # end of turn received
        self.sent_at: float | None = None
        self.last_sent_at: float | None = None  # of several requests, for the server's quota
        self.first_at: float | None = None
        self.sentence_at: float | None = None
        self.ended_at: float | None = None
        self.published_at: float | None = None
        self.thoughts = ThoughtFilter()  # of the present reply
        self.splitter = SentenceSplitter(turns[-1].language or "en" if turns else "en")
        self.sentences = 0
        self.reader: JsonReader | None = None  # of a reply that must be JSON
        self.partials = PartialPacer()
        self.replies = 0  # whole ones received
        self.spent: TokenUsage | None = None  # on the replies before this one
        self.gathered: ToolCallAssembler | None = None  # tool calls of the reply that is coming
        self.round: ToolRound | None = None  # tool calls under way
        self.rounds = 0  # of tool calls so far
        self.round_start = 0  # characters of text before the present round of tool calls

    @property
    def has_begun(self) -> bool:
        """Whether the present reply has brought anything."""
        return self.gathered is not None or len(self.text) > self.round_start

    @property
    def last_text(self) -> str:
        return self.turns[-1].text

    def numbers(self) -> tuple[int, ...]:
        return tuple(each.turn for each in self.turns)

    def usage(self) -> TokenUsage:
        """Return the tokens spent, by the provider's count or an estimate."""
        last = self._usage()
        if self.spent is None:
            return last
        return TokenUsage(
            self.spent.input_tokens + last.input_tokens,
            self.spent.output_tokens + last.output_tokens,
            self.spent.estimated or last.estimated,
            _sum(self.spent.cost, last.cost),
        )

    def _usage(self) -> TokenUsage:
        finished = self.finished
        counted: Usage | None = finished.usage if finished else None
        if counted is None and (self.sent_at is None or self.refused):
            return TokenUsage(0, 0, estimated=False)
        used = counted or estimate(self.request, len(self.text) - self.round_start)
        prices = (finished and finished.prices) or self.prices
        cost = prices.cost(used) if prices else None
        return TokenUsage(used.input_tokens, used.output_tokens, used.estimated, cost)

    def info(self) -> RequestInfo:
        finished = self.finished
        return RequestInfo(
            id=(finished and finished.request_id) or self.request_id,
            model=(finished and finished.model) or self.model,
            region=self.host,
        )

    def times(self) -> Times:
        waited = _ms(self.turn_at, self.sent_at)
        return Times(
            end_of_turn_delay=_ms(self.spoken_at, self.turn_at),
            queue=None if waited is None else max(0.0, waited),
            time_to_first_token=_ms(self.sent_at, self.first_at),
            first_sentence=_ms(self.sent_at, self.sentence_at),
            total=_ms(self.sent_at, self.ended_at),
            end_to_end=_ms(self.spoken_at, self.published_at),
            lead=self._lead(),
        )

    def _lead(self) -> float:
        """Return what speculation saved: the head start, but not more than the wait."""
        head_start = _ms(self.sent_at, self.turn_at)
        wait = _ms(self.sent_at, self.first_at)
        if not self.speculative or head_start is None or wait is None:
            return 0.0
        return max(0.0, min(head_start, wait))


def _ms(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else round((end - start) * 1000, 2)


def _sum(one: float | None, other: float | None) -> float | None:
    """Return the sum of two costs; None unless both are known."""
    return None if one is None or other is None else one + other
