"""In-stream replies: matches LLM replies sent on the STT connection to the session's turns.

The session knows which turns the service has ended, and so will answer, and their numbers;
``gateway.in_stream`` holds the replies until the scheduler requests them.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from pipeline.interfaces.llm import Gateway
from pipeline.interfaces.stt import Heard, InStreamReply, StreamLost, Transcript
from pipeline.interfaces.turns import TurnEnded, TurnEvent
from pipeline.protocol.events import Engine, ErrorDetail, ErrorEvent, Event, SessionUpdated

log = logging.getLogger(__name__)

OnProblem = Callable[[str], None]


class InStreamReceiver(Gateway, Protocol):
    """Gateway of a session with in-stream replies; ``gateway.in_stream`` satisfies it."""

    @property
    def silent(self) -> bool:
        """No replies come, and requests go to the fallback at once."""
        ...

    def expect(self, turn: int) -> None: ...

    def answer(self, turn: int, body: bytes) -> None: ...

    def lose(self, why: str) -> None: ...


class InStreamSetup(Struct, frozen=True):
    """Set-up of in-stream replies."""

    make: Callable[[OnProblem], InStreamReceiver]
    behind: Engine | None  #: the fallback for replies that do not come


class Turns(Protocol):
    """Turn numbers of a tracker."""

    def turn_of(self, order: int) -> int | None: ...


class InStreamReplies:
    """Passes the in-stream replies among a session's transcripts to its gateway."""

    def __init__(self, ordered: InStreamSetup, name: str, publish: Callable[[Event], None]) -> None:
        self._behind = ordered.behind
        self._name = name
        self._publish = publish
        self._gave_up = False
        self.gateway = ordered.make(self._report_problem)

    def hear(self, heard: Heard, events: Sequence[TurnEvent], turns: Turns) -> None:
        """Take a message and its turn events, before any request for them."""
        match heard:
            case Transcript():
                for event in events:
                    if isinstance(event, TurnEnded):
                        self.gateway.expect(event.turn)
            case InStreamReply(order, body):
                turn = turns.turn_of(order)
                if turn is not None:
                    self.gateway.answer(turn, body)
            case StreamLost():
                self.gateway.lose("speech-to-text was interrupted")
            case _:
                pass

    def close(self) -> None:
        """Give up the replies that have not come: speech-to-text has ended."""
        self.gateway.lose("the session's speech is over")

    def _report_problem(self, problem: str) -> None:
        gives_up = self.gateway.silent and not self._gave_up
        if gives_up and self._behind is not None:
            problem += f"; from here on requests go to {self._behind.url}"
        log.warning("session %s: %s", self._name, problem)
        self._publish(ErrorEvent(error=ErrorDetail(type="in_stream", message=problem)))
        if gives_up:
            self._gave_up = True
            self._publish(SessionUpdated(llm=self._behind))
