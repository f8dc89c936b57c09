"""Plain words for the errors of connecting to a server."""

import socket
import ssl
from collections.abc import Iterator

REFUSED = "the connection was refused; is the server running, and is this its port?"
CLOSED = "it closed the connection; is it a server of this program?"

_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (ConnectionRefusedError, REFUSED),
    (socket.gaierror, "there is no such host, or no network"),
    (TimeoutError, "there was no answer in time"),
    (ConnectionResetError, CLOSED),
    (BrokenPipeError, CLOSED),
    (EOFError, CLOSED),
)


def why_unreachable(error: BaseException) -> str:
    """Return why there is no connection, without the words of Python or of its libraries."""
    for cause in _causes(error):
        for kind, words in _WORDS:
            if isinstance(cause, kind):
                return words
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    text = str(error)
    if "refused" in text or "Connect call failed" in text:  # several addresses, each refused
        return REFUSED
    return text or "there was no connection"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it was raised from; libraries wrap those of the system."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
