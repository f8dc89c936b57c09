"""One gateway made of several: retries, the next model, and a second one beside a late first.

Nothing of this is ever seen: all of it happens before the first token is handed on.
"""

import random
from collections.abc import Callable, Sequence
from types import TracebackType

import anyio

from pipeline.errors import GatewayError
from pipeline.gateway.attempts import Attempts, ProviderState, Target, fit
from pipeline.gateway.call_log import CallLog
from pipeline.gateway.retry import RetryPolicy, counts_against
from pipeline.interfaces.llm import CompletionRequest, Finished, Piece


class FallbackGateway:
    """Asks the first target, and the others when it fails. Satisfies ``interfaces.llm.Gateway``."""

    def __init__(
        self,
        targets: Sequence[Target],
        policy: RetryPolicy | None = None,
        *,
        log: CallLog | None = None,
        jitter: Callable[[], float] = random.random,
        provider_state: ProviderState | None = None,
    ) -> None:
        """``provider_state``: that of other chains over the same servers, in place of a new one."""
        self.targets = tuple(targets)
        self.provider_state = provider_state or ProviderState(
            policy or RetryPolicy(), log or CallLog(), jitter
        )

    @property
    def policy(self) -> RetryPolicy:
        return self.provider_state.policy

    def open(self, request: CompletionRequest, *, speculative: bool = False) -> "FallbackReply":
        return FallbackReply(self, request, speculative=speculative)

    async def warm(self) -> None:
        await self.targets[0].gateway.warm()


class FallbackReply:
    """The reply of whoever answered. Once it has begun, nobody else is asked."""

    def __init__(
        self, chain: FallbackGateway, request: CompletionRequest, *, speculative: bool
    ) -> None:
        self._chain = chain
        self._request = request
        self._lane = Attempts(chain.provider_state, request, chain.targets, speculative=speculative)
        self._beside: Attempts | None = None  # asked because the first one is late
        self._began = False
        self._earned = False

    def begin(self) -> None:
        self._earn()
        self._lane.at_once()

    @property
    def sent(self) -> bool:
        return self._lane.sent

    @property
    def streams(self) -> bool:
        return self._chain.targets[0].streams(self._request)

    def _earn(self) -> None:
        if not self._earned:
            self._earned = True
            self._chain.provider_state.retries(self._request.model).earn()
            self._chain.provider_state.hedges.earn()

    async def __aenter__(self) -> "FallbackReply":
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
        """Return what the next read brought; see ``interfaces.llm.Reply``."""
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
            others = [] if race.settled.is_set() else fit(targets[1:], self._request)
            if others and self._chain.provider_state.hedges.spend():
                self._beside = Attempts(
                    self._chain.provider_state,
                    self._request,
                    others,
                    speculative=False,
                    why="hedge",
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
