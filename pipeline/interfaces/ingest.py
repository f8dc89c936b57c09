"""The interface of an ingest wire format. Values only."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from pipeline.protocol.commands import ClientCommand
from pipeline.protocol.events import Frame

Order = bytes | ClientCommand


class Adapter(Protocol):
    """Codec of one connection in one ingest wire format: messages in, audio and commands out."""

    @property
    def takes_events(self) -> bool:
        """Whether the peer receives our own events, errors included, instead of ``answer``'s."""
        ...

    @property
    def takes_over(self) -> bool:
        """Whether a connection continues a session whose earlier one still seems to be open."""
        ...

    def receive(self, message: bytes | str) -> Sequence[Order]:
        """Decode ``message``: audio as bytes, everything else as commands.

        The first item of a connection is a ``StartCommand``. Raises ``InputError`` for an
        invalid message, and ``Disconnect`` for one after which no other can be valid.
        """
        ...

    def answer(self, frame: Frame) -> Sequence[bytes]:
        """Encode an event of the session in the peer's format; empty if it has no counterpart."""
        ...


#: creates the adapter of a connection from the query parameters of its address
MakeAdapter = Callable[[Mapping[str, str]], Adapter]

#: returns whether a handshake, by its path with query and its headers, is authentic
Guard = Callable[[str, Mapping[str, str]], bool]
