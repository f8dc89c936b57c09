"""Resume position of a subscriber, so that a reconnect has no gap and no duplicate. Pure."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from pipeline.errors import SubscribeError
from pipeline.protocol.commands import SubscribeCommand
from pipeline.protocol.events import (
    AudioAck,
    ErrorEvent,
    Heartbeat,
    ServerEvent,
    SessionEnded,
    SessionResync,
    UnknownEvent,
)


class _Envelope(Struct):
    """Fields that an event of any type has."""

    seq: int = 0
    session_id: str = ""
    epoch: int = 0
    from_seq: int | None = None


_envelope = msgspec.json.Decoder(_Envelope)


class Gap(Exception):
    """Missing events before the one received: reconnect and send ``commands``."""


class Resume:
    """Position of a subscriber in each session, and its commands after a (re)connect."""

    def __init__(
        self, session_id: str, *, after_seq: int | None = None, events: Sequence[str] = ()
    ) -> None:
        self._session_id = session_id
        self._after_seq = after_seq
        self._events = tuple(events)
        self._positions: dict[str, tuple[int, int]] = {}  # session id → newest seq, epoch
        self._has_connected = False
        self.over = False  #: the one session subscribed to has ended

    def commands(self) -> list[SubscribeCommand]:
        """Return the commands to send on a new connection."""
        everything = self._session_id == "*"
        commands = [
            SubscribeCommand(session_id=name, after_seq=seq, epoch=epoch, events=self._events)
            for name, (seq, epoch) in self._positions.items()
        ]
        if everything or not commands:
            # After a first connection every session of that time has a position; others are new.
            after_seq = 0 if self._has_connected and everything else self._after_seq
            commands.append(
                SubscribeCommand(
                    session_id=self._session_id, after_seq=after_seq, events=self._events
                )
            )
        self._has_connected = True
        return commands

    def accept(self, event: ServerEvent | UnknownEvent) -> bool:
        """Record ``event`` and return whether it is new.

        Raises ``Gap`` when an event is missing before it, ``SubscribeError`` when the server
        refuses the subscription.
        """
        match event:
            case UnknownEvent():
                return self._advance(_envelope.decode(event.raw))
            case ErrorEvent(seq=0):
                return self._accept_error(event)
            case AudioAck():
                return False  # for sources
            case Heartbeat():
                self._accept_heartbeat(event)
                return False
            case _:
                return self._advance(event)

    def _advance(self, event: "ServerEvent | _Envelope") -> bool:
        position = self._positions.get(event.session_id)
        first = event.seq if event.from_seq is None else event.from_seq
        if position is not None and not isinstance(event, SessionResync):
            seq, epoch = position
            if event.epoch == epoch and event.seq <= seq:
                return False
            # Number 1 under another epoch begins another history: the id was used again.
            if first != seq + 1 and (event.epoch == epoch or first != 1):
                raise Gap(f"{event.session_id}: {first} does not follow {seq}")
        self._positions[event.session_id] = event.seq, event.epoch
        if event.session_id == self._session_id and _ends(event):
            self.over = True
        return True

    def _accept_heartbeat(self, event: Heartbeat) -> None:
        position = self._positions.get(event.session_id)
        if position is not None and _is_ahead(event, position, filtered=bool(self._events)):
            raise Gap(f"{event.session_id}: newest event {event.head}, last received {position[0]}")
        self._positions[event.session_id] = event.head, event.epoch

    def _accept_error(self, event: ErrorEvent) -> bool:
        """Handle an error event that has no number in the log."""
        if event.error.type != "invalid_request":
            return True  # an error of the session, not of the subscription
        self._positions.pop(event.session_id, None)
        if self._session_id != "*":
            code = event.error.code
            raise SubscribeError(event.error.message, code=code if isinstance(code, int) else None)
        return False


def _ends(event: "ServerEvent | _Envelope") -> bool:
    if isinstance(event, SessionResync):
        return event.state.status == "ended"
    return isinstance(event, SessionEnded)


def _is_ahead(event: Heartbeat, position: tuple[int, int], *, filtered: bool) -> bool:
    """Return whether events are missing before a heartbeat; filtered ones are not missing."""
    seq, epoch = position
    return (event.head > seq and not filtered) or (event.head < seq and event.epoch != epoch)
