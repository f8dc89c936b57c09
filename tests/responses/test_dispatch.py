"""Dispatch of the scheduler's steps, on virtual time with a scripted gateway."""

import itertools
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from math import inf

import anyio
import anyio.lowlevel
import pytest

from pipeline.config.settings import Prompt
from pipeline.errors import GatewayBusy, GatewayLost
from pipeline.interfaces.llm import Accepted, Finished, TextDelta
from pipeline.interfaces.turns import TurnChanged, TurnEnded, TurnEvent, TurnPaused
from pipeline.protocol.events import ResponseDone
from pipeline.responses.conversation import ConversationState
from pipeline.responses.dispatch import Dispatch
from pipeline.responses.rate_limit import Budget
from pipeline.responses.scheduler import ResponseScheduler
from tests.responses.scripted import Listener, Script, ScriptedGateway, says


class Desktop:
    """A running dispatch, and its fakes."""

    def __init__(self, dispatch: Dispatch, gateway: ScriptedGateway, listener: Listener) -> None:
        self.dispatch = dispatch
        self.gateway = gateway
        self.listener = listener

    def hear(self, *events: TurnEvent) -> None:
        for event in events:
            now = anyio.current_time()
            self.dispatch.carry_out(self.dispatch.scheduler.heard(event, now, now))

    @property
    def lines(self) -> list[str]:
        return self.listener.lines

    def dones(self) -> list[ResponseDone]:
        return [event for event in self.listener.events if isinstance(event, ResponseDone)]


@asynccontextmanager
async def at_work(gateway: ScriptedGateway, **prompts: Prompt) -> AsyncGenerator[Desktop]:
    ids = itertools.count(1)
    scheduler = ResponseScheduler(
        prompts, ConversationState(Budget(0), "model", lambda: f"r{next(ids)}")
    )
    listener = Listener()
    dispatch = Dispatch(scheduler, gateway, listener, anyio.current_time)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(dispatch.run, tasks)
        await anyio.lowlevel.checkpoint()
        yield Desktop(dispatch, gateway, listener)
        tasks.cancel_scope.cancel()
    assert gateway.slots.held == 0


async def test_a_turn_is_answered_as_its_words_come() -> None:
    async with at_work(ScriptedGateway(says("Hel", "lo.")), reply=Prompt()) as desk:
        desk.hear(TurnEnded(1, "Hi."))
        await desk.dispatch.settled()
    assert desk.lines == ["0 r1 created for 1", "1 r1: Hel", "2 r1: lo.", "2 r1 completed"]


async def test_a_wait_for_quota_is_published_with_its_end_and_ends_by_a_failure() -> None:
    gateway = ScriptedGateway(Script((0.0, GatewayBusy("no", status=429, retry_after=9.0))))
    async with at_work(gateway, reply=Prompt(total_timeout=5.0)) as desk:
        desk.hear(TurnEnded(1, "Hi."))
        await anyio.sleep(1)
        desk.hear(TurnEnded(2, "Hello?"))
        await desk.dispatch.settled()
    assert desk.lines[2:] == [
        "1 1 2 waits until 9",
        "6 r2 created for 1 2",
        "6 r2 failed (busy)",
    ]


async def test_a_request_is_sent_before_its_event_is_published() -> None:
    gateway = ScriptedGateway(says("Hello."))
    async with at_work(gateway, reply=Prompt()) as desk:
        steps = desk.dispatch.scheduler.heard(TurnEnded(1, "Hi."), 0.0, 0.0)
        desk.dispatch.start_calls(steps)
        assert (gateway.opened, desk.lines) == (1, [])
        desk.dispatch.publish(steps)
        await desk.dispatch.settled()
        assert gateway.opened == 1
    assert desk.dones()[0].times.queue == 0


async def test_a_request_that_left_at_once_is_closed_when_it_is_cancelled_at_once() -> None:
    gateway = ScriptedGateway(says("Hello."))
    async with at_work(gateway, reply=Prompt()) as desk:
        desk.hear(TurnEnded(1, "Hi."))
        desk.dispatch.carry_out(desk.dispatch.scheduler.cancel(None, 0.0))
        await desk.dispatch.settled()
        await anyio.wait_all_tasks_blocked()
        assert (gateway.opened, gateway.closed, gateway.slots.held) == (1, 1, 0)


