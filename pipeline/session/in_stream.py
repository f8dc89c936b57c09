"""Answers that come unasked, with what is heard: a session's part in it.

The session knows which turns the service has ended, and so will answer, and what its turn
numbers mean; ``gateway.in_stream`` holds the answers until they are asked for.
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

Tell = Callable[[str], None]


class InStreamReceiver(Gateway, Protocol):
    """A session's gateway where answers come in-stream; ``gateway.in_stream`` satisfies it."""

    @property
    def silent(self) -> bool:
        """Answers do not come, and somebody else is asked at once."""
        ...

    def expect(self, turn: int) -> None: ...

    def answer(self, turn: int, body: bytes) -> None: ...

    def lose(self, why: str) -> None: ...


class InStreamSetup(Struct, frozen=True):
    """How answers were ordered."""

    make: Callable[[Tell], InStreamReceiver]
    behind: Engine | None  #: who is asked where none comes


class Turns(Protocol):
    """What is needed of the tracker."""

    def turn_of(self, order: int) -> int | None: ...


class InStreamReplies:
    """Follows what a session hears, for the answers in it."""

    def __init__(self, ordered: InStreamSetup, name: str, publish: Callable[[Event], None]) -> None:
        self._behind = ordered.behind
        self._name = name
        self._publish = publish
        self._gave_up = False
        self.gateway = ordered.make(self._tell)

    def hear(self, heard: Heard, events: Sequence[TurnEvent], turns: Turns) -> None:
        """Take in what was heard and what came of it, before any of it is asked about."""
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
        """Nothing more will be heard."""
        self.gateway.lose("the session's speech is over")

    def _tell(self, said: str) -> None:
        gives_up = self.gateway.silent and not self._gave_up
        if gives_up and self._behind is not None:
            said += f"; from here on {self._behind.url} is asked"
        log.warning("session %s: %s", self._name, said)
        self._publish(ErrorEvent(error=ErrorDetail(type="in_stream", message=said)))
        if gives_up:
            self._gave_up = True
            self._publish(SessionUpdated(llm=self._behind))
