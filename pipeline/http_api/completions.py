"""``POST /v1/chat/completions``: admits a request, asks the gateway, writes the answer."""

import logging
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import cast

import anyio
from msgspec import Struct

from pipeline.errors import GatewayError, GatewayLost, GatewayTimeout, InputError
from pipeline.http_api.chat_chunks import ChunkEncoder, error_event
from pipeline.http_api.chat_completion import CompletionCollector
from pipeline.http_api.chat_request import CONVERSATION_HEADER, ParsedBody, parse_body
from pipeline.http_api.errors import JSON, ApiError, api_error, error_body, error_response
from pipeline.http_api.spending import Spending, rate_headers
from pipeline.interfaces.completions import Caller, CompletionCall, Completions
from pipeline.interfaces.http import NO_STORE, HttpRequest, HttpResponse
from pipeline.interfaces.llm import (
    Accepted,
    Finished,
    Piece,
    Prices,
    RateLimit,
    Reply,
    TextDelta,
    ToolCallDelta,
    Usage,
    estimate,
)

MAX_BODY = 4 << 20  #: bytes
EVENT_STREAM = "text/event-stream"
UNBUFFERED = {"X-Accel-Buffering": "no"}  #: nginx passes each event on at once

logger = logging.getLogger(__name__)


class CompletionLimits(Struct, frozen=True, kw_only=True):
    """Limits of one server, over all callers."""

    first_token: float = 60.0  #: seconds
    total: float = 600.0  #: seconds
    in_flight: int = 1000  #: calls at once, waiting ones included


