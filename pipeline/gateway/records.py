"""What one call was and how it went, for the request log. Never a key, never message text. Pure."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from pipeline.completions import Accepted, CompletionRequest, Finished, Piece, RateLimit, Usage
from pipeline.errors import GatewayBusy, GatewayError


class CallRecord(Struct, frozen=True, kw_only=True):
    """One HTTP call, also one that failed or was called off. Moments are on the caller's clock."""

    response_id: str  #: ours; empty when the caller gave none
    request_id: str | None = None
    model: str  #: asked
    answered_by: str | None = None  #: the model that answered, where the reply says so
    host: str
    region: str = ""  #: us, eu or global, where the host or the request tell
    speculative: bool = False
    outcome: str  #: completed, incomplete, failed or cancelled
    reason: str | None = None  #: the finish reason, or the kind of failure
    status: int | None = None  #: HTTP
    sent: float  #: seconds
    accepted: float | None = None  #: seconds
    first: float | None = None  #: seconds: the first text or tool call
    ended: float  #: seconds
    usage: Usage | None = None
    cost: float | None = None  #: USD
    rate: RateLimit | None = None
    retry_after: float | None = None  #: seconds
    error: str | None = None
    body: str | None = None  #: of a non-2xx answer, at most 64 KiB


Sink = Callable[[CallRecord], None]
#: model, region and usage → USD, if it is known
Price = Callable[[str, str, Usage], float | None]


class Log(Struct, frozen=True):
    """Where records go, and who knows the prices."""

    sink: Sink | None = None
    price: Price | None = None


class Recording:
    """Collects one call while it runs; ``end`` hands it to the sink, once."""

    def __init__(
        self,
        request: CompletionRequest,
        *,
        host: str,
        speculative: bool,
        sent: float,
        log: Log,
    ) -> None:
        self._request = request
        self._host = host
        self._speculative = speculative
        self._sent = sent
        self._sink = log.sink
        self._price = log.price
        self._head: Accepted | None = None
        self._accepted: float | None = None
        self._first: float | None = None
        self._finished: Finished | None = None

    def saw(self, pieces: Sequence[Piece], clock: Callable[[], float]) -> None:
        for piece in pieces:
            if isinstance(piece, Accepted):
                self._head, self._accepted = piece, clock()
            elif isinstance(piece, Finished):
                self._finished = piece
            elif self._first is None:
                self._first = clock()

    def end(self, failure: BaseException | None, now: float) -> None:
        """The call is over; ``failure`` is what it ended with, None also where it was left."""
        sink, self._sink = self._sink, None
        if sink is None:
            return
        head, finished = self._head or Accepted(), self._finished or Finished(None, complete=False)
        region = region_of(self._host, self._request)
        error = None
        if isinstance(failure, GatewayError) and self._finished is None:
            error = failure
        sink(
            CallRecord(
                response_id=self._request.id,
                request_id=finished.request_id
                or (error.request_id if error else None)
                or head.request_id,
                model=self._request.model,
                answered_by=finished.model,
                host=self._host,
                region=region,
                speculative=self._speculative,
                outcome=self._outcome(error),
                reason=error.kind if error else finished.reason,
                status=error.status if error else (200 if self._head else None),
                sent=self._sent,
                accepted=self._accepted,
                first=self._first,
                ended=now,
                usage=finished.usage,
                cost=self._cost(finished.usage, region),
                rate=head.rate,
                retry_after=error.retry_after if isinstance(error, GatewayBusy) else None,
                error=str(error) if error else None,
                body=error.body if error else None,
            )
        )

    def _outcome(self, error: GatewayError | None) -> str:
        if self._finished is not None:
            return "completed" if self._finished.complete else "incomplete"
        return "failed" if error else "cancelled"

    def _cost(self, usage: Usage | None, region: str) -> float | None:
        if usage is None or self._price is None:
            return None
        return self._price(self._request.model, region, usage)


def region_of(host: str, request: CompletionRequest) -> str:
    """Return where a call is priced: us, eu or global; empty outside AssemblyAI."""
    name = host.split(":")[0]
    if not name.endswith("assemblyai.com"):
        return ""
    if request.extra.get("model_region") == "global":
        return "global"
    return "eu" if ".eu." in name else "us"
