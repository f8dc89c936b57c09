"""Every error that crosses a room.

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
├── EngineError           the embedded engines cannot start                     exit 3
├── ServeError            our own port cannot be had                            exit 2
├── SubscribeError        a server's events cannot be had                       exit 3
└── BusError              what carries events between processes

A leaf exists where a caller acts differently. Messages say what was attempted, on what,
and what to do; they never hold a key.
"""


class PipelineError(Exception):
    """The root: anything this package raises on purpose."""

    exit_code: int = 1


class SettingsError(PipelineError):
    exit_code = 2


class InputError(SettingsError):
    pass


class SttError(PipelineError):
    exit_code = 3

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code  #: the close or error code of the wire, when there was one


class SttRefused(SttError):
    pass


class SttBusy(SttError):
    pass


class SttLost(SttError):
    pass


class GatewayError(PipelineError):
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


class GatewayRefused(GatewayError):
    kind = "refused"
    exit_code = 3


class GatewayBusy(GatewayError):
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
    kind = "timeout"


class GatewayLost(GatewayError):
    kind = "lost"


class EngineError(PipelineError):
    exit_code = 3


class ServeError(PipelineError):
    exit_code = 2


class SubscribeError(PipelineError):
    exit_code = 3

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code  #: the close code, or the ``error.code``, when there was one


class BusError(PipelineError):
    pass
