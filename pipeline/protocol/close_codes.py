"""Websocket close codes and the reconnect rule of each. Pure."""

from enum import IntEnum

from pipeline.errors import PipelineError


class CloseCode(IntEnum):
    """Reason for a close: 1012 and 40xx mean reconnect with ``after_seq``, 44xx means do not."""

    ENDED = 1000  #: the session has ended, or the client closed the connection
    TOO_BIG = 1009  #: a message exceeds the size limit; sent by the websocket library
    RESTART = 1012  #: the server stops and may start again (IANA: Service Restart)
    EXPIRED = 4001  #: the token's connection time is over; reconnect with another token
    SLOW = 4008  #: too far behind, too often
    IDLE = 4012  #: no message was received for too long
    LATER = 4013  #: the server is draining or full at the moment
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    NO_SESSION = 4404
    TAKEN = 4409  #: another source sends the session's audio
    LIMIT = 4429

    @property
    def reconnect(self) -> bool:
        return may_reconnect(self)


LOST = 1006  #: the connection broke; never sent on the wire (RFC 6455 section 7.4.1)
_FINAL = frozenset({1000, 1002, 1003, 1007, 1008, 1009, 1010})


def may_reconnect(code: int) -> bool:
    """Return whether a client closed with ``code`` should reconnect; 1006 is a lost connection."""
    return code not in _FINAL and not 4400 <= code < 4500


class Disconnect(PipelineError):
    """Request to close the websocket with ``code``; the message is the close reason."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code

    def without_traceback(self) -> "Disconnect":
        """Drop the traceback and causes: their frames would keep the object's owner alive."""
        self.__traceback__ = self.__cause__ = self.__context__ = None
        return self
