"""A command that is sent again under its client_id takes effect once, and has the same result."""

from typing import Any

import anyio
import pytest

from pipeline.errors import InputError
from pipeline.protocol.commands import (
    DtmfCommand,
    ResponseCreateCommand,
    SessionEndCommand,
    ToolResultCommand,
    TurnCreateCommand,
)
from pipeline.session import command_outcomes
from pipeline.session.command_outcomes import CommandOutcomes
from tests.support.session_fixture import Stage, turn

TURN = TurnCreateCommand(text="hello", client_id="1")


@pytest.mark.parametrize(
    "command",
    [
        TURN,
        DtmfCommand(digits="1#", client_id="1"),
        ResponseCreateCommand(prompt="reply", client_id="1"),
        ToolResultCommand(call_id="c", result={"b": 1, "a": [2.5, None]}, client_id="1"),
        SessionEndCommand(client_id="1"),
    ],
)
def test_each_command_is_recognised_by_its_id(command: Any) -> None:
    outcomes = CommandOutcomes()
    assert not outcomes.is_repeated(command)
    outcomes.record(command)
    assert outcomes.is_repeated(command)


def test_without_an_id_a_command_counts_every_time() -> None:
    outcomes = CommandOutcomes()
    outcomes.record(TurnCreateCommand(text="yes"))
    assert not outcomes.is_repeated(TurnCreateCommand(text="yes"))


def test_a_refusal_is_repeated_until_the_command_is_corrected() -> None:
    outcomes = CommandOutcomes()
    outcomes.record(TURN, InputError("no"))
    with pytest.raises(InputError, match=r"^no$"):
        outcomes.is_repeated(TURN)
    corrected = TurnCreateCommand(text="hello!", client_id="1")
    assert not outcomes.is_repeated(corrected)
    outcomes.record(corrected)
    with pytest.raises(InputError, match="client_id was used for a different command"):
        outcomes.is_repeated(TURN)


def test_the_newest_ids_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_outcomes, "REMEMBERED", 3)
    outcomes = CommandOutcomes()
    commands = [TurnCreateCommand(text="a", client_id=str(number)) for number in range(5)]
    for command in commands:
        outcomes.record(command)
    assert [outcomes.is_repeated(command) for command in commands] == [False] * 2 + [True] * 3


async def test_a_turn_and_a_response_that_are_sent_again_are_made_once() -> None:
    stage = Stage(policy="queue")
    request = ResponseCreateCommand(client_id="r-1")
    async with stage.open() as session:
        for _ in range(3):
            await session.command(TURN)
        for _ in range(3):
            await session.command(request)
        await session.finish()
    assert len(stage.said("turn.completed")) == 1
    assert [one.get("client_id") for one in stage.said("response.created")] == [None, "r-1"]


async def test_the_id_of_a_request_goes_with_it_where_it_supersedes() -> None:
    stage = Stage()
    async with stage.open() as session:
        stage.speech.hear(turn(0, "Hello."))
        await anyio.sleep(1.5)
        await session.command(ResponseCreateCommand(client_id="again"))
        await session.finish()
    first, second = stage.said("response.created")
    assert (second["supersedes"], second["client_id"]) == (first["response_id"], "again")


async def test_a_refused_command_is_refused_again_in_the_same_words() -> None:
    stage = Stage()
    result = ToolResultCommand(call_id="none", result=1, client_id="t-1")
    async with stage.open() as session:
        for _ in range(2):
            with pytest.raises(InputError, match="no call 'none' waits for a client"):
                await session.command(result)
