"""Sequence of attempts for one request: retries and fallbacks until the first content."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import anyio
import msgspec

from pipeline.errors import GatewayBusy, GatewayError, GatewayRefused, GatewayTimeout
from pipeline.gateway.call_log import CallInfo, CallLog, CallRecorder, PriceOf
from pipeline.gateway.failure_kinds import TREATMENTS, kind_of
from pipeline.gateway.retry import (
    Breaker,
    FailedAttempt,
    Retry,
    RetryBudget,
    RetryPolicy,
    UseFallback,
    after_failure,
    counts_against,
)
from pipeline.interfaces.llm import Accepted, CompletionRequest, Gateway, JsonMode, Piece, Reply

MAX_MODELS = 1024  #: models whose earlier calls are remembered
STREAM_OPTIONS = "stream_options"  #: refused by servers without ``stream``


@dataclass(frozen=True)
class Target:
    """One model of one gateway. Empty ``model``: the model of the request."""

    gateway: Gateway
    name: str  #: host, for the call records
    model: str = ""
    overrides: Mapping[str, object] = field(default_factory=dict[str, object])  #: into ``extra``
    first_token: float | None = None  #: seconds, instead of the policy's
    #: returns why a request must not be sent, or None; for example ``catalog_gate.CatalogGate``
    refuses: Callable[[CompletionRequest], str | None] | None = None
    price: PriceOf | None = None
    single_attempt: bool = False  #: never retried: a second attempt cannot succeed
    #: JSON mode of a model; None: the request's own
    json_mode: Callable[[str], JsonMode] | None = None
    can_stream: Callable[[str], bool] | None = None  #: whether a model streams; None: all do
    is_vendor: bool = False  #: AssemblyAI's gateway, which knows its own extensions
    #: tokens of a model's context, by the server's catalog; None: not known
    context: Callable[[str], int | None] | None = None
    #: returns the request as it goes to this model, before all else
    rewrite: Callable[[CompletionRequest], CompletionRequest] | None = None
    has_own_messages: bool = False  #: ``rewrite`` changes the messages, and so their length

    def adapted(self, request: CompletionRequest) -> CompletionRequest:
        """Return ``request`` with this target's model, overrides, streaming and JSON mode."""
        if self.rewrite is not None:
            request = self.rewrite(request)
        if self.model or self.overrides:
            request = msgspec.structs.replace(
                request,
                model=self.model or request.model,
                extra={**request.extra, **self.overrides},
            )
        if request.stream and not self.streams(request):
            left = {name: value for name, value in request.extra.items() if name != STREAM_OPTIONS}
            request = msgspec.structs.replace(request, stream=False, extra=left)
        if request.with_json_mode is not None and self.json_mode is not None:
            return request.with_json_mode(request, self.json_mode(request.model))
        return request

    def has_more_room(self, other: "Target", request: CompletionRequest) -> bool:
        """Return whether a request too long for ``other`` may fit here; True when not known."""
        ours, theirs = self._room(request), other._room(request)
        return self.has_own_messages or ours is None or theirs is None or ours > theirs

    def _room(self, request: CompletionRequest) -> int | None:
        return None if self.context is None else self.context(self.model or request.model)

    def streams(self, request: CompletionRequest) -> bool:
        """Return whether this target streams the reply to ``request``."""
        can = self.can_stream
        return request.stream and (can is None or can(self.model or request.model))


def accepting(targets: Sequence[Target], request: CompletionRequest) -> list[Target]:
    """Return the ``targets`` that accept ``request``."""
    return [
        target
        for target in targets
        if target.refuses is None or target.refuses(target.adapted(request)) is None
    ]


def _without_rate(piece: Piece) -> Piece:
    """Remove the quota of a fallback, which is not that of the requested model."""
    return msgspec.structs.replace(piece, rate=None) if isinstance(piece, Accepted) else piece


def bound(known: dict[Any, Any]) -> None:
    """Make room for one more model: callers may request any name."""
    if len(known) >= MAX_MODELS:
        del known[next(iter(known))]