async def test_only_the_newest_turn_is_answered() -> None:
    # 0 s: turn 1 asked.  29.9 s: turn 2 supersedes it.  30.9 s: turn 2 answered.
    gateway = ScriptedGateway(says("ONE", after=60), says("TWO"))
    async with at_work(gateway, reply=Prompt(first_token_timeout=100, total_timeout=100)) as desk:
        desk.hear(TurnEnded(1, "one"))
        await anyio.sleep(29.9)
        desk.hear(TurnEnded(2, "two"))
        await desk.dispatch.settled()
    assert desk.lines == [
        "0 r1 created for 1",
        "29.9 r1 cancelled (superseded)",
        "29.9 r2 created for 1 2",
        "30.9 r2: TWO",
        "30.9 r2 completed",
    ]
    assert [message.content for message in gateway.requests[1].messages] == ["one two"]
    assert (gateway.opened, gateway.closed) == (2, 2)


async def test_a_superseded_call_is_closed_in_the_same_instant() -> None:
    gateway = ScriptedGateway(says("ONE", after=5), says("TWO"))
    async with at_work(gateway, reply=Prompt()) as desk:
        desk.hear(TurnEnded(1, "one"))
        await anyio.sleep(2)
        desk.hear(TurnEnded(2, "two"))
        await anyio.sleep(0.01)
        assert (gateway.closed, gateway.slots.held) == (1, 1)


async def test_a_call_that_completes_although_cancelled_publishes_nothing() -> None:
    gateway = ScriptedGateway(says("ONE", after=5), says("TWO", after=9), stubborn=True)
    async with at_work(gateway, reply=Prompt()) as desk:
        desk.hear(TurnEnded(1, "one"))
        await anyio.sleep(2)
        desk.hear(TurnEnded(2, "two"))
        await desk.dispatch.settled()
    assert "ONE" not in " ".join(desk.lines)
    assert [(done.response_id, done.status) for done in desk.dones()] == [
        ("r1", "cancelled"),
        ("r2", "completed"),
    ]


async def test_a_first_token_that_does_not_come_is_a_timeout() -> None:
    gateway = ScriptedGateway(says("late", after=11))
    async with at_work(gateway, reply=Prompt(first_token_timeout=10)) as desk:
        desk.hear(TurnEnded(1, "one"))
        await desk.dispatch.settled()
    assert desk.lines[-1] == "10 r1 failed (timeout)"
    error = desk.dones()[0].error
    assert error is not None
    assert "first_token_timeout" in error.message


async def test_the_head_of_an_answer_is_no_first_token() -> None:
    gateway = ScriptedGateway(Script((1.0, Accepted("id")), (inf, Finished("stop", True))))
    async with at_work(gateway, reply=Prompt(first_token_timeout=3)) as desk:
        desk.hear(TurnEnded(1, "one"))
        await desk.dispatch.settled()
    assert desk.lines[-1] == "3 r1 failed (timeout)"


async def test_an_answer_that_does_not_finish_is_a_timeout_and_keeps_its_text() -> None:
    gateway = ScriptedGateway(says("a", "b", after=1, every=100))
    prompt = Prompt(first_token_timeout=2, total_timeout=30)
    async with at_work(gateway, reply=prompt) as desk:
        desk.hear(TurnEnded(1, "one"))
        await desk.dispatch.settled()
    assert desk.lines[-1] == "30 r1 failed (timeout)"
    done = desk.dones()[0]
    assert done.text == "a"
    assert done.error is not None
    assert "total_timeout" in done.error.message


async def test_an_answer_in_one_piece_only_has_a_total_timeout() -> None:
    gateway = ScriptedGateway(says("all", after=20))
    prompt = Prompt(stream=False, first_token_timeout=1, total_timeout=30)
    async with at_work(gateway, reply=prompt) as desk:
        desk.hear(TurnEnded(1, "one"))
        await desk.dispatch.settled()
    assert desk.lines[-1] == "20 r1 completed"


async def test_a_failed_call_is_an_event_and_the_next_turn_asks_for_both() -> None:
    gateway = ScriptedGateway(Script((1.0, GatewayLost("cut"))), says("both"))
    async with at_work(gateway, reply=Prompt()) as desk:
        desk.hear(TurnEnded(1, "one"))
        await desk.dispatch.settled()
        desk.hear(TurnEnded(2, "two"))
        await desk.dispatch.settled()
    assert "1 r1 failed (lost)" in desk.lines
    assert "1 r2 created for 1 2" in desk.lines


