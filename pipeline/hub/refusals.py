"""Close codes for the service's errors. Pure."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager

from pipeline.errors import (
    IdTaken,
    NoCapacity,
    SessionError,
    SessionNotFound,
    SessionUnavailable,
)
from pipeline.protocol.close_codes import CloseCode, Disconnect

CLOSE_CODES: Mapping[type[SessionError], CloseCode] = {
    SessionUnavailable: CloseCode.LATER,
    NoCapacity: CloseCode.LIMIT,
    IdTaken: CloseCode.TAKEN,
    SessionNotFound: CloseCode.NO_SESSION,
}


@contextmanager
def disconnecting() -> Generator[None]:
    """Raise ``Disconnect`` with its close code for a ``SessionError`` of the block."""
    try:
        yield
    except SessionError as error:
        raise Disconnect(str(error), code=CLOSE_CODES[type(error)]) from error
