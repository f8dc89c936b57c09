"""Request log: records of language model requests and their outcomes. Values only.

``gateway`` creates the records, ``journal`` stores them, the command line lists them. They never
contain a key; texts only if the setting allows it.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Struct

from pipeline.interfaces.llm import (
    CompletionRequest,
    Message,
    RateLimit,
    Usage,
)
from pipeline.protocol.events import RequestInfo, Times, TokenUsage

#: outcomes that count as a failure
FAILED = frozenset({"failed", "incomplete"})


class CallTimes(Struct, frozen=True, kw_only=True):
    """Milliseconds since the call was sent."""

    headers: float | None = None
    first_token: float | None = None  #: or the first of a tool call
    total: float


class ResponseEnded(Struct, frozen=True, kw_only=True):
    """Outcome of a response, which may have taken several requests."""

    response_id: str
    prompt: str
    outcome: str  #: completed, cancelled, incomplete, failed or discarded
    reason: str | None = None


class CallRecord(Struct, frozen=True, kw_only=True):
    """One HTTP request, also one that failed, was cancelled, or was not sent."""

    sent: float  #: Unix seconds
    session_id: str = ""
    response_id: str = ""
    token_name: str = ""  #: of the token of an HTTP caller, if there are tokens
    why: str = "first"  #: first, retry, fallback or hedge
    attempt: int = 1  #: counted per response
    request_id: str | None = None  #: the server's
    model: str  #: of the request
    answered_by: str | None = None  #: the model that answered, if the reply names it
    host: str
    region: str = ""  #: us, eu or global, if the host or the request implies it
    speculative: bool = False
    outcome: str  #: completed, incomplete, failed or cancelled
    reason: str | None = None  #: the finish reason, or the kind of failure
    status: int | None = None  #: HTTP
    times: CallTimes
    usage: Usage | None = None
    cost: float | None = None  #: USD, if the price is known
    rate: RateLimit | None = None
    retry_after: float | None = None  #: seconds
    error: str | None = None
    body: str | None = None  #: of a non-2xx response, at most 64 KiB
    messages: tuple[Message, ...] | None = None  #: of the request, if texts are logged
    text: str | None = None  #: of the reply, if texts are logged
    response: ResponseEnded | None = None  #: added when records are read; none while it runs


class CallTrace(Protocol):
    """Trace of one request, from before it is sent to its end."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers to send with the request, so that the server's trace joins ours."""
        ...

    def end(self, call: CallRecord) -> None: ...


#: called before a request is sent to a host
Trace = Callable[[CompletionRequest, str], CallTrace]


class Selection(Struct, frozen=True, kw_only=True):
    """Filter over request records: the newest that match."""

    failed: bool = False
    since: float = 0.0  #: Unix seconds
    session: str = ""
    model: str = ""  #: requested, or answering
    id: str = ""  #: of the response, or of the request at the server
    limit: int = 0  #: 0 is all of them

    def admits(self, call: CallRecord) -> bool:
        return (
            call.sent >= self.since
            and (not self.failed or call.outcome in FAILED)
            and self.session in ("", call.session_id)
            and self.model in ("", call.model, call.answered_by)
            and self.id in ("", call.response_id, call.request_id)
        )


class CallReport(Struct, frozen=True, kw_only=True):
    """Result of one request, for totals, metrics and the request log. Never pushed."""

    response_id: str
    prompt: str
    turns: tuple[int, ...]
    model: str
    speculative: bool
    outcome: str  #: completed, cancelled, incomplete, failed or discarded
    reason: str | None
    text: str
    usage: TokenUsage
    times: Times
    request: RequestInfo
