"""Exceptions that cross rooms. Values only.

PipelineError
├── SettingsError         settings or flags are invalid                         exit 2
│   └── InputError        the given audio or file cannot be used                exit 2
├── SttError              speech-to-text
│   ├── SttRefused        refused: key, parameters, funds; do not retry         exit 3
│   ├── SttBusy           too many sessions; retry later                        exit 3
│   └── SttLost           the connection is lost or silent; reconnect           exit 3
├── GatewayError          the language model
│   ├── GatewayRefused    refused: key, model, parameters; do not retry         exit 3
│   ├── GatewayBusy       429 or overloaded; ``retry_after`` seconds            exit 1
│   ├── GatewayTimeout    one of our deadlines expired                          exit 1
│   └── GatewayLost       unreachable, disconnected, or an invalid response     exit 1
├── TranscriptError       a recording could not be uploaded for transcription   exit 3
│   └── TranscriptFailed  the recording was accepted, its transcription failed  exit 1
├── ToolsError            a tool server is unreachable                          exit 3
├── EngineError           the embedded engines cannot start                     exit 3
├── ServeError            the port cannot be opened                             exit 2
├── SessionError          a session cannot be opened, read or erased
│   ├── SessionUnavailable  the journal or the disk fails; retry later          exit 1
│   ├── NoCapacity        a limit on sessions or on usage is reached            exit 1
│   ├── IdTaken           the session id is in use                              exit 1
│   └── SessionNotFound   no session has this id                                exit 1
├── SubscribeError        a server's events cannot be received                  exit 3
├── JournalError          events cannot be stored or read                       exit 1
├── RecordingError        audio cannot be stored or read                        exit 1
└── BusError              events cannot be exchanged between processes          exit 1

A leaf exists only where a caller acts differently. Messages state the action, its object, and
the remedy; they never contain a key.
"""

from typing import Literal

#: why a server refused a request: its content or length, a model that does not exist or does not
#: support it, the key, the account's funds or permission, the address, a field that is wrong; or
#: nothing that it says
RefusalCause = Literal[
    "content",
    "length",
    "model",
    "key",
    "funds",
    "permission",
    "address",
    "malformed",
    "unexplained",
]


class PipelineError(Exception):
    """Base class of every error that this package raises on purpose."""

    exit_code: int = 1


class SettingsError(PipelineError):
    """Invalid settings or flags."""

    exit_code = 2


class InputError(SettingsError):
    """Audio, file or message that cannot be used."""


class SttError(PipelineError):
    """Failure of speech-to-text."""

    exit_code = 3

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code  #: the close or error code on the wire, if any


class SttRefused(SttError):
    """Refusal by speech-to-text; a retry would not help."""


class SttBusy(SttError):
    """Lack of capacity at speech-to-text; a retry later may succeed."""


class SttLost(SttError):
    """Loss or silence of the speech-to-text connection."""


class GatewayError(PipelineError):
    """Failure of a language model request."""

    #: the value of ``error.type`` in events
    kind: str = "gateway_error"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        body: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status  #: HTTP status, if a response came
        self.request_id = request_id
        self.body = body  #: body of the non-2xx response, at most 64 KiB, for the request log
        self.cause: RefusalCause | None = None  #: why the server refused, where it did
        self.retryable: bool | None = None  #: the server's own statement on retries
        #: from a fallback: it says nothing of the capacity of the model that was requested
        self.from_fallback = False
        self.code: str | None = None  #: for an HTTP caller: what kind of refusal
        self.param: str | None = None  #: for an HTTP caller: the field of the body at fault


class GatewayRefused(GatewayError):
    """Refusal by the model's server; a retry would not help."""

    kind = "refused"
    exit_code = 3


class GatewayBusy(GatewayError):
    """Lack of capacity at the model's server."""

    kind = "busy"

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        status: int | None = None,
        request_id: str | None = None,
        body: str | None = None,
    ) -> None:
        super().__init__(message, status=status, request_id=request_id, body=body)
        self.retry_after = retry_after  #: seconds


class GatewayTimeout(GatewayError):
    """Expiry of one of our deadlines."""

    kind = "timeout"


class GatewayLost(GatewayError):
    """Unreachable server, lost connection, or invalid response."""

    kind = "lost"


class TranscriptError(PipelineError):
    """Failure to upload a recording for transcription."""

    exit_code = 3


class TranscriptFailed(TranscriptError):
    """Failure of the transcription of an accepted recording."""

    exit_code = 1


class ToolsError(PipelineError):
    """Unreachable server of the tools of a prompt."""

    exit_code = 3


class EngineError(PipelineError):
    """Failure to start the embedded engines."""

    exit_code = 3


class ServeError(PipelineError):
    """Failure to open the port."""

    exit_code = 2


class SessionError(PipelineError):
    """A session cannot be opened, read or erased."""


class SessionUnavailable(SessionError):
    """The journal or the recordings fail now; a later try may succeed."""


class NoCapacity(SessionError):
    """A limit on sessions or on usage is reached."""


class IdTaken(SessionError):
    """The session id is in use."""


class SessionNotFound(SessionError):
    """No session has this id."""


class SubscribeError(PipelineError):
    """Failure to receive events: the server is unreachable or refuses."""

    exit_code = 3

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code  #: the close code, or the ``error.code``, if any


class JournalError(PipelineError):
    """Failure to open, write or read the journal."""


class RecordingError(PipelineError):
    """Failure to write, read or delete recordings."""


class BusError(PipelineError):
    """Failure of the bus between processes."""
