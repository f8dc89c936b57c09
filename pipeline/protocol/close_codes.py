"""Websocket close codes, and which of them tell the client to reconnect. Pure."""

from enum import IntEnum

from pipeline.errors import PipelineError


class CloseCode(IntEnum):
    """Why we close: 1012 and 40xx mean come back with ``after_seq``, 44xx means do not."""

    ENDED = 1000  #: the session has ended, or the client said goodbye
    TOO_BIG = 1009  #: a message was longer than it may be there; by the websocket library
    RESTART = 1012  #: the server stops, and may be there again (IANA: Service Restart)
    EXPIRED = 4001  #: the time that the token gives a connection is over; another one does
    SLOW = 4008  #: too far behind, too often
    IDLE = 4012  #: nothing was heard for too long
    LATER = 4013  #: not now: the server is draining or full
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    NO_SESSION = 4404
    TAKEN = 4409  #: the session is fed by somebody else
    LIMIT = 4429

    @property
    def reconnect(self) -> bool:
        return may_reconnect(self)


LOST = 1006  #: the connection broke; nobody sends this
_FINAL = frozenset({1000, 1002, 1003, 1007, 1008, 1009, 1010})


def may_reconnect(code: int) -> bool:
    """Return whether a client closed with ``code`` should come back; 1006 is a lost connection."""
    return code not in _FINAL and not 4400 <= code < 4500


class Disconnect(PipelineError):
    """The socket must be closed with ``code``; the message is the reason given."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code

    def alone(self) -> "Disconnect":
        """Return this without the frames that it went through, which hold whoever keeps it."""
        self.__traceback__ = self.__cause__ = self.__context__ = None
        return self