async def test_a_reply_that_stops_without_an_end_fails() -> None:
    gateway = ScriptedGateway(Script((0.0, Accepted("id")), (1.0, TextDelta("half"))))
    async with at_work(gateway, reply=Prompt()) as desk:
        desk.hear(TurnEnded(1, "one"))
        await desk.dispatch.settled()
    assert desk.lines[-1] == "1 r1 failed (lost)"


async def test_a_guess_is_held_until_its_turn_ends_and_then_published_at_once() -> None:
    async with at_work(ScriptedGateway(says("Yes", ".")), reply=Prompt(speculate=True)) as desk:
        desk.hear(TurnPaused(1, "book it"))
        await anyio.sleep(1.5)
        assert desk.lines == []
        desk.hear(TurnEnded(1, "Book it."))
        await desk.dispatch.settled()
    assert desk.lines == ["1.5 r1 created for 1", "1.5 r1: Yes", "2 r1: .", "2 r1 completed"]
    assert desk.dones()[0].times.lead == 1000.0


async def test_a_guess_is_closed_the_moment_speech_resumes() -> None:
    gateway = ScriptedGateway(says("Yes", after=5))
    async with at_work(gateway, reply=Prompt(speculate=True)) as desk:
        desk.hear(TurnPaused(1, "book"))
        await anyio.sleep(1)
        desk.hear(TurnChanged(1, "book it"))
        await anyio.sleep(0.01)
        assert (gateway.closed, gateway.slots.held) == (1, 0)
    assert desk.lines == []
    assert [report.outcome for report in desk.listener.reports] == ["discarded"]


async def test_a_committed_call_takes_the_place_of_a_guess_and_blocks_no_model() -> None:
    # 4 s: turn 1 answered twice.  4 s: a guess begins.  5 s: a client's request takes its slot.
    gateway = ScriptedGateway(says("Yes", after=2), places=1)
    async with at_work(gateway, one=Prompt(speculate=True), two=Prompt()) as desk:
        desk.hear(TurnEnded(1, "first"))
        await desk.dispatch.settled()
        desk.hear(TurnPaused(2, "book"))
        await anyio.sleep(1)
        desk.dispatch.carry_out(desk.dispatch.scheduler.create("two", anyio.current_time()))
        await anyio.sleep(0.5)
        assert [report.outcome for report in desk.listener.reports][2:] == ["discarded"]
        desk.hear(TurnEnded(2, "Book."))
        await desk.dispatch.settled()
    assert [line for line in desk.lines if line.startswith("5.5 ") and "created" in line] == [
        "5.5 r5 created for 2",
        "5.5 r6 created for 1 2",
    ]


@pytest.mark.parametrize("pause", [0.0, 0.5], ids=["before its call began", "in the queue"])
async def test_a_guess_adopted_without_a_place_waits_as_a_turn_does(pause: float) -> None:
    # One place, held by a long call.  The adopted guess is next; a later guess cannot pass it.
    gateway = ScriptedGateway(says("long", after=5), says("mine"), says("other"), places=1)
    held = Prompt(policy="parallel", keyword="hold")
    async with at_work(gateway, held=held, reply=Prompt(speculate=True, keyword="book")) as desk:
        desk.hear(TurnEnded(1, "hold"), TurnPaused(2, "book it"))
        await anyio.sleep(pause)
        desk.hear(TurnEnded(2, "Book it."))
        await anyio.sleep(0.01)
        assert [reply.ticket.speculative for reply in gateway.replies.values()] == [False, False]
        await desk.dispatch.settled()
    assert desk.lines[-1] == "6 r2 completed"


async def test_silence_of_the_right_length_asks() -> None:
    async with at_work(ScriptedGateway(says("ok")), notes=Prompt(after_silence=5)) as desk:
        desk.hear(TurnEnded(1, "one"))
        await anyio.sleep(3)
        desk.hear(TurnChanged(2, "and"))
        await anyio.sleep(60)
        assert desk.lines == []
        desk.hear(TurnEnded(2, "and two"))
        await anyio.sleep(7)
    assert desk.lines[0] == "68 r1 created for 1 2"


