"""Conversations of HTTP callers: which request is sent, joined, kept waiting or superseded. Pure.

A *request* is what a caller sends; a *call* is what goes to a provider. Several requests may be
members of one call: identical ones that may share it, or a committed request that adopted a
speculative call. A call without members is cancelled. A policy is a row of ``POLICIES``:

====================================  =========  =====  ========  ========
                                      supersede  queue  parallel  conflate
====================================  =========  =====  ========  ========
earlier requests that are sent        end        stay   stay      stay
earlier requests that wait            end        stay   stay      end
waits until earlier requests end      no         yes    no        yes
====================================  =========  =====  ========  ========

The policy of the newer request counts. A speculative request never waits and ends no committed
one; the next request of its conversation ends it, and adopts its call if it is identical.
"""

from collections.abc import Hashable, Iterable, Mapping
from itertools import takewhile
from typing import Literal

from msgspec import Struct, field

from pipeline.interfaces.completions import ConversationPolicy

MAX_REQUESTS = 64  #: requests of one conversation at once, waiting ones included
MAX_KEPT = 64  #: complete speculative answers that wait for a request that adopts them
KEPT = 30.0  #: seconds that such an answer is kept

Ending = Literal["superseded", "adopted", "full"]


class ConversationRules(Struct, frozen=True, kw_only=True):
    """Effect of a new committed request on the earlier ones of its conversation."""

    ends_sent: bool = False
    ends_waiting: bool = False
    waits: bool = False


POLICIES: Mapping[ConversationPolicy, ConversationRules] = {
    "supersede": ConversationRules(ends_sent=True, ends_waiting=True),
    "queue": ConversationRules(waits=True),
    "parallel": ConversationRules(),
    "conflate": ConversationRules(ends_waiting=True, waits=True),
}


class Asked(Struct, frozen=True, kw_only=True):
    """One request. ``body`` is equal for requests that ask for the same."""

    id: int
    tenant: Hashable
    body: bytes
    conversation: str = ""
    policy: ConversationPolicy = "supersede"
    speculative: bool = False
    share: bool = False


class BeginCall(Struct, frozen=True):
    """Send the request; it is the first member of a new call."""

    request: int
    call: int


class Join(Struct, frozen=True):
    """Make the request a member of a call that exists."""

    request: int
    call: int


class Proceed(Struct, frozen=True):
    """Let the request read its call: no earlier one is in its way."""

    request: int


class End(Struct, frozen=True):
    """End the request with an error."""

    request: int
    why: Ending


class Commit(Struct, frozen=True):
    """Take the call as committed: it no longer yields to others."""

    call: int


class Drop(Struct, frozen=True):
    """Cancel the call if it is under way, and forget it."""

    call: int


Step = BeginCall | Join | Proceed | End | Commit | Drop
Key = tuple[Hashable, str]


class _UpstreamCall(Struct):
    id: int
    body: bytes
    tenant: Hashable
    speculative: bool
    share: bool
    members: set[int] = field(default_factory=set[int])
    state: Literal["open", "complete", "failed"] = "open"


class _Kept(Struct):
    """A complete speculative answer that waits for a request that adopts it."""

    call: _UpstreamCall
    placeholder: int  #: the member that stands for this request
    until: float


class _Request(Struct):
    asked: Asked
    call: _UpstreamCall | None = None
    waits: bool = False

    @property
    def key(self) -> Key:
        return (self.asked.tenant, self.asked.conversation)


