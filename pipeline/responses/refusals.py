"""Reaction to refused requests: what was refused is kept out of the next request. Pure.

================================  ==============================================================
a request fails                   then
================================  ==============================================================
for a cause that passes           its turns are unanswered: the next request contains them
refused by the server             its turns are dropped
  for its length                  and history and transcript are halved, if they are longer than
                                  the turn
  for its content or form again   and the newest exchanges leave the history, since one of them
                                  likely is the cause: one, then two, four, ...
  after a round of tool calls     and the round's results leave the history
================================  ==============================================================
"""

from pipeline.errors import GatewayError, GatewayRefused
from pipeline.responses.history import History
from pipeline.responses.response import Response

#: causes that lie in the request: every server with the same rules refuses it again
IN_THE_REQUEST = frozenset({"content", "length", "malformed"})


def passes(error: GatewayError) -> bool:
    """Return whether the same request may succeed later."""
    return not isinstance(error, GatewayRefused) or error.retryable is True


class Refusals:
    """The refusals of one prompt's requests, and what they did to its history."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._in_a_row = 0

    def answered(self) -> None:
        """Take a completed response."""
        self._in_a_row = 0

    def after(self, response: Response, error: GatewayError) -> str:
        """Shorten the history where it is the likely cause; return what to report of it."""
        if passes(error) or error.cause not in IN_THE_REQUEST:
            return ""
        self._in_a_row += 1
        self._history.drop_round(response.id)
        if error.cause == "length":
            return self._shorten(sum(len(each.text) for each in response.turns))
        if self._in_a_row < 2:
            return ""
        dropped = self._history.drop_newest(2 ** (self._in_a_row - 2))
        return f"; the next request lacks the newest exchanges ({dropped})" if dropped else ""

    def _shorten(self, question: int) -> str:
        """Halve what precedes a turn of ``question`` characters, if that is the longer part."""
        if self._history.size() + self._history.transcript_sent <= question:
            return ""
        left, sent = self._history.shorten()
        parts = [f"{left} of {sent} earlier exchanges"] if sent else []
        if self._history.transcript_sent:
            parts.append(f"the newest {self._history.transcript_room} characters of the transcript")
        return f"; the next request has {' and '.join(parts)}"
