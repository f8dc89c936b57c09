"""Dispatch of the scheduler's steps: one task and one cancel scope for each call."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from pipeline.errors import GatewayError, GatewayLost, GatewayTimeout
from pipeline.interfaces.llm import Gateway, Piece, Reply, TextDelta, ToolCallDelta
from pipeline.interfaces.request_log import CallReport
from pipeline.interfaces.tools import Runner, ToolRun, failure
from pipeline.protocol.events import Event, ResponseCreated, ResponseWaiting
from pipeline.responses.scheduler import ResponseScheduler
from pipeline.responses.steps import (
    CancelCall,
    Publish,
    PublishWait,
    Report,
    RunTool,
    StartCall,
    Step,
    StopTool,
)
from pipeline.runtime.context import RESPONSE, SESSION

MAX_REASON = 500  #: characters of an unforeseen error in an event

logger = logging.getLogger(__name__)

#: seconds, of the clock that anyio's deadlines are of; finer than an event loop's own may be
Clock = Callable[[], float]


class Publisher(Protocol):
    """Receives the events and call reports of a session."""

    def publish(self, event: Event) -> None: ...

    def report(self, call: CallReport) -> None: ...

    def time_in(self, seconds: float) -> str:
        """Return the wall-clock time in so many seconds, as ISO 8601."""
        ...


class Dispatch:
    """Carries out the scheduler's steps in order, without waiting between them.

    Everything but ``run`` and the calls themselves is synchronous: nothing else can happen between
    the scheduler's decision and the event's place in the log.
    """

    def __init__(
        self,
        scheduler: ResponseScheduler,
        gateway: Gateway,
        publisher: Publisher,
        clock: Clock,
        runner: Runner | None = None,
    ) -> None:
        self.scheduler = scheduler
        self._gateway = gateway
        self._publisher = publisher
        self._clock = clock
        self._runner = runner
        self._tools: dict[str, anyio.CancelScope] = {}  # by call id
        self._calls: dict[str, tuple[anyio.CancelScope, Reply]] = {}
        self._speculations: dict[
            str, Reply
        ] = {}  # speculative replies, which yield their slot to others
        self._tasks: TaskGroup | None = None
        self._alarm = anyio.Event()
        self._due = float("inf")
        self._over = False
        self._idle = anyio.Event()

    def __repr__(self) -> str:
        return f"<Dispatch: {len(self._calls)} calls in flight>"

    @property
    def in_flight(self) -> int:
        """Number of calls under way."""
        return len(self._calls)

    async def run(self, tasks: TaskGroup) -> None:
        """Keep the scheduler's deadlines; calls run in ``tasks``, whose owner outlives them."""
        self._tasks = tasks
        while not self._over:
            with anyio.CancelScope(deadline=self._due) as wait:
                await self._alarm.wait()
            self._alarm = anyio.Event()
            if wait.cancelled_caught:
                self._due = float("inf")
                self.carry_out(self.scheduler.tick(self._clock()))

    def close(self) -> None:
        """Stop keeping deadlines: the last response has ended."""
        self._over = True
        self._alarm.set()

    async def settled(self) -> None:
        """Return once every response has ended and no turn waits for one."""
        while not self.scheduler.idle:
            if self._idle.is_set():
                self._idle = anyio.Event()
            await self._idle.wait()

    def carry_out(self, steps: Sequence[Step]) -> None:
        """Carry out ``steps``: calls first, then events."""
        self.start_calls(steps)
        self.publish(steps)

    def start_calls(self, steps: Sequence[Step]) -> None:
        """Start and cancel calls; ``publish`` must follow before anything waits.

        A request is on the wire before its event is published, since publishing takes time.
        """
        for step in steps:
            match step:
                case StartCall():
                    self._start(step)
                case CancelCall(response_id):
                    self._cancel(response_id)
                case RunTool(run):
                    self._start_tool(run)
                case StopTool(call_id):
                    self._tools.pop(call_id).cancel()
                case Publish(ResponseCreated(response_id=key)) if key in self._speculations:
                    self._speculations.pop(key).commit()
                case _:
                    pass

    def publish(self, steps: Sequence[Step]) -> None:
        """Publish the events and reports of ``steps``, in order."""
        for step in steps:
            match step:
                case Publish(event):
                    self._publisher.publish(event)
                case Report(call):
                    self._publisher.report(call)
                case PublishWait():
                    self._publish_wait(step)
                case _:
                    pass
        self._rearm()
        if self.scheduler.idle:
            self._idle.set()

    def _publish_wait(self, wait: PublishWait) -> None:
        until = self._publisher.time_in(wait.seconds)
        self._publisher.publish(
            ResponseWaiting(prompt=wait.prompt, turns=wait.turns, reason="quota", until=until)
        )

    def _cancel(self, response_id: str) -> None:
        call = self._calls.pop(response_id, None)
        if call is not None:
            scope, reply = call
            scope.cancel()
            reply.drop()

    def tool_result(self, call_id: str, value: Any) -> bool:
        """Take a client's tool result; return whether a call waited for it."""
        if not self.scheduler.waits_for_client(call_id):
            return False
        self._tools.pop(call_id).cancel()
        self.carry_out(self.scheduler.tool_done(call_id, value, self._clock()))
        return True

    def _rearm(self) -> None:
        """Wake ``run`` for an earlier deadline; it finds a later one by itself."""
        due = self.scheduler.deadline
        if due < self._due:
            self._alarm.set()
        self._due = due

    def _start(self, start: StartCall) -> None:
        assert self._tasks is not None, "run() must have begun before any request"
        key, scope = start.response_id, anyio.CancelScope()
        reply = self._gateway.open(start.request, speculative=start.speculative)
        if start.speculative:  # it may be adopted before its call has a slot, or has begun
            self._speculations[key] = reply
        self._calls[key] = scope, reply
        reply.begin()
        if reply.sent:
            self.scheduler.sent(key, self._clock())
        self._tasks.start_soon(self._call, start, reply, scope, name=f"response {key}")

    async def _call(self, start: StartCall, reply: Reply, scope: anyio.CancelScope) -> None:
        key = start.response_id
        SESSION.set(start.request.session_id)
        RESPONSE.set(key)
        with scope:
            try:
                await self._exchange(start, reply)
                if self._is_current(key, reply):  # else it is being retried
                    raise GatewayLost(f"{start.request.model} broke off")
            except GatewayError as error:
                self.carry_out(self.scheduler.failed(key, error, self._clock()))
            except Exception as error:  # any: what a server sent costs its response only
                logger.exception("response %s failed", key)
                lost = GatewayLost(f"internal error: {type(error).__name__}: {error}"[:MAX_REASON])
                self.carry_out(self.scheduler.failed(key, lost, self._clock()))
        if self._is_current(key, reply):
            del self._calls[key]
        self._speculations.pop(key, None)

    def _is_current(self, key: str, reply: Reply) -> bool:
        """Return whether ``reply`` is the present one; a retried response has another."""
        call = self._calls.get(key)
        return call is not None and call[1] is reply

    async def _exchange(self, start: StartCall, reply: Reply) -> None:
        """Send the request, and pass each piece to the scheduler as it comes."""
        key, scheduler, model = start.response_id, self.scheduler, start.request.model
        began = self._clock()
        last = began + start.total_timeout
        sent, spoke = reply.sent, False
        first = began + start.first_token_timeout if reply.streams else last
        with anyio.CancelScope(deadline=min(first, last)) as patience:
            async with reply:
                await anyio.lowlevel.checkpoint_if_cancelled()  # it may have been dropped
                if not sent:
                    scheduler.sent(key, self._clock())
                while pieces := await reply.receive():
                    if not spoke and _has_content(pieces):
                        spoke = True
                        patience.deadline = last
                    self.carry_out(scheduler.received(key, pieces, self._clock()))
        if patience.cancelled_caught and first < last and not spoke:
            raise GatewayTimeout(
                f"{model} sent no first token within {start.first_token_timeout:g} s"
                " (the prompt's first_token_timeout)"
            )
        if patience.cancelled_caught:
            raise GatewayTimeout(
                f"{model} did not finish within {start.total_timeout:g} s"
                " (the prompt's total_timeout)"
            )

    # --- tools ---------------------------------------------------------------------------------

    def _start_tool(self, run: ToolRun) -> None:
        assert self._tasks is not None, "run() must have begun before any request"
        scope = self._tools[run.call_id] = anyio.CancelScope()
        self._tasks.start_soon(self._call_tool, run, scope, name=f"tool {run.call_id}")

    async def _call_tool(self, run: ToolRun, scope: anyio.CancelScope) -> None:
        RESPONSE.set(run.response_id)
        with scope:
            value = await self._run_tool(run)
            self._tools.pop(run.call_id, None)
            self.carry_out(self.scheduler.tool_done(run.call_id, value, self._clock()))

    async def _run_tool(self, run: ToolRun) -> Any:
        """Return the tool's result, or a failure at its deadline.

        A tool with side effects is not cancelled half-way: it may finish within its deadline, even
        when the session is aborted.
        """
        tool = run.tool
        deadline = anyio.current_time() + tool.deadline
        with anyio.CancelScope(deadline=deadline, shield=tool.side_effects and not tool.by_client):
            if tool.by_client:
                await anyio.sleep_forever()
            assert self._runner is not None, "a tool is offered without a runner"
            try:
                return await self._runner.run(run)
            except Exception as error:  # any: what a tool does costs its call only
                logger.exception("tool %s failed", tool.name)
                return failure(f"internal error: {type(error).__name__}: {error}"[:MAX_REASON])
        return failure(f"{tool.name} did not answer within {tool.deadline:g} s")


def _has_content(pieces: Iterable[Piece]) -> bool:
    return any(isinstance(piece, TextDelta | ToolCallDelta) for piece in pieces)
