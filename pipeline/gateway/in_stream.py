"""Answers that the speech-to-text service asks a model for by itself, as if we had asked.

They are whole, and one comes for each spoken turn, or none; then the next target is asked.
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
MOST_SLOTS = 64  #: turns whose answers are kept for somebody to ask for

Tell = Callable[[str], None]


class InStreamConfig(Struct, frozen=True):
    """What the sessions of a process share."""

    others: Sequence[Target]  #: asked in order where no answer comes
    policy: RetryPolicy
    log: CallLog
    patience: float  #: seconds to wait for an answer, from the end of its turn
    price: PriceOf | None = None


class ReplySlot:
    """Where the answer to one turn will be."""

    def __init__(self) -> None:
        self.body: bytes | None = None
        self.lost = ""  #: why none can come any more
        self.settled = anyio.Event()

    def settle(self, body: bytes | None = None, lost: str = "") -> None:
        self.body, self.lost = body, lost
        self.settled.set()


class InStreamGateway:
    """The answers of one session, and whom to ask without one. Satisfies ``llm.Gateway``.

    ``expect`` a turn when it has ended and before it is asked about; ``answer`` and ``lose`` say
    what came of it. ``tell`` is given what a person should know.
    """

    def __init__(self, means: InStreamConfig, tell: Tell) -> None:
        own = Target(_Slots(self), HOST, first_token=0.0, price=means.price, once=True)
        self._chain = FallbackGateway([own, *means.others], means.policy, log=means.log)
        #: whom to ask at once where no answer is due
        self._behind = (
            FallbackGateway(means.others, means.policy, log=means.log) if means.others else None
        )
        self._watch = InStreamHealth(means.patience)
        self._patience = means.patience
        self._tell = tell
        self._slots: dict[int, ReplySlot] = {}
        self._missed: deque[int] = deque(maxlen=MOST_SLOTS)

    def __repr__(self) -> str:
        return f"<InStream {self._watch.state}, {len(self._slots)} turns>"

    @property
    def silent(self) -> bool:
        """Answers have stopped coming, or never came, and somebody else is asked at once."""
        return self._watch.state == "silent" and self._behind is not None

    def open(self, request: CompletionRequest, *, speculative: bool = False) -> FallbackReply:
        if self._behind is not None and self.slot_of(request) is None:
            return self._behind.open(request, speculative=speculative)
        return self._chain.open(request, speculative=speculative)

    async def warm(self) -> None:
        if self.silent and self._behind is not None:
            await self._behind.warm()

    # --- what the session tells --------------------------------------------------------------

    def expect(self, turn: int) -> None:
        """A spoken turn has ended, so that its answer is on the way."""
        if not self.silent:
            self._slots.setdefault(turn, ReplySlot())
            self._forget()

    def answer(self, turn: int, body: bytes) -> None:
        """The answer to a turn is here: a chat completion, as it came."""
        late = self.silent or turn in self._missed
        self._say(self._watch.came(turn, late=late))
        if not late:
            self._slots.setdefault(turn, ReplySlot()).settle(body)
            self._forget()

    def lose(self, why: str) -> None:
        """The connection is gone, and with it every answer that is still due on it."""
        for slot in self._slots.values():
            if slot.body is None:
                slot.settle(lost=why)

    # --- what a reply asks -------------------------------------------------------------------

    def slot_of(self, request: CompletionRequest) -> ReplySlot | None:
        """Return the slot of the turn that ``request`` is about, if an answer is still due."""
        return self._slots.get(request.turns[-1]) if request.turns else None

    async def wait(self, turn: int, slot: ReplySlot) -> bytes:
        """Return the answer; raises GatewayTimeout when none comes."""
        with anyio.move_on_after(self._patience):
            await slot.settled.wait()
        self._slots.pop(turn, None)
        if slot.body is not None:
            return slot.body
        self._missed.append(turn)
        if slot.lost:
            raise GatewayTimeout(f"no in-stream answer to turn {turn} can come: {slot.lost}")
        self._say(self._watch.missed(turn))
        raise GatewayTimeout(
            f"no in-stream answer to turn {turn} within {self._patience:g} s (llm.in_stream_after)"
        )

    def _say(self, said: str | None) -> None:
        if said is not None:
            self._tell(said)

    def _forget(self) -> None:
        while len(self._slots) > MOST_SLOTS:
            self._slots.pop(next(iter(self._slots)))


class _Slots:
    """The session's slots as a gateway."""

    def __init__(self, answers: InStreamGateway) -> None:
        self._answers = answers

    def open(self, request: CompletionRequest, *, speculative: bool = False) -> "_SlotReply":
        return _SlotReply(self._answers, request)

    async def warm(self) -> None:
        pass


class _SlotReply:
    """The answer in a slot, once it is there."""

    sent = True  # the service has the turn: it made it
    streams = False

    def __init__(self, answers: InStreamGateway, request: CompletionRequest) -> None:
        self._answers = answers
        self._slot = answers.slot_of(request)
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
            raise GatewayTimeout(f"there is no in-stream answer to turn {self._turn} to wait for")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over = True

    async def receive(self) -> Sequence[Piece]:
        """Return all of the answer at once; see ``interfaces.llm.Reply``."""
        if self._is_over or self._slot is None:
            return ()
        body = await self._answers.wait(self._turn, self._slot)
        self._is_over = True
        reader = ReplyReader(HOST, {})
        pieces = [*reader.feed(body), *reader.end(framed=True)]
        return [Accepted(host=HOST), *pieces]
