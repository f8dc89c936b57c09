"""One gateway made of several: retries, the next model, and a second one beside a late first.

Nothing of this is ever seen: all of it happens before the first token is handed on.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType

import anyio
import msgspec

from pipeline.completions import (
    Accepted,
    CompletionRequest,
    Finished,
    Gateway,
    Piece,
    Reply,
)
from pipeline.errors import GatewayBusy, GatewayError, GatewayRefused, GatewayTimeout
from pipeline.gateway.records import Errand, Log, PriceOf, Recording
from pipeline.gateway.retry import (
    Again,
    Allowance,
    Breaker,
    Next,
    Policy,
    Situation,
    after_failure,
    counts_against,
)


@dataclass(frozen=True)
class Target:
    """One model behind one gateway. Empty ``model``: the one that was asked for."""

    gateway: Gateway
    name: str  #: for the records: the host
    model: str = ""
    overrides: Mapping[str, object] = field(default_factory=dict[str, object])  #: into ``extra``
    first_token: float | None = None  #: seconds, instead of the policy's
    #: why a request must not be sent, if it must not; a ``gate.CatalogGate``, say
    refuses: Callable[[CompletionRequest], str | None] | None = None
    price: PriceOf | None = None
    once: bool = False  #: asking it again cannot help

    def asked(self, request: CompletionRequest) -> CompletionRequest:
        if not self.model and not self.overrides:
            return request
        return msgspec.structs.replace(
            request,
            model=self.model or request.model,
            extra={**request.extra, **self.overrides},
        )


class Chain:
    """Asks the first target, and the others when it fails. Satisfies ``completions.Gateway``."""

    def __init__(
        self,
        targets: Sequence[Target],
        policy: Policy | None = None,
        *,
        log: Log | None = None,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self.targets = tuple(targets)
        self.policy = policy or Policy()
        self.log = log or Log()
        self.dice = dice
        self.retries: dict[str, Allowance] = {}  #: per model asked for
        self.hedges = Allowance(self.policy.hedge_share)
        self._breakers: dict[tuple[str, str], Breaker] = {}

    def open(self, request: CompletionRequest, *, speculative: bool = False) -> "ChainReply":
        return ChainReply(self, request, speculative=speculative)

    async def warm(self) -> None:
        await self.targets[0].gateway.warm()

    def breaker(self, target: Target, model: str) -> Breaker:
        key = (target.name, target.model or model)
        found = self._breakers.get(key)
        if found is None:
            found = self._breakers[key] = Breaker()
        return found

    def allowance(self, model: str) -> Allowance:
        found = self.retries.get(model)
        if found is None:
            found = self.retries[model] = Allowance(self.policy.retry_share)
        return found


class Attempts:
    """Tries targets one after another, until one has said something or none is left."""

    def __init__(
        self,
        chain: Chain,
        request: CompletionRequest,
        targets: Sequence[Target],
        *,
        speculative: bool,
        why: str = "first",
    ) -> None:
        self._chain = chain
        self._request = request
        self._left = list(targets)
        self._tries = 0
        self._why = why  # of the next call, for the request log
        self._made = 0  # calls so far
        self._was_asked = False
        self._begun: Reply | GatewayError | None = None  # the first attempt, made beforehand
        self.speculative = speculative
        self.reply: Reply | None = None
        self.record: Recording | None = None

    @property
    def breaker(self) -> Breaker:
        return self._chain.breaker(self._left[0], self._request.model)

    def at_once(self) -> None:
        """Make the first attempt there and then, as far as that needs no waiting."""
        try:
            reply = self._opened(self._left[0])
            self._begun = reply
            reply.begin()
        except GatewayError as failure:
            self._begun = failure

    @property
    def sent(self) -> bool:
        return not isinstance(self._begun, GatewayError | None) and self._begun.sent

    async def begin(self) -> None:
        """Send the request to whoever takes it; raises the last GatewayError."""
        while self.reply is None:
            target = self._left[0]
            try:
                await self._enter(target)
            except GatewayError as failure:
                await self._after(failure)

    async def first(self) -> list[Piece]:
        """Return what there is up to the first content, or to an end without any."""
        callers = anyio.current_effective_deadline()
        while True:
            await self.begin()
            try:
                with anyio.fail_after(self._patience()):
                    pieces = await self._content()
            except anyio.get_cancelled_exc_class():
                if anyio.current_time() >= callers:  # too late for the caller; not called off
                    self.breaker.failed(anyio.current_time())
                raise
            except TimeoutError:
                await self._after(GatewayTimeout(f"{self._place()} sent no token in time"))
            except GatewayError as failure:
                await self._after(failure)
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
        reply = begun or self._opened(target)
        try:
            await reply.__aenter__()
        except BaseException as failure:
            if self.record is not None:
                self.record.end(failure, anyio.current_time())
                self.record = None
            raise
        self.reply = reply

    def _opened(self, target: Target) -> Reply:
        """Return the reply of ``target``, if it may be asked; raises a GatewayError."""
        now = anyio.current_time()
        breaker = self.breaker
        self._was_asked = breaker.allows(now)
        if not self._was_asked:
            raise GatewayBusy(
                f"{self._place()} failed too often; it is asked again in"
                f" {breaker.retry_after(now):.1f} s",
                retry_after=breaker.retry_after(now),
                status=503,
            )
        self._tries += 1
        request = target.asked(self._request)
        self.record = self._recording(request, target, now)
        stopped = target.refuses(request) if target.refuses is not None else None
        if stopped is not None:
            raise GatewayRefused(f"not sent to {target.name}: {stopped}")
        return target.gateway.open(self.record.request, speculative=self.speculative)

    async def _content(self) -> list[Piece]:
        assert self.reply is not None
        held: list[Piece] = []
        while True:
            batch = await self.take()
            held += batch
            if not batch or any(not isinstance(piece, Accepted) for piece in batch):
                return held

    async def take(self) -> Sequence[Piece]:
        """Return what the next read of the reply brought, with prices."""
        assert self.reply is not None
        assert self.record is not None
        pieces = await self.reply.receive()
        self.record.saw(pieces, anyio.current_time)
        return self.record.priced(pieces)

    def _recording(self, request: CompletionRequest, target: Target, now: float) -> Recording:
        self._made += 1
        return Recording(
            Errand(
                request=request,
                host=target.name,
                speculative=self.speculative,
                why=self._why,
                attempt=self._made,
                sent=now,
                sent_at=datetime.now(UTC).timestamp(),
                price=target.price,
            ),
            self._chain.log,
        )

    async def _after(self, failure: GatewayError) -> None:
        """Prepare the next attempt, or raise ``failure``."""
        await self.close(failure)
        now = anyio.current_time()
        if self._was_asked and counts_against(failure):
            self.breaker.failed(now)
        if self.speculative:
            raise failure  # thrift: a guess is worth one try
        if isinstance(failure, GatewayBusy) and failure.status is None:
            return  # it had given way as a guess, and was adopted since: ask again, as any other
        again = self._was_asked and not self._left[0].once
        step = after_failure(
            self._chain.policy,
            failure,
            Situation(
                tries=self._tries if again else self._chain.policy.attempts,
                has_next=len(self._left) > 1,
                remaining=anyio.current_effective_deadline() - now,
                dice=self._chain.dice(),
            ),
        )
        await self._carry_out(step, failure)

    async def _carry_out(self, step: object, failure: GatewayError) -> None:
        allowance = self._chain.allowance(self._request.model)
        if isinstance(step, Again) and not allowance.spend():
            step = Next() if len(self._left) > 1 else None
        if isinstance(step, Again):
            self._why = "retry"
            await anyio.sleep(step.wait)
        elif isinstance(step, Next):
            self._why = "fallback"
            self._left.pop(0)
            self._tries = 0
        else:
            raise failure

    def _patience(self) -> float | None:
        """How long this attempt may take to say something; for ever, if it is the last."""
        target = self._left[0]
        seconds = self._chain.policy.first_token
        if target.first_token is not None:
            seconds = target.first_token
        return seconds if seconds and len(self._left) > 1 else None

    def _place(self) -> str:
        return f"{self._left[0].model or self._request.model} at {self._left[0].name}"


class ChainReply:
    """The reply of whoever answered. Once it has begun, nobody else is asked."""

    def __init__(self, chain: Chain, request: CompletionRequest, *, speculative: bool) -> None:
        self._chain = chain
        self._request = request
        self._lane = Attempts(chain, request, chain.targets, speculative=speculative)
        self._beside: Attempts | None = None  # asked because the first one is late
        self._began = False
        self._earned = False

    def begin(self) -> None:
        self._earn()
        self._lane.at_once()

    @property
    def sent(self) -> bool:
        return self._lane.sent

    def _earn(self) -> None:
        if not self._earned:
            self._earned = True
            self._chain.allowance(self._request.model).earn()
            self._chain.hedges.earn()

    async def __aenter__(self) -> "ChainReply":
        self._earn()
        await self._lane.begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for lane in (self._lane, self._beside):
            if lane is not None:
                await lane.close(error)

    def drop(self) -> None:
        for lane in (self._lane, self._beside):
            if lane is not None:
                lane.drop()

    def commit(self) -> None:
        self._lane.commit()

    async def receive(self) -> Sequence[Piece]:
        """Return what the next read brought; see ``completions.Reply``."""
        if not self._began:
            pieces: Sequence[Piece] = await self._first()
            self._began = True
        else:
            pieces = await self._more()
        if pieces and type(pieces[-1]) is Finished:
            await self._lane.close()
        return pieces

    async def _more(self) -> Sequence[Piece]:
        lane = self._lane
        if lane.reply is None or lane.record is None:
            return ()
        try:
            return await lane.take()
        except GatewayError as failure:
            if counts_against(failure):
                lane.breaker.failed(anyio.current_time())
            await lane.close(failure)
            raise

    async def _first(self) -> Sequence[Piece]:
        policy, targets = self._chain.policy, self._chain.targets
        if not policy.hedge_after or len(targets) < 2 or self._lane.speculative:
            return await self._lane.first()
        race = _Race()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(race.run, self._lane, tasks.cancel_scope)
            with anyio.move_on_after(policy.hedge_after):
                await race.settled.wait()
            if not race.settled.is_set() and self._chain.hedges.spend():
                self._beside = Attempts(
                    self._chain, self._request, targets[1:], speculative=False, why="hedge"
                )
                race.running += 1
                tasks.start_soon(race.run, self._beside, tasks.cancel_scope)
        return await self._decided(race)

    async def _decided(self, race: "_Race") -> Sequence[Piece]:
        """Keep the winner; call off the other one."""
        if race.winner is None:
            raise race.failures[0]
        loser = self._beside if race.winner is self._lane else self._lane
        self._lane, self._beside = race.winner, None
        if loser is not None:
            await loser.close()
        return race.pieces


class _Race:
    """Lanes side by side: the first to say something wins, the last to fail loses."""

    def __init__(self) -> None:
        self.running = 1
        self.winner: Attempts | None = None
        self.pieces: list[Piece] = []
        self.failures: list[GatewayError] = []
        self.settled = anyio.Event()

    async def run(self, lane: Attempts, scope: anyio.CancelScope) -> None:
        try:
            pieces = await lane.first()
        except GatewayError as failure:
            self.failures.append(failure)
        else:
            if self.winner is None:
                self.winner, self.pieces = lane, pieces
        self.running -= 1
        if self.winner is not None or not self.running:
            self.settled.set()
            scope.cancel()
