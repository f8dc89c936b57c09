"""What was really said on both sides, as the next request will tell it. Pure.

The history holds exchanges. An answer stands in it as far as it was published, or as far as
the client says that it was played; an exchange of which nothing was published is no exchange:
its turns are unanswered, and the next request asks them together with its own. What tools
said stands in it too, always behind its call and before words of the assistant.
"""

from collections import deque
from collections.abc import Collection

from pipeline.interfaces.llm import Message
from pipeline.responses.prompt import FinishedTurn
from pipeline.responses.tool_calls import ToolRound

NOTHING = "…"  #: what an assistant says who said nothing: no provider takes an empty message
MOST_UNANSWERED = 64  #: turns carried along; the oldest go first


class _Exchange:
    __slots__ = ("answer", "closed", "interrupted", "played", "question", "rounds", "turns")

    def __init__(self, turns: tuple[FinishedTurn, ...], question: str) -> None:
        self.turns = turns
        self.question = question
        self.answer = ""
        self.rounds: list[
            tuple[int, ToolRound]
        ] = []  # each with the length of the answer before it
        self.played: int | None = None  # characters, once the client has told
        self.interrupted = False
        self.closed = False

    def heard(self) -> str:
        return self.answer if self.played is None else self.answer[: self.played]

    def is_worth_telling(self) -> bool:
        return bool(self.heard()) or any(asked.told() for _, asked in self.rounds)

    def messages(self, mark: str) -> list[Message]:
        """Return both sides; ``mark`` is put behind the last words."""
        heard, at = self.heard(), 0
        out = [Message("user", self.question)]
        for end, asked in self.rounds:
            called = asked.messages(heard[at:end])
            at = min(end, len(heard)) if called else at
            out += called
        return [*out, Message("assistant", heard[at:] + mark or NOTHING)]

    def asks_only(self, numbers: set[int]) -> bool:
        return all(asked.turn in numbers for asked in self.turns)

    def was_cut(self) -> bool:
        return self.interrupted or (self.played is not None and self.played < len(self.answer))


class History:
    """The exchanges of one prompt, oldest first; ``window`` of them are sent along."""

    def __init__(self, window: int, interrupted_mark: str) -> None:
        self._window = window
        self._mark = interrupted_mark
        self._exchanges: dict[str, _Exchange] = {}
        self._unanswered: deque[FinishedTurn] = deque(maxlen=MOST_UNANSWERED)

    def ask(self, response_id: str, turns: tuple[FinishedTurn, ...], question: str) -> None:
        """A response to ``turns`` was made known; they are no longer unanswered."""
        numbers = {asked.turn for asked in turns}
        left = [asked for asked in self._unanswered if asked.turn not in numbers]
        self._unanswered.clear()
        self._unanswered.extend(left)
        for key, exchange in list(self._exchanges.items()):
            done = exchange.closed and not exchange.is_worth_telling()
            if done and exchange.asks_only(numbers):
                del self._exchanges[key]
        self._exchanges[response_id] = _Exchange(turns, question)
        self._forget()

    def said(self, response_id: str, text: str) -> None:
        if response_id in self._exchanges:
            self._exchanges[response_id].answer += text

    def called(self, response_id: str, asked: ToolRound) -> None:
        """The response called tools; their results are told as they come, also after its end."""
        exchange = self._exchanges.get(response_id)
        if exchange is not None:
            exchange.rounds.append((len(exchange.answer), asked))

    def close(self, response_id: str, *, interrupted: bool) -> None:
        """The response is over. If nothing of it was heard its turns are unanswered again."""
        exchange = self._exchanges.get(response_id)
        if exchange is None:
            return
        exchange.closed = True
        exchange.interrupted = interrupted
        if not exchange.is_worth_telling():
            del self._exchanges[response_id]
            self._unanswered.extend(exchange.turns)

    def play(self, response_id: str, *, text: str | None, characters: int | None) -> bool:
        """Cut an answer to what the client played; return whether it is still known."""
        exchange = self._exchanges.get(response_id)
        if exchange is None:
            return False
        if text is not None:
            characters = _common(exchange.answer, text)
        exchange.played = max(0, min(characters or 0, len(exchange.answer)))
        return True

    def unanswered(self, if_closed: Collection[str] = ()) -> tuple[FinishedTurn, ...]:
        """Return the turns nobody answered, oldest first; as if ``if_closed`` were closed."""
        unheard = [
            asked
            for key, exchange in self._exchanges.items()
            if (exchange.closed or key in if_closed) and not exchange.is_worth_telling()
            for asked in exchange.turns
        ]
        return tuple(sorted({*self._unanswered, *unheard}, key=lambda asked: asked.turn))

    def messages(self, if_closed: Collection[str] = ()) -> list[Message]:
        """Return the closed exchanges of the window; roles alternate, user first.

        ``if_closed`` names open ones to tell as if they were interrupted now.
        """
        heard = [
            (exchange, exchange.was_cut() or not exchange.closed)
            for key, exchange in self._exchanges.items()
            if (exchange.closed or key in if_closed) and exchange.is_worth_telling()
        ]
        out: list[Message] = []
        for exchange, cut in heard[-self._window :] if self._window else ():
            out += exchange.messages(self._mark if cut else "")
        return out

    def _forget(self) -> None:
        """Drop closed exchanges that no request will send again."""
        keep = max(self._window, 1) + 1
        closed = [(key, exchange) for key, exchange in self._exchanges.items() if exchange.closed]
        heard = [key for key, exchange in closed if exchange.is_worth_telling()]
        unheard = [key for key, exchange in closed if not exchange.is_worth_telling()]
        for key in (*heard[:-keep], *unheard[:-MOST_UNANSWERED]):
            del self._exchanges[key]


def _common(answer: str, played: str) -> int:
    """Return how many characters of ``answer`` the played text covers."""
    at = 0
    for one, other in zip(answer, played, strict=False):
        if one != other:
            break
        at += 1
    return at
