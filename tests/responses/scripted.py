"""Scripted gateway on virtual time, and a listener that records events."""

from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import anyio

from pipeline.errors import GatewayBusy, GatewayError
from pipeline.gateway.slots import Slots, Ticket
from pipeline.interfaces.llm import (
    Accepted,
    CompletionRequest,
    Finished,
    Piece,
    TextDelta,
    ToolCallDelta,
)
from pipeline.interfaces.request_log import CallReport
from pipeline.protocol.events import (
    Event,
    ResponseCreated,
    ResponseDelta,
    ResponseDone,
    ResponsePlayed,
    ResponseSkipped,
    ResponseWaiting,
)


class Script:
    """Script of one call: seconds before each read, and the result of the read."""

    def __init__(self, *reads: tuple[float, object], opening: float = 0.0) -> None:
        self.reads = reads
        self.opening = opening  #: seconds until the request has left


def says(*words: str, after: float = 1.0, every: float = 1.0) -> Script:
    """Accept at once, send the words after the given seconds, and finish."""
    reads: list[tuple[float, object]] = [(0.0, Accepted("request"))]
    reads += [(after if at == 0 else every, TextDelta(word)) for at, word in enumerate(words)]
    return Script(*reads, (0.0, Finished("stop", True)))


class ScriptedReply:
    def __init__(self, gateway: "ScriptedGateway", script: Script, ticket: Ticket) -> None:
        self._gateway = gateway
        self._script = script
        self._reads = deque(script.reads)
        self.ticket = ticket
        self.granted = anyio.Event()
        self.scope = anyio.CancelScope()
        self.sent = False
        self.streams = gateway.requests[-1].stream

    def begin(self) -> None:
        gateway = self._gateway
        if self._script.opening or not gateway.slots.has_room(self.ticket):
            return
        gateway.preempt(gateway.slots.claim(self.ticket))
        gateway.replies[self.ticket] = self
        gateway.opened += 1
        self.sent = True

    async def __aenter__(self) -> Self:
        if self.sent:
            return self
        gateway = self._gateway
        gateway.preempt(gateway.slots.claim(self.ticket))
        gateway.replies[self.ticket] = self
        try:
            if not self.ticket.holds:
                await self.granted.wait()
            await anyio.sleep(self._script.opening)
        except BaseException:
            gateway.release(self)
            raise
        gateway.opened += 1
        self.sent = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._gateway.closed += 1
        with anyio.CancelScope(shield=True):
            await anyio.sleep(self._gateway.close_time)
        self._gateway.release(self)

    def drop(self) -> None: ...

    def commit(self) -> None:
        self._gateway.preempt(self._gateway.slots.commit(self.ticket))
        if self.ticket.holds:
            self.granted.set()

    async def receive(self) -> Sequence[Piece]:
        if not self._reads:
            return ()
        delay, brings = self._reads.popleft()
        with self.scope, anyio.CancelScope(shield=self._gateway.stubborn):
            await anyio.sleep(delay)
        if self.ticket.preempted:
            raise GatewayBusy("a committed request took its place")
        if isinstance(brings, GatewayError):
            raise brings
        assert isinstance(brings, Accepted | TextDelta | ToolCallDelta | Finished)
        return [brings]


class ScriptedGateway:
    """Plays one script for each call, in order; the last one repeats."""

    def __init__(self, *scripts: Script, places: int = 8, stubborn: bool = False) -> None:
        self.slots = Slots(places)
        self.requests: list[CompletionRequest] = []
        self.replies: dict[Ticket, ScriptedReply] = {}
        self.opened = 0
        self.closed = 0
        self.close_time = 0.0  #: seconds that a close takes
        self.stubborn = stubborn  #: reads complete although they are cancelled
        self._scripts = deque(scripts)

    def open(self, request: CompletionRequest, *, speculative: bool = False) -> ScriptedReply:
        self.requests.append(request)
        script = self._scripts.popleft() if len(self._scripts) > 1 else self._scripts[0]
        return ScriptedReply(self, script, Ticket(speculative))

    async def warm(self) -> None: ...

    def release(self, reply: ScriptedReply) -> None:
        self.replies.pop(reply.ticket, None)
        heir = self.slots.release(reply.ticket)
        if heir is not None:
            self.replies[heir].granted.set()

    def preempt(self, loser: Ticket | None) -> None:
        if loser is not None:
            self.replies[loser].scope.cancel()


class Listener:
    """Keeps the events as short lines, each with the second in which it came."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.reports: list[CallReport] = []
        self.lines: list[str] = []

    def publish(self, event: Event) -> None:
        self.events.append(event)
        self.lines.append(f"{anyio.current_time():g} {short(event)}")

    def report(self, call: CallReport) -> None:
        self.reports.append(call)

    def time_in(self, seconds: float) -> str:
        return f"{anyio.current_time() + seconds:g}"


def short(event: Event) -> str:
    match event:
        case ResponseCreated(response_id=key, turns=turns):
            return f"{key} created for {' '.join(map(str, turns))}"
        case ResponseSkipped(turns=turns, reason=reason):
            return f"skipped {' '.join(map(str, turns))} ({reason})"
        case ResponseDelta(response_id=key, delta=delta):
            return f"{key}: {delta}"
        case ResponseDone(response_id=key, status=status, reason=reason):
            return f"{key} {status}" + (f" ({reason})" if reason else "")
        case ResponsePlayed(response_id=key, text=text, characters=characters):
            return f"{key} played {characters}: {text}" + " (interrupted)" * event.interrupted
        case ResponseWaiting(turns=turns, until=until):
            return f"{' '.join(map(str, turns))} waits until {until}"
        case _:
            return type(event).__name__
