"""Keys gathered to numbers, by an end key or a pause."""

from math import inf

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.settings import DtmfSettings
from pipeline.interfaces.stt import Transcript
from pipeline.protocol.commands import DtmfCommand
from pipeline.session.digits import MOST_DIGITS, DigitCollector
from tests.support.session_fixture import Stage, turn


@pytest.mark.parametrize(
    ("end", "presses", "numbers", "rest"),
    [
        ("#", ["4", "7", "1", "1", "#"], ["4711"], []),
        ("#", ["4711#22"], ["4711"], ["22"]),
        ("#", ["#"], ["#"], []),
        ("#", ["1", "#", "#"], ["1", "#"], []),
        ("*", ["1#2*"], ["1#2"], []),
        ("", ["12#"], [], ["12#"]),
        ("#", ["9" * 63, "99"], ["9" * MOST_DIGITS], ["9"]),
    ],
)
def test_a_number_ends_with_the_end_key(
    end: str, presses: list[str], numbers: list[str], rest: list[str]
) -> None:
    collector = DigitCollector(DtmfSettings(end=end))
    assert [number for each in presses for number in collector.press(each, 0)] == numbers
    assert collector.deadline == (2.0 if rest else inf)
    assert collector.flush() == rest
    assert collector.deadline == inf


@given(st.lists(st.text("0123456789*#", min_size=1, max_size=9)))
def test_no_key_is_lost_or_doubled(presses: list[str]) -> None:
    collector = DigitCollector(DtmfSettings(end=""))
    numbers = [number for each in presses for number in collector.press(each, 0)]
    assert "".join([*numbers, *collector.flush()]) == "".join(presses)


def keys(digits: str) -> DtmfCommand:
    return DtmfCommand(digits=digits)


def texts(stage: Stage) -> list[str]:
    return [event["text"] for event in stage.said("turn.completed")]


async def test_keys_are_published_as_they_come_and_a_number_is_one_turn() -> None:
    stage = Stage()
    async with stage.open() as session:
        for digit in "4711":
            await session.command(keys(digit))
            await anyio.sleep(0.25)
        assert texts(stage) == []
        await session.command(keys("#"))
        assert texts(stage) == ["4711"]
        await session.finish()
    assert "".join(event["digits"] for event in stage.said("dtmf")) == "4711#"
    assert len(stage.said("response.done")) == 1


async def test_a_pause_ends_a_number() -> None:
    stage = Stage()
    async with stage.open() as session:
        for digits, pause in (("7", 1.9), ("3", 2.1), ("5", 1.0)):
            await session.command(keys(digits))
            await anyio.sleep(pause)
        assert texts(stage) == ["73"]
        await session.finish()  # ends the open number
    assert texts(stage) == ["73", "5"]


async def test_keys_beside_speech_leave_the_open_turn_as_it_is() -> None:
    stage = Stage()
    async with stage.open() as session:
        stage.speech.hear(Transcript(0, "my number is"))
        await session.command(keys("12#"))
        stage.speech.hear(turn(0, "My number is this."))
        await session.finish()
    assert texts(stage) == ["12", "My number is this."]
