"""The conversation history of one prompt, as the next request contains it. Pure.

An answer stands in it as far as it was published, or as far as the client reports that it was
played. An exchange of which nothing was published is removed: its turns are unanswered, and the
next request contains them together with its own. Tool results follow their call and precede the
assistant's words.
"""

from collections import deque
from collections.abc import Collection

from pipeline.interfaces.llm import Message
from pipeline.responses.prompt import FinishedTurn
from pipeline.responses.tool_calls import ToolRound

NOTHING = "…"  #: stands for an empty answer: no provider accepts an empty message
MOST_UNANSWERED = 64  #: turns kept; the oldest are dropped first


class _Exchange:
    __slots__ = ("answer", "closed", "interrupted", "played", "question", "rounds", "turns")

    def __init__(self, turns: tuple[FinishedTurn, ...], question: str) -> None:
        self.turns = turns
        self.question = question
        self.answer = ""
        self.rounds: list[
            tuple[int, ToolRound]
        ] = []  # each with the length of the answer before it
        self.played: int | None = None  # characters, once the client has reported
        self.interrupted = False
        self.closed = False

    def played_text(self) -> str:
        return self.answer if self.played is None else self.answer[: self.played]

    def has_content(self) -> bool:
        return bool(self.played_text()) or any(
            tool_round.reportable() for _, tool_round in self.rounds
        )

    def messages(self, mark: str) -> list[Message]:
        """Return both sides; ``mark`` is appended to the last words."""
        played, at = self.played_text(), 0
        out = [Message("user", self.question)]
        for end, tool_round in self.rounds:
            calls = tool_round.messages(played[at:end])
            at = min(end, len(played)) if calls else at
            out += calls
        return [*out, Message("assistant", played[at:] + mark or NOTHING)]

    def covers_only(self, numbers: set[int]) -> bool:
        return all(each.turn in numbers for each in self.turns)

    def is_interrupted(self) -> bool:
        return self.interrupted or (self.played is not None and self.played < len(self.answer))


class History:
    """The exchanges of one prompt, oldest first; a request contains the last ``window``."""

    def __init__(self, window: int, interrupted_mark: str) -> None:
        self._window = window
        self._mark = interrupted_mark
        self._exchanges: dict[str, _Exchange] = {}
        self._unanswered: deque[FinishedTurn] = deque(maxlen=MOST_UNANSWERED)

    def open(self, response_id: str, turns: tuple[FinishedTurn, ...], question: str) -> None:
        """Open the exchange of a published response to ``turns``; they are no longer unanswered."""
        numbers = {each.turn for each in turns}
        left = [each for each in self._unanswered if each.turn not in numbers]
        self._unanswered.clear()
        self._unanswered.extend(left)
        for key, exchange in list(self._exchanges.items()):
            done = exchange.closed and not exchange.has_content()
            if done and exchange.covers_only(numbers):
                del self._exchanges[key]
        self._exchanges[response_id] = _Exchange(turns, question)
        self._forget()

    def append(self, response_id: str, text: str) -> None:
        """Append published text to the answer."""
        if response_id in self._exchanges:
            self._exchanges[response_id].answer += text

    def add_round(self, response_id: str, tool_round: ToolRound) -> None:
        """Add a round of tool calls; results count as they come, also after the end."""
        exchange = self._exchanges.get(response_id)
        if exchange is not None:
            exchange.rounds.append((len(exchange.answer), tool_round))

    def close(self, response_id: str, *, interrupted: bool) -> None:
        """Close the exchange. If nothing of it was played, its turns are unanswered again."""
        exchange = self._exchanges.get(response_id)
        if exchange is None:
            return
        exchange.closed = True
        exchange.interrupted = interrupted
        if not exchange.has_content():
            del self._exchanges[response_id]
            self._unanswered.extend(exchange.turns)

    def play(self, response_id: str, *, text: str | None, characters: int | None) -> bool:
        """Cut an answer to what the client played; return whether it is known."""
        exchange = self._exchanges.get(response_id)
        if exchange is None:
            return False
        if text is not None:
            characters = _common_prefix(exchange.answer, text)
        exchange.played = max(0, min(characters or 0, len(exchange.answer)))
        return True

    def unanswered(self, if_closed: Collection[str] = ()) -> tuple[FinishedTurn, ...]:
        """Return the unanswered turns, oldest first, as if ``if_closed`` were closed."""
        unplayed = [
            each
            for key, exchange in self._exchanges.items()
            if (exchange.closed or key in if_closed) and not exchange.has_content()
            for each in exchange.turns
        ]
        return tuple(sorted({*self._unanswered, *unplayed}, key=lambda each: each.turn))

    def messages(self, if_closed: Collection[str] = ()) -> list[Message]:
        """Return the closed exchanges of the window; roles alternate, user first.

        ``if_closed`` names open ones that count as interrupted now.
        """
        played = [
            (exchange, exchange.is_interrupted() or not exchange.closed)
            for key, exchange in self._exchanges.items()
            if (exchange.closed or key in if_closed) and exchange.has_content()
        ]
        out: list[Message] = []
        for exchange, cut in played[-self._window :] if self._window else ():
            out += exchange.messages(self._mark if cut else "")
        return out

    def _forget(self) -> None:
        """Drop closed exchanges that no request will send again."""
        keep = max(self._window, 1) + 1
        closed = [(key, exchange) for key, exchange in self._exchanges.items() if exchange.closed]
        played = [key for key, exchange in closed if exchange.has_content()]
        unplayed = [key for key, exchange in closed if not exchange.has_content()]
        for key in (*played[:-keep], *unplayed[:-MOST_UNANSWERED]):
            del self._exchanges[key]


def _common_prefix(answer: str, played: str) -> int:
    """Return how many characters of ``answer`` the played text covers."""
    at = 0
    for one, other in zip(answer, played, strict=False):
        if one != other:
            break
        at += 1
    return at
