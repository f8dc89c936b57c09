"""Spending limits stop requests, of one prompt or of all, and every turn is accounted for."""

from typing import Any

import anyio
import pytest

from pipeline.config.settings import Prompt
from pipeline.protocol.commands import ResponseCreateCommand
from pipeline.protocol.events import TokenUsage
from pipeline.responses.spending import PromptSpending, SpentLimit
from pipeline.session.usage_limits import Exhausted
from tests.support.session_fixture import Stage, turn

REPLY, NOTES = Prompt(session_tokens=50), Prompt(session_cost=0.1)


def used(tokens: int, cost: float | None = None) -> TokenUsage:
    return TokenUsage(input_tokens=tokens, output_tokens=0, estimated=False, cost=cost)


def reached(spending: PromptSpending, name: str, prompt: Prompt) -> str | None:
    limit = spending.reached(name, prompt)
    return None if limit is None else limit.setting


def test_a_prompt_has_limits_of_its_own() -> None:
    spending = PromptSpending()
    spending.add("reply", used(49, 5.0))
    spending.add("notes", used(10**9, None))
    assert reached(spending, "reply", REPLY) is reached(spending, "notes", NOTES) is None
    spending.add("reply", used(1))
    spending.add("notes", used(0, 0.1))
    assert reached(spending, "reply", REPLY) == "prompts.reply.session_tokens"
    assert reached(spending, "notes", NOTES) == "prompts.notes.session_cost"


def test_a_limit_of_all_sessions_stops_every_prompt_until_it_is_lifted() -> None:
    spending = PromptSpending()
    spending.stop(SpentLimit("limits.day_tokens", "spent"))
    assert reached(spending, "reply", REPLY) == "limits.day_tokens"
    spending.stop(None)
    assert reached(spending, "reply", REPLY) is None


def limited(policy: str = "queue", **prompt: Any) -> Stage:
    return Stage(policy=policy, session_tokens=1, **prompt)


async def test_a_meeting_is_transcribed_on_past_its_limit_and_no_turn_is_silent() -> None:
    stage = limited()
    async with stage.open() as session:
        for number in range(5):
            stage.speech.hear(turn(number, f"Turn {number}."))
            await anyio.sleep(10)
        await session.command(ResponseCreateCommand())
        await session.finish()
    assert len(stage.said("turn.completed")) == 5
    assert [one["turns"] for one in stage.said("response.created")] == [[1]]
    skipped = stage.said("response.skipped")
    assert [one["turns"] for one in skipped] == [[2], [3], [4], [5], [5]]
    assert {one["reason"] for one in skipped} == {"limit_reached"}
    (error,) = stage.said("error")
    assert error["error"]["code"] == "prompts.reply.session_tokens"
    assert stage.said("session.ended")[0]["reason"] == "limit"
    assert session.limit_reached


async def test_the_answer_that_runs_and_the_turn_that_waits_for_it_are_the_last() -> None:
    stage = limited()
    async with stage.open() as session:
        for number in range(4):
            stage.speech.hear(turn(number, f"Turn {number}."))
        await session.finish()
    assert [one["turns"] for one in stage.said("response.created")] == [[1], [2]]
    assert [one["status"] for one in stage.said("response.done")] == ["completed"] * 2
    assert [one["turns"] for one in stage.said("response.skipped")] == [[3], [4]]


@pytest.mark.parametrize("policy", ["supersede", "queue", "parallel", "conflate"])
async def test_each_policy_stops_at_the_limit_and_speculates_no_more(policy: str) -> None:
    stage = limited(policy, speculate=True)
    async with stage.open() as session:
        stage.speech.hear(turn(0, "One."))
        await anyio.sleep(10)
        stage.speech.hear(turn(1, "Two."))
        await session.finish()
    assert len(stage.gateway.requests) == 1
    assert len(stage.said("response.skipped")) == 1


async def test_a_limit_that_nothing_ran_into_changes_no_reason() -> None:
    stage = limited()
    async with stage.open() as session:
        stage.speech.hear(turn(0, "One."))
        await session.finish()
    assert stage.said("session.ended")[0]["reason"] == "source_ended"
    assert not session.limit_reached


async def test_a_sessions_limit_is_published_once_and_lets_the_running_answer_end() -> None:
    stage = Stage()
    limit = Exhausted("limits.session_cost", 0.5, "USD", "the session has")
    async with stage.open() as session:
        stage.speech.hear(turn(0, "One."))
        await anyio.sleep(1.5)
        for _ in range(3):
            session.limit_requests(limit)
        await anyio.sleep(10)
        stage.speech.hear(turn(1, "Two."))
        session.limit_requests(None)
        await anyio.sleep(10)
        stage.speech.hear(turn(2, "Three."))
        await session.finish()
    assert [one["error"]["code"] for one in stage.said("error")] == ["limits.session_cost"]
    assert [one["turns"] for one in stage.said("response.created")] == [[1], [3]]
    assert [one["status"] for one in stage.said("response.done")] == ["completed"] * 2
    assert [one["turns"] for one in stage.said("response.skipped")] == [[2]]