class Conversations:
    """Requests and calls under way. Each method returns what is to be done, in order."""

    def __init__(self) -> None:
        self._requests: dict[int, _Request] = {}
        self._groups: dict[Key, list[_Request]] = {}
        self._calls: dict[int, _UpstreamCall] = {}
        self._shared: dict[tuple[Hashable, bytes], _UpstreamCall] = {}
        self._kept: dict[Key, _Kept] = {}
        self._last_call = 0

    def __len__(self) -> int:
        """Return how many requests and calls are held."""
        return len(self._requests) + len(self._calls)

    def opened(self, asked: Asked, now: float) -> list[Step]:
        """Take a new request. ``now``: seconds on any clock that does not go back."""
        steps = self._expire(now)
        request = _Request(asked)
        group = self._groups.setdefault(request.key, []) if asked.conversation else []
        if sum(_ending(request, other) is None for other in group) >= MAX_REQUESTS:
            return [*steps, End(asked.id, "full")]
        self._requests[asked.id] = request
        earlier = list(group)
        self._join(request, self._joinable(request), steps)
        group.append(request)
        self._forget_kept(request.key, steps)
        for other in earlier:
            if (why := _ending(request, other)) is not None:
                steps.append(End(other.asked.id, why))
                self._remove(other, steps)
        request.waits = _rules(asked).waits and any(
            not other.asked.speculative for other in group if other is not request
        )
        if not request.waits:
            self._go(request, steps)
        return steps

    def left(self, request_id: int, now: float) -> list[Step]:
        """Note that a request needs nothing more: it has its answer, or its client is gone."""
        steps = self._expire(now)
        request = self._requests.get(request_id)
        if request is not None:
            self._keep(request, now, steps)
            self._remove(request, steps)
            self._promote(request.key, steps)
        return steps

    def finished(self, call_id: int, *, complete: bool) -> None:
        """Note that a call has its whole answer, or failed."""
        call = self._calls.get(call_id)
        if call is not None:
            call.state = "complete" if complete else "failed"
            self._unshare(call)

    # --- joining -----------------------------------------------------------------------------

    def _joinable(self, request: _Request) -> _UpstreamCall | None:
        """Return the call that answers ``request`` too."""
        asked = request.asked
        if asked.conversation:
            ahead = [each.call for each in self._groups[request.key] if each.asked.speculative]
            kept = self._kept.get(request.key)
            for call in (*ahead, kept.call if kept is not None else None):
                if call is not None and call.state != "failed" and call.body == asked.body:
                    return call
        return self._shared.get((asked.tenant, asked.body)) if asked.share else None

    def _join(self, request: _Request, call: _UpstreamCall | None, steps: list[Step]) -> None:
        if call is None:
            return
        request.call = call
        call.members.add(request.asked.id)
        steps.append(Join(request.asked.id, call.id))
        if call.speculative and not request.asked.speculative:
            call.speculative = False
            steps.append(Commit(call.id))

    def _go(self, request: _Request, steps: list[Step]) -> None:
        """Let a request proceed, with a call of its own unless it shares one."""
        asked = request.asked
        request.waits = False
        if request.call is None and asked.share:
            self._join(request, self._shared.get((asked.tenant, asked.body)), steps)
        if request.call is not None:
            steps.append(Proceed(asked.id))
            return
        self._last_call += 1
        call = _UpstreamCall(
            self._last_call, asked.body, asked.tenant, asked.speculative, asked.share
        )
        call.members.add(asked.id)
        request.call = self._calls[call.id] = call
        if asked.share:
            self._shared[asked.tenant, asked.body] = call
        steps.append(BeginCall(asked.id, call.id))

    # --- ending ------------------------------------------------------------------------------

    def _remove(self, request: _Request, steps: list[Step]) -> None:
        del self._requests[request.asked.id]
        if request.asked.conversation:
            group = self._groups[request.key]
            group.remove(request)
            if not group:
                del self._groups[request.key]
        if (call := request.call) is not None:
            call.members.discard(request.asked.id)
            self._drop_unused(call, steps)

    def _promote(self, key: Key, steps: list[Step]) -> None:
        """Let the oldest committed request of a conversation proceed if it waits."""
        committed = (each for each in self._groups.get(key, ()) if not each.asked.speculative)
        first = next(committed, None)
        if first is not None and first.waits:
            self._go(first, steps)

    def _drop_unused(self, call: _UpstreamCall, steps: list[Step]) -> None:
        if not call.members and call.id in self._calls:
            del self._calls[call.id]
            self._unshare(call)
            steps.append(Drop(call.id))

    def _unshare(self, call: _UpstreamCall) -> None:
        if self._shared.get((call.tenant, call.body)) is call:
            del self._shared[call.tenant, call.body]

    # --- complete speculative answers --------------------------------------------------------

    def _keep(self, request: _Request, now: float, steps: list[Step]) -> None:
        """Keep a complete speculative answer for the request that adopts it."""
        call, asked = request.call, request.asked
        if not (asked.speculative and asked.conversation) or call is None:
            return
        if call.state != "complete":
            return
        self._forget_kept(request.key, steps)
        call.members.add(_placeholder(asked.id))
        self._kept[request.key] = _Kept(call, _placeholder(asked.id), now + KEPT)
        while len(self._kept) > MAX_KEPT:
            self._forget_kept(next(iter(self._kept)), steps)

    def _forget_kept(self, key: Key, steps: list[Step]) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            kept.call.members.discard(kept.placeholder)
            self._drop_unused(kept.call, steps)

    def _expire(self, now: float) -> list[Step]:
        steps: list[Step] = []
        for key in _expired(self._kept.items(), now):
            self._forget_kept(key, steps)
        return steps


def _rules(asked: Asked) -> ConversationRules:
    return POLICIES["parallel" if asked.speculative else asked.policy]


def _ending(new: _Request, other: _Request) -> Ending | None:
    """Return why ``other`` ends when ``new`` of the same conversation comes; None if it stays."""
    if other.asked.speculative:
        is_adopted = not new.asked.speculative and new.call is not None and new.call is other.call
        return "adopted" if is_adopted else "superseded"
    rules = _rules(new.asked)
    ends = rules.ends_waiting if other.waits else rules.ends_sent
    return "superseded" if ends else None


def _placeholder(request_id: int) -> int:
    """Return an id that no request has: the answer of one call may be kept for several."""
    return -1 - request_id


def _expired(kept: Iterable[tuple[Key, _Kept]], now: float) -> list[Key]:
    """Return the keys whose time is over; they are in the order of their times."""
    return [key for key, _ in takewhile(lambda each: each[1].until <= now, kept)]
