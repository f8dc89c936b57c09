"""Tools on virtual time: deadlines, and which calls are cancelled."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from pipeline.config.settings import Prompt
from pipeline.interfaces.llm import Finished
from pipeline.interfaces.tools import ToolRun
from pipeline.interfaces.turns import TurnEnded
from pipeline.responses.conversation import ConversationState
from pipeline.responses.dispatch import Dispatch
from pipeline.responses.rate_limit import Budget
from pipeline.responses.scheduler import ResponseScheduler
from tests.responses.scripted import Listener, Script, ScriptedGateway, says
from tests.responses.toolkit import call, kit


class Runner:
    """Takes ``seconds`` for each call, and keeps which were finished."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.finished: list[str] = []

    async def run(self, call: ToolRun) -> Any:
        await anyio.sleep(self.seconds)
        self.finished.append(call.tool.name)
        return "found"


@asynccontextmanager
async def asking(runner: Runner, *names: str) -> AsyncGenerator[tuple[Dispatch, ScriptedGateway]]:
    """A turn whose reply, after a second, calls these tools."""
    calls = [(0.0, call(at, name)) for at, name in enumerate(names)]
    gateway = ScriptedGateway(Script((1.0, calls[0][1]), *calls[1:], (0.0, Finished("x", True))),
                              says("Fine."))  # fmt: skip
    ids = iter(["r1", "r2", "r3"])
    prompts = {"reply": Prompt()}
    scheduler = ResponseScheduler(
        prompts,
        ConversationState(Budget(0), "m", lambda: next(ids)),
        offered_tools={"reply": kit()},
    )
    dispatch = Dispatch(scheduler, gateway, Listener(), anyio.current_time, runner)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(dispatch.run, tasks)
        await anyio.wait_all_tasks_blocked()
        dispatch.carry_out(scheduler.heard(TurnEnded(1, "hello"), anyio.current_time()))
        yield dispatch, gateway
        tasks.cancel_scope.cancel()


def results(gateway: ScriptedGateway) -> list[str | None]:
    return [one.content for one in gateway.requests[-1].messages if one.role == "tool"]


async def test_calls_run_beside_one_another() -> None:
    async with asking(Runner(2.0), "look", "look", "book") as (dispatch, gateway):
        await dispatch.settled()
        # 1 s the reply, 2 s the tools, 1 s the answer
        assert anyio.current_time() == pytest.approx(4.0)
        assert results(gateway) == ["found"] * 3


async def test_a_tool_that_takes_too_long_is_given_up_and_the_model_gets_the_error() -> None:
    async with asking(Runner(60.0), "look", "book", "ask") as (dispatch, gateway):
        await dispatch.settled()
        assert anyio.current_time() == pytest.approx(7.0)
        assert [text and "within 5 s" in text for text in results(gateway)] == [True] * 3


async def test_the_end_of_a_session_calls_off_only_what_has_no_side_effects() -> None:
    runner = Runner(3.0)
    async with asking(runner, "look", "book"):
        await anyio.sleep(2)
    assert runner.finished == ["book"]
    assert anyio.current_time() == pytest.approx(4.0)


async def test_an_abort_stops_running_tools_without_side_effects_and_asks_nothing_more() -> None:
    runner = Runner(3.0)
    async with asking(runner, "look", "book") as (dispatch, gateway):
        await anyio.sleep(2)  # 1 s: both tools start
        dispatch.carry_out(dispatch.scheduler.abort("shutdown", anyio.current_time()))
        assert dispatch.scheduler.idle
        await anyio.sleep(10)
        assert runner.finished == ["book"]
        assert len(gateway.requests) == 1


async def test_a_client_answers_once_and_only_what_it_was_asked() -> None:
    async with asking(Runner(3.0), "ask", "look") as (dispatch, gateway):
        await anyio.sleep(2)
        assert not dispatch.tool_result("c1", "mine")
        assert dispatch.tool_result("c0", {"yes": True})
        assert not dispatch.tool_result("c0", "again")
        await dispatch.settled()
        assert results(gateway) == ['{"yes":true}', "found"]
        assert gateway.requests[-1].messages[-1].content == "found"
