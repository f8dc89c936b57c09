"""What a subscriber must remember to come back without gap or double. Pure."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from pipeline.errors import SubscribeError
from pipeline.protocol.commands import SubscribeCommand
from pipeline.protocol.events import (
    ErrorEvent,
    Heartbeat,
    ServerEvent,
    SessionEnded,
    SessionResync,
    Unknown,
)


class _Envelope(Struct):
    """What an event of a newer server has in common with ours."""

    seq: int = 0
    session_id: str = ""
    epoch: int = 0
    from_seq: int | None = None


_envelope = msgspec.json.Decoder(_Envelope)


class Gap(Exception):
    """Something is missing between what we have and what came: come back with ``commands``."""


class Resume:
    """Where a subscriber stands in each session, and what it asks for when it (re)connects."""

    def __init__(
        self, session_id: str, *, after_seq: int | None = None, events: Sequence[str] = ()
    ) -> None:
        self._session_id = session_id
        self._after_seq = after_seq
        self._events = tuple(events)
        self._places: dict[str, tuple[int, int]] = {}  # session id → newest seq, epoch
        self._met = False
        self.over = False  #: the one session followed has ended

    def commands(self) -> list[SubscribeCommand]:
        """Return what to send on a new connection."""
        everything = self._session_id == "*"
        commands = [
            SubscribeCommand(session_id=name, after_seq=seq, epoch=epoch, events=self._events)
            for name, (seq, epoch) in self._places.items()
        ]
        if everything or not commands:
            # Who was here before knows every session of that time; the others are new.
            after_seq = 0 if self._met and everything else self._after_seq
            commands.append(
                SubscribeCommand(
                    session_id=self._session_id, after_seq=after_seq, events=self._events
                )
            )
        self._met = True
        return commands

    def accept(self, event: ServerEvent | Unknown) -> bool:
        """Note ``event`` and return whether it is news.

        Raises ``Gap`` when an event is missing before it, ``SubscribeError`` when the server
        refuses what was asked.
        """
        match event:
            case Unknown():
                return self._advance(_envelope.decode(event.raw))
            case ErrorEvent(seq=0):
                return self._told(event)
            case Heartbeat():
                self._beat(event)
                return False
            case _:
                return self._advance(event)

    def _advance(self, event: "ServerEvent | _Envelope") -> bool:
        place = self._places.get(event.session_id)
        first = event.seq if event.from_seq is None else event.from_seq
        if place is not None and not isinstance(event, SessionResync):
            if event.seq <= place[0]:
                return False
            if first != place[0] + 1:
                raise Gap(f"{event.session_id}: {first} does not follow {place[0]}")
        self._places[event.session_id] = event.seq, event.epoch
        if isinstance(event, SessionEnded) and event.session_id == self._session_id:
            self.over = True
        return True

    def _beat(self, event: Heartbeat) -> None:
        place = self._places.get(event.session_id)
        if place is not None and event.head > place[0] and not self._events:
            raise Gap(f"{event.session_id}: {event.head} is out, {place[0]} was the last here")
        self._places[event.session_id] = event.head, event.epoch

    def _told(self, event: ErrorEvent) -> bool:
        """Take in an error that has no place in the log."""
        if event.error.type != "invalid_request":
            return True  # something of the session's, not of what was asked
        self._places.pop(event.session_id, None)
        if self._session_id != "*":
            code = event.error.code
            raise SubscribeError(event.error.message, code=code if isinstance(code, int) else None)
        return False
