"""The request log: each call of a language model, and what became of its response. Values only.

``gateway`` makes the records, ``journal`` keeps them, the command line shows them. Never a key;
what was said only where somebody switched that on.
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

#: outcomes of a call that somebody looking for trouble wants to see
FAILED = frozenset({"failed", "incomplete"})


class CallTimes(Struct, frozen=True, kw_only=True):
    """Milliseconds since the call was sent."""

    headers: float | None = None
    first_token: float | None = None  #: or the first of a tool call
    total: float


class ResponseEnded(Struct, frozen=True, kw_only=True):
    """What became of a response; it may have taken several calls."""

    response_id: str
    prompt: str
    outcome: str  #: completed, cancelled, incomplete, failed or discarded
    reason: str | None = None


class CallRecord(Struct, frozen=True, kw_only=True):
    """One HTTP call, also one that failed, was called off, or was not let out."""

    sent: float  #: Unix seconds
    session_id: str = ""
    response_id: str = ""  #: ours
    why: str = "first"  #: first, retry, fallback or hedge
    attempt: int = 1  #: counted over the response
    request_id: str | None = None  #: the server's
    model: str  #: asked
    answered_by: str | None = None  #: the model that answered, where the reply says so
    host: str
    region: str = ""  #: us, eu or global, where the host or the request tell
    speculative: bool = False
    outcome: str  #: completed, incomplete, failed or cancelled
    reason: str | None = None  #: the finish reason, or the kind of failure
    status: int | None = None  #: HTTP
    times: CallTimes
    usage: Usage | None = None
    cost: float | None = None  #: USD, where the price is known
    rate: RateLimit | None = None
    retry_after: float | None = None  #: seconds
    error: str | None = None
    body: str | None = None  #: of a non-2xx answer, at most 64 KiB
    messages: tuple[Message, ...] | None = None  #: what was asked, if that is kept
    text: str | None = None  #: what was answered, likewise
    response: ResponseEnded | None = None  #: put in by who reads; none while it goes on


class CallTrace(Protocol):
    """Follows one call from before it is sent to its end."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What the request is to carry, so that the server's own trace joins ours."""
        ...

    def end(self, call: CallRecord) -> None: ...


#: a request is about to be sent to a host
Trace = Callable[[CompletionRequest, str], CallTrace]


class Selection(Struct, frozen=True, kw_only=True):
    """Which calls somebody wants to see: the newest that fit."""

    failed: bool = False
    since: float = 0.0  #: Unix seconds
    session: str = ""
    model: str = ""  #: asked, or answering
    limit: int = 0  #: 0 is all of them

    def admits(self, call: CallRecord) -> bool:
        return (
            call.sent >= self.since
            and (not self.failed or call.outcome in FAILED)
            and self.session in ("", call.session_id)
            and self.model in ("", call.model, call.answered_by)
        )


class CallReport(Struct, frozen=True, kw_only=True):
    """How one call went: for totals, metrics and the request log. Never pushed."""

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
