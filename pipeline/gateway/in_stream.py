"""In-stream replies: chat completions that the STT service sends on its own connection.

A reply is complete, not streamed; at most one is received per spoken turn. Without one, the
request is sent to the next target.
"""

from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType

import anyio
from msgspec import Struct

from pipeline.errors import GatewayTimeout
from pipeline.gateway.attempts import Target
from pipeline.gateway.call_log import CallLog, PriceOf
from pipeline.gateway.fallback import FallbackGateway, FallbackReply
from pipeline.gateway.in_stream_health import InStreamHealth
from pipeline.gateway.retry import RetryPolicy
from pipeline.gateway.stream import ReplyReader
from pipeline.interfaces.llm import Accepted, CompletionRequest, Piece

HOST = "in-stream"
MAX_SLOTS = 64  #: turns whose replies are kept until they are requested

Report = Callable[[str], None]


class InStreamConfig(Struct, frozen=True):
    """Configuration that all sessions of a process share."""

    fallbacks: Sequence[Target]  #: used in order when no reply is received
    policy: RetryPolicy
    log: CallLog
    patience: float  #: seconds to wait for a reply, from the end of its turn
    price: PriceOf | None = None


class ReplySlot:
    """Pending reply of one turn."""

    def __init__(self) -> None:
        self.body: bytes | None = None
        self.lost = ""  #: why no reply can be received any more
        self.settled = anyio.Event()

    def settle(self, body: bytes | None = None, lost: str = "") -> None:
        self.body, self.lost = body, lost
        self.settled.set()


class InStreamGateway:
    """In-stream replies of one session, with fallback targets; implements ``llm.Gateway``.

    Call ``expect`` when a turn has ended and before its request is opened, ``answer`` when its
    reply is received, ``lose`` when the connection is lost. ``report`` receives warnings for users.
    """

    def __init__(self, config: InStreamConfig, report: Report) -> None:
        own = Target(_Slots(self), HOST, first_token=0.0, price=config.price, single_attempt=True)
        self._chain = FallbackGateway([own, *config.fallbacks], config.policy, log=config.log)
        # used at once when no in-stream reply is expected
        self._fallback = (
            FallbackGateway(config.fallbacks, config.policy, log=config.log)
            if config.fallbacks
            else None
        )
        self._health = InStreamHealth(config.patience)
        self._patience = config.patience
        self._report = report
        self._slots: dict[int, ReplySlot] = {}
        self._missed: deque[int] = deque(maxlen=MAX_SLOTS)

    def __repr__(self) -> str:
        return f"<InStreamGateway {self._health.state}, {len(self._slots)} turns>"

    @property
    def silent(self) -> bool:
        """Whether in-stream replies are not received, so that the fallback is used at once."""
        return self._health.state == "silent" and self._fallback is not None

    def open(self, request: CompletionRequest, *, speculative: bool = False) -> FallbackReply:
        if self._fallback is not None and self.slot_of(request) is None:
            return self._fallback.open(request, speculative=speculative)
        return self._chain.open(request, speculative=speculative)

    async def warm(self) -> None:
        if self.silent and self._fallback is not None:
            await self._fallback.warm()

    # --- called by the session ---------------------------------------------------------------

    def expect(self, turn: int) -> None:
        """Expect a reply: a spoken turn has ended."""
        if not self.silent:
            self._slots.setdefault(turn, ReplySlot())
            self._evict()

    def answer(self, turn: int, body: bytes) -> None:
        """Accept the reply to a turn: the body of a chat completion."""
        late = self.silent or turn in self._missed
        self._report_any(self._health.received(turn, late=late))
        if not late:
            self._slots.setdefault(turn, ReplySlot()).settle(body)
            self._evict()

    def lose(self, why: str) -> None:
        """Fail every pending reply: the connection is lost."""
        for slot in self._slots.values():
            if slot.body is None:
                slot.settle(lost=why)

    # --- called by a reply -------------------------------------------------------------------

    def slot_of(self, request: CompletionRequest) -> ReplySlot | None:
        """Return the slot of the turn of ``request``, if a reply is still expected."""
        return self._slots.get(request.turns[-1]) if request.turns else None

    async def wait(self, turn: int, slot: ReplySlot) -> bytes:
        """Return the reply's body; raises GatewayTimeout when none is received in time."""
        with anyio.move_on_after(self._patience):
            await slot.settled.wait()
        self._slots.pop(turn, None)
        if slot.body is not None:
            return slot.body
        self._missed.append(turn)
        if slot.lost:
            raise GatewayTimeout(f"no in-stream reply to turn {turn} is possible: {slot.lost}")
        self._report_any(self._health.missed(turn))
        raise GatewayTimeout(
            f"no in-stream reply to turn {turn} within {self._patience:g} s (llm.in_stream_after)"
        )

    def _report_any(self, message: str | None) -> None:
        if message is not None:
            self._report(message)

    def _evict(self) -> None:
        while len(self._slots) > MAX_SLOTS:
            self._slots.pop(next(iter(self._slots)))


class _Slots:
    """Gateway whose replies are the session's slots."""

    def __init__(self, replies: InStreamGateway) -> None:
        self._replies = replies

    def open(self, request: CompletionRequest, *, speculative: bool = False) -> "_SlotReply":
        return _SlotReply(self._replies, request)

    async def warm(self) -> None:
        pass


class _SlotReply:
    """Reply of one slot."""

    sent = True  # the STT service itself has the turn
    streams = False

    def __init__(self, replies: InStreamGateway, request: CompletionRequest) -> None:
        self._replies = replies
        self._slot = replies.slot_of(request)
        self._turn = request.turns[-1] if request.turns else 0
        self._is_over = False

    def begin(self) -> None:
        pass

    def commit(self) -> None:
        pass

    def drop(self) -> None:
        pass

    async def __aenter__(self) -> "_SlotReply":
        if self._slot is None:
            raise GatewayTimeout(f"no in-stream reply to turn {self._turn} is expected")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over = True

    async def receive(self) -> Sequence[Piece]:
        """Return the complete reply at once; see ``interfaces.llm.Reply``."""
        if self._is_over or self._slot is None:
            return ()
        body = await self._replies.wait(self._turn, self._slot)
        self._is_over = True
        reader = ReplyReader(HOST, {})
        pieces = [*reader.feed(body), *reader.end()]
        return [Accepted(host=HOST), *pieces]