async def test_an_earlier_deadline_wakes_the_alarm() -> None:
    slow, quick = Prompt(after_silence=50, keyword="slow"), Prompt(after_silence=2, keyword="quick")
    async with at_work(ScriptedGateway(says("ok")), slow=slow, quick=quick) as desk:
        desk.hear(TurnEnded(1, "slow"))
        await anyio.sleep(1)  # and the next turn is heard, though not asked for by all
        desk.hear(TurnEnded(2, "quick"))
        await anyio.sleep(100)
    assert [line for line in desk.lines if "created" in line] == [
        "3 r1 created for 2",
        "51 r2 created for 1",
    ]


async def test_every_waiting_task_learns_that_all_is_settled() -> None:
    async with at_work(ScriptedGateway(says("ok", after=3)), reply=Prompt()) as desk:
        desk.hear(TurnEnded(1, "one"))
        with anyio.fail_after(4):
            async with anyio.create_task_group() as waiting:
                for _ in range(3):
                    waiting.start_soon(desk.dispatch.settled)
        assert anyio.current_time() == 3


async def test_nothing_to_wait_for_is_settled_at_once() -> None:
    async with at_work(ScriptedGateway(says("ok")), reply=Prompt()) as desk:
        await desk.dispatch.settled()
        assert anyio.current_time() == 0


#: seconds at which the call is cancelled, and what the call waits for then
MOMENTS = {
    "before the call has begun": None,
    "while it waits for a place": 0.5,
    "while the request leaves": 1.5,
    "while it waits for the head": 2.5,
    "while it waits for a token": 3.5,
    "between two tokens": 4.5,
}


@pytest.mark.parametrize("moment", MOMENTS)
async def test_cancelling_leaves_nothing_behind(moment: str) -> None:
    first = Script((1.0, Finished("stop", True)))
    reads = (1.0, Accepted("id")), (1.0, TextDelta("a")), (1.0, TextDelta("b"))
    second = Script(*reads, (1.0, Finished("stop", True)), opening=1.0)
    gateway = ScriptedGateway(first, second, says("ok"), places=1)
    holder, struck = Prompt(keyword="hold"), Prompt(keyword="ask")
    async with at_work(gateway, holder=holder, struck=struck) as desk:
        desk.hear(TurnEnded(1, "hold"))
        await anyio.lowlevel.checkpoint()
        desk.hear(TurnEnded(2, "ask"))
        at = MOMENTS[moment]
        if at is not None:
            await anyio.sleep(at)
        desk.dispatch.carry_out(desk.dispatch.scheduler.cancel("r2", anyio.current_time()))
        await desk.dispatch.settled()
        await anyio.sleep(2)
        assert gateway.slots.held == 0
        desk.hear(TurnEnded(3, "ask again"))
        await desk.dispatch.settled()
    done = {done.response_id: done.status for done in desk.dones()}
    assert done == {"r1": "completed", "r2": "cancelled", "r3": "completed"}


async def test_a_thousand_cancels_leave_no_place_taken() -> None:
    dice = random.Random(7)
    gateway = ScriptedGateway(says("a", "b", after=0.2, every=0.2), places=3)
    gateway.close_time = 0.05
    names = ("one", "two", "three", "four", "five")
    async with at_work(gateway, **{name: Prompt(speculate=True) for name in names}) as desk:
        turn = 0
        while sum(report.outcome != "completed" for report in desk.listener.reports) < 1000:
            turn += 1
            desk.hear(TurnPaused(turn, "so"))
            await anyio.sleep(dice.uniform(0, 0.5))
            if dice.random() < 0.5:
                desk.hear(TurnChanged(turn, "so it"))
            await anyio.sleep(dice.uniform(0, 0.5))
            desk.hear(TurnEnded(turn, "So."))
            await anyio.sleep(dice.uniform(0, 0.7))
        await desk.dispatch.settled()
        await anyio.sleep(1)
        assert (gateway.slots.held, gateway.slots.waiting) == (0, 0)
        desk.hear(TurnEnded(turn + 1, "probe"))
        await desk.dispatch.settled()
        assert [done.status for done in desk.dones()[-5:]] == ["completed"] * 5
