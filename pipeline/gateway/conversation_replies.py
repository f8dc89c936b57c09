"""Superseding, sharing and adoption for HTTP callers: carries out ``conversations``."""

import logging
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from types import TracebackType
from typing import Protocol

import anyio
import msgspec
from anyio.abc import TaskGroup

from pipeline.errors import GatewayBusy, GatewayError, GatewayLost, GatewayRefused
from pipeline.gateway.conversations import (
    MAX_REQUESTS,
    Asked,
    BeginCall,
    Commit,
    Conversations,
    Drop,
    End,
    Ending,
    Join,
    Proceed,
    Step,
)
from pipeline.interfaces.completions import CompletionCall, Completions, ModelEntry
from pipeline.interfaces.llm import Finished, Piece, Reply

MAX_WAIT = 60.0  #: seconds that a request waits for earlier ones of its conversation

logger = logging.getLogger(__name__)


class OnEnd(Protocol):
    """Notes that a call is over."""

    def __call__(self, *, complete: bool) -> None: ...


class ConversationCompletions:
    """Completions that know conversations. Satisfies ``interfaces.completions.Completions``.

    A call that names no conversation and shares nothing goes through untouched. The others are
    received by tasks of ``tasks``, because a call may outlive the caller that began it.
    """

    def __init__(self, completions: Completions, tasks: TaskGroup) -> None:
        self._completions = completions
        self._tasks = tasks
        self._decide = Conversations()
        self._requests: dict[int, _Member] = {}
        self._calls: dict[int, _SharedCall] = {}
        self._last_request = 0

    async def models(self) -> Sequence[ModelEntry]:
        """Return the models that can be requested. Raises a ``GatewayError``."""
        return await self._completions.models()

    def open(self, call: CompletionCall) -> Reply:
        """Return the reply to ``call``; see ``interfaces.completions.Completions``."""
        reply = self._completions.open(call)  # refuses what cannot be sent, before it ends others
        if not call.conversation and not call.share:
            return reply
        self._last_request += 1
        return _Member(self, asked_of(call, self._last_request), reply)

    @property
    def held(self) -> int:
        """How many requests and calls are under way or kept."""
        return len(self._decide) + len(self._requests)

    def enter(self, member: "_Member") -> None:
        """Take the request of ``member``; it may end others, and wait for others."""
        self._requests[member.asked.id] = member
        self._carry_out(self._decide.opened(member.asked, anyio.current_time()))

    def leave(self, member: "_Member") -> None:
        """Note that ``member`` needs nothing more. A second time it does nothing."""
        if self._requests.pop(member.asked.id, None) is not None:
            if member.call is not None:
                member.call.remove_member(member)
            self._carry_out(self._decide.left(member.asked.id, anyio.current_time()))

    def _carry_out(self, steps: Sequence[Step]) -> None:
        for step in steps:
            match step:
                case BeginCall(request, call):
                    self._begin(self._requests[request], call)
                case Join(request, call):
                    self._calls[call].add_member(self._requests[request])
                case Proceed(request):
                    self._requests[request].proceed()
                case End(request, why):
                    self._requests[request].fail(ended(why))
                case Commit(call):
                    self._calls[call].commit()
                case Drop(call):
                    self._calls.pop(call).drop()

    def _begin(self, member: "_Member", call_id: int) -> None:
        call = _SharedCall(member.own_reply, partial(self._decide.finished, call_id))
        self._calls[call_id] = call
        call.add_member(member)
        member.proceed()
        self._tasks.start_soon(call.run)


