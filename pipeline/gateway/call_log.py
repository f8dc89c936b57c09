"""Recorder of one call for the request log: request, times, usage, cost, outcome. Pure."""

from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from pipeline.errors import GatewayBusy, GatewayError
from pipeline.gateway.quoted_words import QuotedWords, request_words
from pipeline.interfaces.llm import (
    Accepted,
    CompletionRequest,
    Finished,
    Message,
    Piece,
    Prices,
    TextDelta,
    Usage,
    estimate,
)
from pipeline.interfaces.request_log import CallRecord, CallTimes, Trace
from pipeline.runtime.hosts import is_assemblyai

MAX_TEXT = 64 * 1024  #: characters kept of the messages, and of the reply

Sink = Callable[[CallRecord], object]
#: (request, model named in the reply if any) → the price, if it is known
PriceOf = Callable[[CompletionRequest, str | None], Prices | None]


class CallLog(Struct, frozen=True):
    """Receivers of call records."""

    sinks: tuple[Sink, ...] = ()
    text: bool = False  #: records contain messages and reply text
    trace: Trace | None = None  #: starts a span per call


class CallInfo(Struct, frozen=True, kw_only=True):
    """Facts of one call that are known before it is sent."""

    request: CompletionRequest
    host: str
    speculative: bool = False
    why: str = "first"  #: first, retry, fallback or hedge
    attempt: int = 1
    sent: float  #: seconds, on the caller's clock
    sent_at: float = 0.0  #: Unix seconds
    price: PriceOf | None = None


class CallRecorder:
    """Collects the facts of one call; ``end`` gives the record to the sinks once."""

    def __init__(self, call: CallInfo, log: CallLog) -> None:
        self._call = call
        self._log = log
        self._trace = log.trace(call.request, call.host) if log.trace else None
        self._ended = not (log.sinks or self._trace)
        self._head: Accepted | None = None
        self._accepted: float | None = None
        self._first: float | None = None
        self._finished: Finished | None = None
        self._characters = 0  # of the reply
        self._texts: list[str] = []

    @property
    def request(self) -> CompletionRequest:
        """The request to send, with trace headers."""
        request = self._call.request
        return replace(request, headers=self._trace.headers) if self._trace else request

    def observe(self, pieces: Sequence[Piece], clock: Callable[[], float]) -> None:
        for piece in pieces:
            if isinstance(piece, Accepted):
                self._head, self._accepted = piece, clock()
                continue
            if isinstance(piece, Finished):
                self._finished = piece
                continue
            if self._first is None:
                self._first = clock()
            text = piece.text if isinstance(piece, TextDelta) else piece.arguments
            self._characters += len(text)
            if self._log.text and self._characters <= MAX_TEXT:
                self._texts.append(text)

    def with_prices(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Return ``pieces`` with prices added to Accepted and Finished."""
        price = self._call.price
        if price is None or not pieces:
            return pieces
        first, last = pieces[0], pieces[-1]
        if isinstance(first, Accepted):
            first = replace(first, prices=price(self._call.request, None))
            pieces = [first, *pieces[1:]]
        if isinstance(last, Finished):
            last = replace(last, prices=price(self._call.request, last.model))
            pieces = [*pieces[:-1], last]
        return pieces

    def end(self, failure: BaseException | None, now: float) -> None:
        """End the call: ``failure`` is its error; None on success or when it was cancelled."""
        if not self._ended:
            self._ended = True
            record = self._record(failure, now)
            for sink in self._log.sinks:
                sink(record)
            if self._trace is not None:
                self._trace.end(record)

    def _record(self, failure: BaseException | None, now: float) -> CallRecord:
        call, request = self._call, self._call.request
        head, finished = self._head or Accepted(), self._finished or Finished(None, complete=False)
        error = failure if isinstance(failure, GatewayError) and self._finished is None else None
        usage = self._usage(error)
        remove = self._remover(error)
        return CallRecord(
            sent=call.sent_at,
            session_id=request.session_id,
            response_id=request.id,
            token_name=request.token_name,
            why=call.why,
            attempt=call.attempt,
            request_id=finished.request_id
            or (error.request_id if error else None)
            or head.request_id,
            model=request.model,
            answered_by=finished.model,
            host=call.host,
            region=region_of(call.host, request),
            speculative=call.speculative,
            outcome=self._outcome(error),
            reason=error.kind if error else finished.reason,
            status=error.status if error else (200 if self._head else None),
            times=self._times(now),
            usage=usage,
            cost=self._cost(usage, finished.model),
            rate=head.rate,
            retry_after=error.retry_after if isinstance(error, GatewayBusy) else None,
            error=remove(str(error)) if error else None,
            body=remove(error.body) if error and error.body else None,
            messages=bounded(request.messages) if self._log.text else None,
            text="".join(self._texts) if self._log.text else None,
        )

    def _remover(self, error: GatewayError | None) -> Callable[[str], str]:
        """Return what removes quotations of the request from the text of an error."""
        if error is None or self._log.text:
            return str
        return QuotedWords(request_words(self._call.request)).remove

    def _times(self, now: float) -> CallTimes:
        def since(moment: float | None) -> float | None:
            return None if moment is None else round((moment - self._call.sent) * 1000, 2)

        total = since(now) or 0.0
        return CallTimes(headers=since(self._accepted), first_token=since(self._first), total=total)

    def _usage(self, error: GatewayError | None) -> Usage | None:
        """Return the server's token counts, or an estimate; None for a refused request."""
        if self._finished is not None and self._finished.usage is not None:
            return self._finished.usage
        if error is not None and self._head is None:
            return None
        return estimate(self._call.request, self._characters)

    def _outcome(self, error: GatewayError | None) -> str:
        if self._finished is not None:
            return "completed" if self._finished.complete else "incomplete"
        return "failed" if error else "cancelled"

    def _cost(self, usage: Usage | None, answered_by: str | None) -> float | None:
        if usage is None or self._call.price is None:
            return None
        prices = self._call.price(self._call.request, answered_by)
        return None if prices is None else prices.cost(usage)


def bounded(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return the newest messages, MAX_TEXT characters at most."""
    kept: list[Message] = []
    room = MAX_TEXT
    for message in reversed(messages):
        if room <= 0:
            break
        text = message.content or ""
        kept.append(replace(message, content=text[-room:] if text else None, attached=None))
        room -= len(text)
    return tuple(reversed(kept))


def region_of(host: str, request: CompletionRequest) -> str:
    """Return the price region of a call: us, eu or global; empty outside AssemblyAI."""
    name = host.split(":")[0]
    if not is_assemblyai(name):
        return ""
    if request.extra.get("model_region") == "global":
        return "global"
    return "eu" if ".eu." in name else "us"
