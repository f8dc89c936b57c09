"""Idempotency of client commands: the outcome of each ``client_id`` of a session. Pure."""

from hashlib import sha256

import msgspec
from msgspec import Struct

from pipeline.errors import InputError
from pipeline.protocol.commands import (
    ClientCommand,
    DtmfCommand,
    ResponseCreateCommand,
    SessionEndCommand,
    ToolResultCommand,
    TurnCreateCommand,
)
from pipeline.protocol.events import type_of

REMEMBERED = 1000  #: outcomes of a session; past it the oldest is forgotten

_Identified = (
    TurnCreateCommand | DtmfCommand | ResponseCreateCommand | ToolResultCommand | SessionEndCommand
)
_encode = msgspec.json.Encoder(order="deterministic").encode


class CommandOutcome(Struct, frozen=True, gc=False):
    """Outcome of a command: done, or refused with ``error``."""

    fingerprint: bytes
    error: str | None


class CommandOutcomes:
    """Outcomes of the newest commands with a ``client_id``."""

    def __init__(self) -> None:
        self._outcomes: dict[tuple[str, str], CommandOutcome] = {}

    def is_repeated(self, command: ClientCommand) -> bool:
        """Return whether ``command`` was carried out before.

        Raises the ``InputError`` with which it was refused then, or another one if its id was
        used for a different command.
        """
        key = _key(command)
        outcome = None if key is None else self._outcomes.get(key)
        if outcome is None:
            return False
        is_same = outcome.fingerprint == _fingerprint(command)
        if is_same and outcome.error is not None:
            raise InputError(outcome.error)
        if not is_same and outcome.error is None:
            raise InputError(f"{type_of(command)}: client_id was used for a different command")
        return is_same

    def record(self, command: ClientCommand, error: InputError | None = None) -> None:
        """Record the outcome of ``command``, if it has a ``client_id``."""
        key = _key(command)
        if key is None:
            return
        self._outcomes.pop(key, None)
        said = None if error is None else str(error)
        self._outcomes[key] = CommandOutcome(_fingerprint(command), said)
        if len(self._outcomes) > REMEMBERED:
            del self._outcomes[next(iter(self._outcomes))]


def _key(command: ClientCommand) -> tuple[str, str] | None:
    if not isinstance(command, _Identified) or command.client_id is None:
        return None
    return type_of(command), command.client_id


def _fingerprint(command: ClientCommand) -> bytes:
    return sha256(_encode(command)).digest()