class CompletionEndpoint:
    """Answers chat completion requests. ``wall_clock`` gives seconds since 1970."""

    def __init__(
        self,
        completions: Completions,
        limits: CompletionLimits,
        *,
        wall_clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self.spending = Spending()
        self.in_flight = 0
        self._completions = completions
        self._limits = limits
        self._wall_clock = wall_clock
        self._new_id = new_id

    async def answer(self, request: HttpRequest) -> HttpResponse | None:
        """Answer one request; None once the answer has been streamed."""
        request_id = self._new_id()
        try:
            body = await request.body(MAX_BODY)
            parsed = parse_body(
                body,
                request_id=request_id,
                caller=request.caller,
                conversation=request.headers.get(CONVERSATION_HEADER, ""),
            )
            self._admit(parsed.call)
            answer = _Answer(self, parsed, request_id)
            return await self._answer(answer, request)
        except InputError as error:
            refused = ApiError(413, str(error), code="request_too_large")
        except GatewayError as failure:
            refused = api_error(failure)
        except ApiError as error:
            refused = error
        return error_response(refused, request_id, self.rate_headers(request.caller))

    def _admit(self, call: CompletionCall) -> None:
        check_model(call.caller, call.request.model)
        for model in fallback_models(call.request.extra):
            check_model(call.caller, model)
        if self.in_flight >= self._limits.in_flight:
            raise ApiError(
                503,
                f"{self.in_flight} completions are under way, the most that"
                " gateway.max_requests allows",
                code="overloaded",
                retry_after=1.0,
            )
        self.spending.admit(call.caller, self._wall_clock())

    async def _answer(self, answer: "_Answer", request: HttpRequest) -> HttpResponse | None:
        self.in_flight += 1
        until = anyio.current_time() + self._limits.total
        try:
            async with self._completions.open(answer.call) as reply:
                await answer.begin(reply, self._limits.first_token)
                if answer.call.request.stream:
                    await answer.stream(reply, request, until)
                    return None
                return await answer.whole(reply, until)
        finally:
            self.in_flight -= 1
            self.spending.note(answer.call.caller, answer.tokens, answer.usd, self._wall_clock())

    def rate_headers(self, caller: Caller) -> Mapping[str, str]:
        return rate_headers(self.spending.remaining(caller, self._wall_clock()))

    def now(self) -> int:
        """Return whole seconds since 1970."""
        return int(self._wall_clock())


class _Answer:
    """One answer while it is written."""

    def __init__(self, endpoint: CompletionEndpoint, parsed: ParsedBody, request_id: str) -> None:
        self.call = parsed.call
        self._endpoint = endpoint
        self._include_usage = parsed.include_usage
        self._id = request_id
        self._created = endpoint.now()
        self._head = Accepted()
        self._first: Sequence[Piece] = ()
        self._finished: Finished | None = None
        self._characters = 0
        self._was_sent = False

    async def begin(self, reply: Reply, patience: float) -> None:
        """Wait for the first content: until then an error has a status of its own."""
        pieces: list[Piece] = []
        try:
            with anyio.fail_after(patience):
                while not pieces or type(pieces[-1]) is Accepted:
                    batch = await reply.receive()
                    if not batch:
                        break
                    pieces += batch
        except TimeoutError:
            raise GatewayTimeout(f"no token came in {patience:g} s") from None
        self._was_sent = True
        if pieces and isinstance(pieces[0], Accepted):
            self._head = pieces[0]
        self._note(pieces)
        self._first = pieces

    async def whole(self, reply: Reply, until: float) -> HttpResponse:
        collector = CompletionCollector()
        with anyio.CancelScope(deadline=until) as patience:
            pieces = self._first
            while pieces:
                collector.add(pieces)
                pieces = await self._next(reply)
        self._check_whole(is_late=patience.cancelled_caught)
        body = collector.body(self._id, self._model, self._created, self.usage)
        return HttpResponse(200, JSON, body, {**NO_STORE, **self._headers()})

    async def stream(self, reply: Reply, request: HttpRequest, until: float) -> None:
        encoder = ChunkEncoder(self._id, self._model, self._created)
        stream = await request.stream(
            200, EVENT_STREAM, {**NO_STORE, **UNBUFFERED, **self._headers()}
        )
        try:
            with anyio.CancelScope(deadline=until) as patience:
                pieces = self._first
                while pieces:
                    if data := encoder.encode(pieces):
                        await stream.write(data)
                    pieces = await self._next(reply)
            finished = self._check_whole(is_late=patience.cancelled_caught)
            ending = encoder.ending(finished, self.usage if self._include_usage else None)
        except GatewayError as failure:
            ending = error_event(error_body(api_error(failure), self._id))
        await stream.end(ending)

    async def _next(self, reply: Reply) -> Sequence[Piece]:
        if self._finished is not None:
            return ()
        pieces = await reply.receive()
        self._note(pieces)
        return pieces

    def _check_whole(self, *, is_late: bool) -> Finished:
        """Return the end of the reply. Raises a ``GatewayError`` where it is not whole."""
        if is_late:
            raise GatewayTimeout("the answer took longer than gateway.total_timeout")
        if self._finished is None or not self._finished.complete:
            raise GatewayLost("the provider cut the answer short")
        if self._finished.ending == "failed":
            raise GatewayLost(f"the provider ended the answer with {self._finished.reason!r}")
        return self._finished

    def _note(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            if type(piece) is TextDelta:
                self._characters += len(piece.text)
            elif type(piece) is ToolCallDelta:
                self._characters += len(piece.arguments)
            elif type(piece) is Finished:
                self._finished = piece

    @property
    def _model(self) -> str:
        return (self._finished.model if self._finished else None) or self.call.request.model

    def _headers(self) -> Mapping[str, str]:
        headers: dict[str, str] = {"X-Request-Id": self._id}
        if self._head.request_id:
            headers["X-Provider-Request-Id"] = self._head.request_id
        own = self._endpoint.rate_headers(self.call.caller)
        return {**headers, **(own or _passed_on(self._head.rate))}

    @property
    def usage(self) -> Usage:
        """The provider's count, or an estimate."""
        if self._finished is not None and self._finished.usage is not None:
            return self._finished.usage
        return estimate(self.call.request, self._characters)

    @property
    def tokens(self) -> int:
        """Tokens to be counted against the caller's limits; 0 for a call that was refused."""
        return self.usage.input_tokens + self.usage.output_tokens if self._was_sent else 0

    @property
    def usd(self) -> float:
        prices: Prices | None = (self._finished or self._head).prices or self._head.prices
        return prices.cost(self.usage) if prices is not None and self._was_sent else 0.0


def check_model(caller: Caller, model: str) -> None:
    """Raise ``ApiError`` unless ``caller`` may request ``model``."""
    if not may_request(caller, model):
        raise ApiError(
            403,
            f"the token {caller.name!r} may not request the model {model!r}",
            code="model_not_allowed",
            param="model",
        )


def may_request(caller: Caller, model: str) -> bool:
    """Return whether ``caller`` may request ``model``."""
    return not caller.models or any(fnmatchcase(model, pattern) for pattern in caller.models)


def fallback_models(extra: Mapping[str, object]) -> Sequence[str]:
    """Return the models that a body names as fallbacks; the gateway checks their shape."""
    listed = extra.get("fallbacks")
    if not isinstance(listed, list):
        return ()
    named = [
        cast("dict[str, object]", each).get("model")
        for each in cast("list[object]", listed)
        if isinstance(each, dict)
    ]
    return [model for model in named if isinstance(model, str)]


def _passed_on(rate: RateLimit | None) -> dict[str, str]:
    """Return a provider's rate limit under both names of each header."""
    if rate is None:
        return {}
    values = {"Limit": rate.limit, "Remaining": rate.remaining, "Reset": rate.reset}
    said = {name: f"{value:g}" for name, value in values.items() if value is not None}
    return {
        header: value + ("s" if header == "X-RateLimit-Reset-Requests" else "")
        for name, value in said.items()
        for header in (f"X-RateLimit-{name}", f"X-RateLimit-{name}-Requests")
    }
