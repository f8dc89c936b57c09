"""Fallback gateway: several targets with retries, fallbacks and hedged requests.

The caller sees one reply: retry, fallback and hedge happen before the first content is returned.
"""

import random
from collections.abc import Callable, Sequence
from types import TracebackType

import anyio

from pipeline.errors import GatewayError
from pipeline.gateway.attempts import Attempts, ProviderState, Target, accepting
from pipeline.gateway.call_log import CallLog
from pipeline.gateway.retry import RetryPolicy, counts_against
from pipeline.interfaces.llm import CompletionRequest, Finished, Piece


class FallbackGateway:
    """Sends to the first target, on failure to the next; implements ``interfaces.llm.Gateway``."""

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
    """Reply of the first target that returns content. After that no other target is used."""

    def __init__(
        self, chain: FallbackGateway, request: CompletionRequest, *, speculative: bool
    ) -> None:
        self._chain = chain
        self._request = request
        self._attempts = Attempts(
            chain.provider_state, request, chain.targets, speculative=speculative
        )
        self._hedge: Attempts | None = None  # the second request, sent when the first is late
        self._has_begun = False
        self._earned = False

    def begin(self) -> None:
        self._earn()
        self._attempts.begin_now()

    @property
    def sent(self) -> bool:
        return self._attempts.sent

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
        await self._attempts.begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for attempts in (self._attempts, self._hedge):
            if attempts is not None:
                await attempts.close(error)

    def drop(self) -> None:
        for attempts in (self._attempts, self._hedge):
            if attempts is not None:
                attempts.drop()

    def commit(self) -> None:
        self._attempts.commit()

    async def receive(self) -> Sequence[Piece]:
        """Return the pieces of the next read; see ``interfaces.llm.Reply``."""
        if not self._has_begun:
            pieces: Sequence[Piece] = await self._receive_first()
            self._has_begun = True
        else:
            pieces = await self._receive_more()
        if pieces and type(pieces[-1]) is Finished:
            await self._attempts.close()
        return pieces

    async def _receive_more(self) -> Sequence[Piece]:
        attempts = self._attempts
        if attempts.reply is None or attempts.record is None:
            return ()
        try:
            return await attempts.receive()
        except GatewayError as failure:
            if counts_against(failure):
                attempts.breaker.failed(anyio.current_time())
            await attempts.close(failure)
            raise

    async def _receive_first(self) -> Sequence[Piece]:
        policy, targets = self._chain.policy, self._chain.targets
        if not policy.hedge_after or len(targets) < 2 or self._attempts.speculative:
            return await self._attempts.first()
        race = _Race()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(race.run, self._attempts, tasks.cancel_scope)
            with anyio.move_on_after(policy.hedge_after):
                await race.settled.wait()
            others = [] if race.settled.is_set() else accepting(targets[1:], self._request)
            if others and self._chain.provider_state.hedges.spend():
                self._hedge = Attempts(
                    self._chain.provider_state,
                    self._request,
                    others,
                    speculative=False,
                    why="hedge",
                )
                race.running += 1
                tasks.start_soon(race.run, self._hedge, tasks.cancel_scope)
        return await self._winning_pieces(race)

    async def _winning_pieces(self, race: "_Race") -> Sequence[Piece]:
        """Keep the winner; cancel the other one."""
        if race.winner is None:
            raise race.failures[0]
        loser = self._hedge if race.winner is self._attempts else self._attempts
        self._attempts, self._hedge = race.winner, None
        if loser is not None:
            await loser.close()
        return race.pieces


class _Race:
    """Concurrent attempts: the first with content wins; fails only when all fail."""

    def __init__(self) -> None:
        self.running = 1
        self.winner: Attempts | None = None
        self.pieces: list[Piece] = []
        self.failures: list[GatewayError] = []
        self.settled = anyio.Event()

    async def run(self, attempts: Attempts, scope: anyio.CancelScope) -> None:
        try:
            pieces = await attempts.first()
        except GatewayError as failure:
            self.failures.append(failure)
        else:
            if self.winner is None:
                self.winner, self.pieces = attempts, pieces
        self.running -= 1
        if self.winner is not None or not self.running:
            self.settled.set()
            scope.cancel()
