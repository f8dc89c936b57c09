"""The interface of an ingest wire format. Values only."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from pipeline.protocol.commands import ClientCommand
from pipeline.protocol.events import Frame

Order = bytes | ClientCommand


class Adapter(Protocol):
    """One connection of one ingest wire format: messages in, audio and commands out. Pure."""

    @property
    def takes_events(self) -> bool:
        """Whether the peer is sent our own events, errors included, and not ``answer``'s."""
        ...

    def receive(self, message: bytes | str) -> Sequence[Order]:
        """Return what ``message`` asks for: audio as bytes, everything else as commands.

        The first order of a connection is a ``StartCommand``. Raises an ``InputError`` that
        says what is wrong with the message.
        """
        ...

    def answer(self, frame: Frame) -> Sequence[bytes]:
        """Return what the peer's own format has to say of an event of its session."""
        ...


#: makes the adapter of a connection from the fields of its address's query
MakeAdapter = Callable[[Mapping[str, str]], Adapter]

#: says whether a handshake, by its path with query and its headers, is of whom it should be
Guard = Callable[[str, Mapping[str, str]], bool]
