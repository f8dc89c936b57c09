"""Every error that crosses a room. Values only.

PipelineError
├── SettingsError         we were told something that cannot be                 exit 2
│   └── InputError        the audio or file given cannot be used                exit 2
├── SttError              speech-to-text
│   ├── SttRefused        they say no: key, parameters, funds; do not retry     exit 3
│   ├── SttBusy           not now: too many sessions; retry after a while       exit 3
│   └── SttLost           the connection is gone or silent; reconnect           exit 3
├── GatewayError          the language model
│   ├── GatewayRefused    they say no: key, model, parameters; do not retry     exit 3
│   ├── GatewayBusy       429 or overloaded; ``retry_after`` seconds            exit 1
│   ├── GatewayTimeout    a deadline of ours ran out                            exit 1
│   └── GatewayLost       out of reach, cut off, or an answer without sense     exit 1
├── TranscriptError       a recording could not be stored to be asked about     exit 3
│   └── TranscriptFailed  it was taken, and no transcript came of it            exit 1
├── ToolsError            a server of tools is out of reach                     exit 3
├── EngineError           the embedded engines cannot start                     exit 3
├── ServeError            our own port cannot be had                            exit 2
├── SessionError          a session cannot be opened, read or erased
│   ├── SessionUnavailable  not now: the journal or the disk fails; retry         exit 1
│   ├── NoCapacity        a limit on sessions or on usage is reached            exit 1
│   ├── IdTaken           the session id is in use                              exit 1
│   └── SessionNotFound   no session has this id                                exit 1
├── SubscribeError        a server's events cannot be had                       exit 3
├── JournalError          events cannot be written down or read                 exit 1
├── RecordingError        audio cannot be kept or read                          exit 1
└── BusError              what carries events between processes

A leaf exists where a caller acts differently. Messages say what was attempted, on what,
and what to do; they never hold a key.
"""


class PipelineError(Exception):
    """The root: anything this package raises on purpose."""

    exit_code: int = 1


class SettingsError(PipelineError):
    """We were told something that cannot be."""

    exit_code = 2


class InputError(SettingsError):
    """The audio, file or message given cannot be used."""


class SttError(PipelineError):
    """Speech-to-text failed."""

    exit_code = 3

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code  #: the close or error code of the wire, when there was one


class SttRefused(SttError):
    """Speech-to-text says no; asking again would not help."""


class SttBusy(SttError):
    """Speech-to-text has no room now; later it may."""


class SttLost(SttError):
    """The speech-to-text connection is gone or silent."""


class GatewayError(PipelineError):
    """A call of a language model failed."""

    #: what a subscriber sees in ``error.type``
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
        self.status = status  #: HTTP status, when there was an answer
        self.request_id = request_id
        self.body = body  #: the non-2xx answer's text, at most 64 KiB, for the request log
        self.retryable: bool | None = None  #: what the server itself said of asking it again


class GatewayRefused(GatewayError):
    """The model's server says no; asking again would not help."""

    kind = "refused"
    exit_code = 3


class GatewayBusy(GatewayError):
    """The model's server has no room now."""

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
    """A deadline of ours ran out."""

    kind = "timeout"


class GatewayLost(GatewayError):
    """Out of reach, cut off, or an answer without sense."""

    kind = "lost"


class TranscriptError(PipelineError):
    """A recording could not be stored to be asked about."""

    exit_code = 3


class TranscriptFailed(TranscriptError):
    """A recording was taken, and no transcript came of it."""

    exit_code = 1


class ToolsError(PipelineError):
    """A server whose tools a prompt offers is out of reach."""

    exit_code = 3


class EngineError(PipelineError):
    """The embedded engines cannot start."""

    exit_code = 3


class ServeError(PipelineError):
    """Our own port cannot be had."""

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
    """The server of events cannot be reached, or refuses."""

    exit_code = 3

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code  #: the close code, or the ``error.code``, when there was one


class JournalError(PipelineError):
    """The durable log cannot be opened."""


class RecordingError(PipelineError):
    """The recordings of sessions cannot be written, read or removed."""


class BusError(PipelineError):
    """What carries events between processes failed."""