class _SharedCall:
    """One call to a provider, and everything that it has brought so far."""

    def __init__(self, reply: Reply, on_end: OnEnd) -> None:
        self.reply = reply
        self.pieces: list[Piece] = []
        self.failure: GatewayError | None = None
        self.is_over = False
        self._on_end = on_end
        self._members: list[_Member] = []
        self._scope = anyio.CancelScope()
        self._is_entered = False

    def add_member(self, member: "_Member") -> None:
        self._members.append(member)
        member.call = self

    def remove_member(self, member: "_Member") -> None:
        self._members.remove(member)

    def commit(self) -> None:
        """Take a speculative call as committed."""
        if not self.is_over:
            self.reply.commit()

    def drop(self) -> None:
        """Cancel the call and close its connection at once, unless it is over."""
        if not self.is_over:
            self._scope.cancel()
            if self._is_entered:
                self.reply.drop()

    async def run(self) -> None:
        """Receive the whole answer; what goes wrong is what every member gets."""
        try:
            with self._scope:
                async with self.reply as reply:
                    await self._receive(reply)
        except GatewayError as failure:
            self.failure = failure
        except Exception:
            logger.exception("a completion failed unexpectedly")
            self.failure = GatewayLost("the gateway failed; its log says why")
        finally:
            if not self.is_over:
                self.failure = self.failure or GatewayLost("the request was cancelled")
                self._end(is_complete=False)

    async def _receive(self, reply: Reply) -> None:
        self._is_entered = True
        while pieces := await reply.receive():
            self.pieces += pieces
            last = pieces[-1]
            if type(last) is Finished:
                self._end(is_complete=last.complete)
                return
            self._wake()
        self._end(is_complete=False)

    def _end(self, *, is_complete: bool) -> None:
        self.is_over = True
        self._on_end(complete=is_complete)
        self._wake()

    def _wake(self) -> None:
        for member in self._members:
            member.wake()


class _Member:
    """One caller's reply, read from a call that others may read too. Satisfies ``Reply``."""

    def __init__(self, owner: ConversationCompletions, asked: Asked, reply: Reply) -> None:
        self.asked = asked
        self.own_reply = reply
        self.call: _SharedCall | None = None
        self._owner = owner
        self._failure: GatewayError | None = None
        self._may_read = False
        self._read = 0
        self._change = anyio.Event()

    async def __aenter__(self) -> "_Member":
        try:
            self._owner.enter(self)
            await self._turn()
        except BaseException:
            self.drop()
            raise
        return self

    async def _turn(self) -> None:
        """Wait until no earlier request is in the way."""
        try:
            with anyio.fail_after(MAX_WAIT):
                while not self._may_read and self._failure is None:
                    await self._changed()
        except TimeoutError:
            raise GatewayBusy(
                f"earlier requests of the conversation took more than {MAX_WAIT:g} s", status=503
            ) from None
        if self._failure is not None:
            raise self._failure

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.drop()

    async def receive(self) -> Sequence[Piece]:
        """Return what has come since the last call; see ``interfaces.llm.Reply``."""
        call = self.call
        assert call is not None, "receive() before the reply was entered"
        while True:
            if self._failure is not None:
                raise self._failure
            if self._read < len(call.pieces):
                pieces = call.pieces[self._read :]
                self._read = len(call.pieces)
                return pieces
            if call.failure is not None:
                raise call.failure
            if call.is_over:
                return ()
            await self._changed()

    async def _changed(self) -> None:
        self._change = anyio.Event()
        await self._change.wait()

    def wake(self) -> None:
        self._change.set()

    def proceed(self) -> None:
        self._may_read = True
        self.wake()

    def fail(self, failure: GatewayError) -> None:
        self._failure = failure
        self.wake()

    def begin(self) -> None:
        """Nothing is sent before the reply is entered."""

    @property
    def sent(self) -> bool:
        return self.call is not None and self.call.reply.sent

    @property
    def streams(self) -> bool:
        return (self.call.reply if self.call is not None else self.own_reply).streams

    def drop(self) -> None:
        self._owner.leave(self)

    def commit(self) -> None:
        """A committed request of the conversation adopts a speculative one; nothing else does."""


def asked_of(call: CompletionCall, request_id: int) -> Asked:
    """Return what decides about ``call``: the limits of a token are part of who asks."""
    request = call.request
    said = (
        request.model,
        request.forwarded or request.messages,
        request.stream,
        request.max_tokens,
        request.temperature,
        request.extra,
        request.omit,
    )
    return Asked(
        id=request_id,
        tenant=call.caller,
        body=sha256(msgspec.json.encode(said, order="deterministic")).digest(),
        conversation=call.conversation,
        policy=call.policy,
        speculative=call.speculative,
        share=call.share,
    )


def ended(why: Ending) -> GatewayError:
    """Return the error of a request that ends before its answer."""
    if why == "full":
        return GatewayBusy(
            f"the conversation has {MAX_REQUESTS} requests under way, the most there may be",
            retry_after=1.0,
            status=429,
        )
    text = (
        "a newer request of the conversation superseded this one"
        if why == "superseded"
        else "a committed request of the conversation adopted this speculative one"
    )
    failure = GatewayRefused(text, status=409)
    failure.code = why
    return failure
