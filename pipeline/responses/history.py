"""The conversation history of one prompt, as the next request contains it. Pure.

An answer stands in it as far as it was published, or as far as the client reports that it was
played. An exchange of which nothing was published is removed. Its turns are unanswered, and the
next request contains them together with its own, where the response ended for a cause that passes;
turns that the server refused are dropped, since it would refuse the next request for them, too.
Tool results follow their call and precede the assistant's words.

A server that refuses a request for its length gets half as much history from then on, by
characters, and again half after every further refusal.
"""

from collections import deque
from collections.abc import Collection
from itertools import accumulate
from typing import NamedTuple

from pipeline.interfaces.llm import Attached, Message
from pipeline.responses.alignment import PlaybackReport, played_characters
from pipeline.responses.prompt import FinishedTurn
from pipeline.responses.tool_calls import ToolRound

NOTHING = "…"  #: stands for an empty answer: no provider accepts an empty message
MOST_UNANSWERED = 64  #: turns kept; the oldest are dropped first


class Played(NamedTuple):
    """Part of an answer that the caller heard."""

    text: str
    interrupted: bool  #: there was more, or would have been


class _Exchange:
    __slots__ = (
        "answer",
        "attached",
        "closed",
        "interrupted",
        "played",
        "question",
        "rounds",
        "turns",
    )

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
        self.attached: Attached | None = None  # to the last message, if all of it was played

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
        attached = None if self.is_interrupted() else self.attached
        return [*out, Message("assistant", played[at:] + mark or NOTHING, attached=attached)]

    def size(self) -> int:
        """Return the characters that the exchange adds to a request."""
        return sum(_size(message) for message in self.messages(""))

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
        self._room: int | None = None  # characters of a request, after one was too long
        self.transcript_room: int | None = None  #: the same, of the transcript in a request
        self.transcript_sent = 0  #: characters of the transcript in the last request

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

    def attach(self, response_id: str, attached: Attached | None) -> None:
        """Keep what the server attached to the answer, if that is more than its name."""
        if response_id in self._exchanges and attached is not None and attached.fields:
            self._exchanges[response_id].attached = attached

    def add_round(self, response_id: str, tool_round: ToolRound) -> None:
        """Add a round of tool calls; results count as they come, also after the end."""
        exchange = self._exchanges.get(response_id)
        if exchange is not None:
            exchange.rounds.append((len(exchange.answer), tool_round))

    def close(self, response_id: str, *, interrupted: bool, again: bool = True) -> None:
        """Close the exchange. If nothing of it was played, it is removed.

        ``again``: its turns are unanswered then, else they are dropped.
        """
        exchange = self._exchanges.get(response_id)
        if exchange is None:
            return
        exchange.closed = True
        exchange.interrupted = interrupted
        if not exchange.has_content():
            del self._exchanges[response_id]
            if again:
                self._unanswered.extend(exchange.turns)

    def drop_round(self, response_id: str) -> None:
        """Remove the last round of tool calls: the server refused the request with its results."""
        exchange = self._exchanges.get(response_id)
        if exchange is not None and exchange.rounds:
            exchange.rounds.pop()

    def size(self) -> int:
        """Return the characters of the history in the next request."""
        return sum(each.size() for each in self._sent())

    def shorten(self) -> tuple[int, int]:
        """Halve history and transcript; return the exchanges of the next and the last request."""
        before = len(self._sent())
        if before:
            self._room = self.size() // 2
        if self.transcript_sent:
            self.transcript_room = self.transcript_sent // 2
        return len(self._sent()), before

    def drop_newest(self, count: int) -> int:
        """Remove the newest closed exchanges; return how many."""
        closed = [key for key, exchange in self._exchanges.items() if exchange.closed]
        for key in closed[-count:]:
            del self._exchanges[key]
        return len(closed[-count:])

    def play(self, response_id: str, report: PlaybackReport) -> Played | None:
        """Cut an answer to what the client played; return it, unless it is not known or new."""
        exchange = self._exchanges.get(response_id)
        if exchange is None:
            return None
        played = played_characters(exchange.answer, report)
        if played == exchange.played:
            return None
        exchange.played = played
        return Played(exchange.answer[:played], exchange.is_interrupted())

    def unplayed(self, response_id: str) -> int:
        """Return how many characters of an answer the client has not reported as played."""
        exchange = self._exchanges.get(response_id)
        if exchange is None or exchange.played is None:
            return 0
        return len(exchange.answer) - exchange.played

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
        out: list[Message] = []
        for exchange in self._sent(if_closed):
            cut = exchange.is_interrupted() or not exchange.closed
            out += exchange.messages(self._mark if cut else "")
        return out

    def _sent(self, if_closed: Collection[str] = ()) -> list[_Exchange]:
        """Return the newest exchanges that the window and the room allow, oldest first."""
        played = [
            exchange
            for key, exchange in self._exchanges.items()
            if (exchange.closed or key in if_closed) and exchange.has_content()
        ]
        sent = played[-self._window :] if self._window else []
        if self._room is None:
            return sent
        sizes = accumulate(each.size() for each in reversed(sent))
        count = sum(1 for size in sizes if size <= self._room)
        return sent[len(sent) - count :]

    def _forget(self) -> None:
        """Drop closed exchanges that no request will send again."""
        keep = max(self._window, 1) + 1
        closed = [(key, exchange) for key, exchange in self._exchanges.items() if exchange.closed]
        played = [key for key, exchange in closed if exchange.has_content()]
        unplayed = [key for key, exchange in closed if not exchange.has_content()]
        for key in (*played[:-keep], *unplayed[:-MOST_UNANSWERED]):
            del self._exchanges[key]


def _size(message: Message) -> int:
    calls = (len(call.function.arguments) for call in message.tool_calls)
    return len(message.content or "") + sum(calls)