class ProviderState:
    """Retry budgets and circuit breakers that the requests of a gateway share."""

    def __init__(self, policy: RetryPolicy, log: CallLog, jitter: Callable[[], float]) -> None:
        self.policy = policy
        self.log = log
        self.jitter = jitter
        self.hedges = RetryBudget(policy.hedge_share)
        self._retries: dict[str, RetryBudget] = {}  # by requested model
        self._breakers: dict[tuple[str, str], Breaker] = {}

    def breaker(self, target: Target, model: str) -> Breaker:
        key = (target.name, target.model or model)
        found = self._breakers.get(key)
        if found is None:
            bound(self._breakers)
            found = self._breakers[key] = Breaker()
        return found

    def retries(self, model: str) -> RetryBudget:
        found = self._retries.get(model)
        if found is None:
            bound(self._retries)
            found = self._retries[model] = RetryBudget(self.policy.retry_share)
        return found


class Attempts:
    """Tries targets in order until one returns content or none is left."""

    def __init__(
        self,
        provider_state: ProviderState,
        request: CompletionRequest,
        targets: Sequence[Target],
        *,
        speculative: bool,
        why: str = "first",
    ) -> None:
        self._provider_state = provider_state
        self._request = request
        self._remaining = list(targets)
        self._tries = 0
        self._why = why  # of the next call, for the request log
        self._is_fallback = why == "hedge"  # the target is not the request's own model
        self._made = 0  # calls so far
        self._was_allowed = False
        self._begun: Reply | GatewayError | None = None  # the first attempt, made by begin_now()
        self.speculative = speculative
        self.reply: Reply | None = None
        self.record: CallRecorder | None = None

    @property
    def breaker(self) -> Breaker:
        return self._provider_state.breaker(self._remaining[0], self._request.model)

    def begin_now(self) -> None:
        """Start the first attempt without waiting; ``begin`` completes it."""
        try:
            reply = self._open_reply(self._remaining[0])
            self._begun = reply
            reply.begin()
        except GatewayError as failure:
            self._begun = failure

    @property
    def sent(self) -> bool:
        return not isinstance(self._begun, GatewayError | None) and self._begun.sent

    async def begin(self) -> None:
        """Send the request to the first target that accepts it; raises the last GatewayError."""
        while self.reply is None:
            target = self._remaining[0]
            try:
                await self._enter(target)
            except GatewayError as failure:
                await self._recover(failure)

    async def first(self) -> list[Piece]:
        """Return the pieces up to the first content, or up to an end without content."""
        deadline = anyio.current_effective_deadline()
        while True:
            await self.begin()
            try:
                with anyio.fail_after(self._first_token_limit()):
                    pieces = await self._content()
            except anyio.get_cancelled_exc_class():
                if anyio.current_time() >= deadline:  # the caller's deadline passed: no cancel
                    self.breaker.failed(anyio.current_time())
                raise
            except TimeoutError:
                await self._recover(GatewayTimeout(f"{self._target_name()} sent no token in time"))
            except GatewayError as failure:
                await self._recover(failure)
            else:
                self.breaker.succeeded(anyio.current_time())
                return pieces

    async def close(self, failure: BaseException | None = None) -> None:
        reply, self.reply = self.reply, None
        if self.record is not None:
            self.record.end(failure, anyio.current_time())
            self.record = None
        if reply is not None:
            await reply.__aexit__(None, None, None)

    def commit(self) -> None:
        self.speculative = False
        if (reply := self._underway()) is not None:
            reply.commit()

    def drop(self) -> None:
        if (reply := self._underway()) is not None:
            reply.drop()

    def _underway(self) -> Reply | None:
        reply = self.reply or self._begun
        return None if isinstance(reply, GatewayError) else reply

    # -----------------------------------------------------------------------------------------

    async def _enter(self, target: Target) -> None:
        begun, self._begun = self._begun, None
        if isinstance(begun, GatewayError):
            raise begun
        reply = begun or self._open_reply(target)
        try:
            await reply.__aenter__()
        except BaseException as failure:
            if self.record is not None:
                self.record.end(failure, anyio.current_time())
                self.record = None
            raise
        self.reply = reply

    def _open_reply(self, target: Target) -> Reply:
        """Return the reply of ``target``; raises a GatewayError when it must not be used now."""
        now = anyio.current_time()
        breaker = self.breaker
        self._was_allowed = breaker.allows(now)
        if not self._was_allowed:
            raise GatewayBusy(
                f"{self._target_name()} failed too often; the next request is sent in"
                f" {breaker.retry_after(now):.1f} s",
                retry_after=breaker.retry_after(now),
                status=503,
            )
        self._tries += 1
        request = target.adapted(self._request)
        self.record = self._recording(request, target, now)
        stopped = target.refuses(request) if target.refuses is not None else None
        if stopped is not None:
            refused = GatewayRefused(f"not sent to {target.name}: {stopped}")
            refused.cause = "model"  # another model may know what this one does not
            raise refused
        return target.gateway.open(self.record.request, speculative=self.speculative)

    async def _content(self) -> list[Piece]:
        assert self.reply is not None
        held: list[Piece] = []
        while True:
            batch = await self.receive()
            held += batch
            if not batch or any(not isinstance(piece, Accepted) for piece in batch):
                return held

    async def receive(self) -> Sequence[Piece]:
        """Return the pieces of the next read of the reply, with prices."""
        assert self.reply is not None
        assert self.record is not None
        pieces = await self.reply.receive()
        self.record.observe(pieces, anyio.current_time)
        if self._is_fallback:
            pieces = [_without_rate(piece) for piece in pieces]
        return self.record.with_prices(pieces)

    def _recording(self, request: CompletionRequest, target: Target, now: float) -> CallRecorder:
        self._made += 1
        return CallRecorder(
            CallInfo(
                request=request,
                host=target.name,
                speculative=self.speculative,
                why=self._why,
                attempt=self._made,
                sent=now,
                sent_at=datetime.now(UTC).timestamp(),
                price=target.price,
            ),
            self._provider_state.log,
        )

    async def _recover(self, failure: GatewayError) -> None:
        """Prepare the next attempt, or raise ``failure``."""
        await self.close(failure)
        now = anyio.current_time()
        if self._was_allowed and counts_against(failure):
            self.breaker.failed(now)
        failure.from_fallback = self._is_fallback
        if self.speculative:
            raise failure  # to save cost, a speculative request is tried once
        if isinstance(failure, GatewayBusy) and failure.status is None:
            return  # preempted while speculative, adopted since: send again as a committed one
        again = self._was_allowed and not self._remaining[0].single_attempt
        step = after_failure(
            self._provider_state.policy,
            failure,
            FailedAttempt(
                tries=self._tries if again else self._provider_state.policy.attempts,
                has_next=self._has_next(failure),
                remaining=anyio.current_effective_deadline() - now,
                jitter=self._provider_state.jitter(),
            ),
        )
        await self._carry_out(step, failure)

    async def _carry_out(self, step: object, failure: GatewayError) -> None:
        budget = self._provider_state.retries(self._request.model)
        if isinstance(step, Retry) and not budget.spend():
            step = UseFallback() if self._has_next(failure) else None
        if isinstance(step, Retry):
            self._why = "retry"
            await anyio.sleep(step.wait)
        elif isinstance(step, UseFallback):
            self._why = "fallback"
            self._is_fallback = True
            self._remaining.pop(0)
            self._tries = 0
        else:
            raise failure

    def _first_token_limit(self) -> float | None:
        """Return the seconds until the first token is due.

        None for the last target, unless it has a limit of its own.
        """
        target = self._remaining[0]
        if target.first_token:
            return target.first_token
        seconds = self._provider_state.policy.first_token if target.first_token is None else 0.0
        return seconds if seconds and self._has_next() else None

    def _has_next(self, failure: GatewayError | None = None) -> bool:
        """Remove the next targets that cannot help; return whether any is left."""
        current, *others = self._remaining
        others = accepting(others, self._request)
        if failure is not None and TREATMENTS[kind_of(failure)].fallback == "larger":
            others = [each for each in others if each.has_more_room(current, self._request)]
        self._remaining = [current, *others]
        return bool(others)

    def _target_name(self) -> str:
        return f"{self._remaining[0].model or self._request.model} at {self._remaining[0].name}"
