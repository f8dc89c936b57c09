"""Silences where audio is not in real time: their lengths are those of the audio."""

from math import inf

import pytest

from pipeline.config.settings import Prompt
from pipeline.interfaces.turns import TurnEnded, TurnStarted
from tests.responses.talk import Talk


def hears(talk: Talk, turn: int, begin: float, end: float) -> list[str]:
    """Return what comes of a turn from ``begin`` to ``end``, in seconds of audio."""
    started = talk.hears(TurnStarted(turn, begin))
    return started + talk.hears(TurnEnded(turn, f"turn {turn}", end))


@pytest.mark.parametrize("elapsed", [0.0, 0.1, 100.0])
def test_a_silence_of_the_audio_triggers_however_fast_it_comes(elapsed: float) -> None:
    talk = Talk(real_time=False, notes=Prompt(after_silence=2, policy="queue"))
    assert hears(talk, 1, 0.0, 1.0) == []
    assert talk.scheduler.deadline == inf
    assert talk.tick(elapsed) == []
    assert hears(talk, 2, 2.5, 4.0) == []  # after 1.5 s
    assert hears(talk, 3, 6.0, 7.0) == ["r1 created for 1 2", "ask r1"]  # after 2 s
    talk.over("r1", "Noted.")
    assert talk.do(talk.scheduler.finish(talk.now)) == ["r2 created for 3", "ask r2"]


def test_in_real_time_the_clock_decides() -> None:
    talk = Talk(notes=Prompt(after_silence=2))
    hears(talk, 1, 0.0, 1.0)
    assert talk.scheduler.deadline == 2
    assert hears(talk, 2, 9.0, 10.0) == []


def test_without_word_times_the_end_of_the_session_triggers() -> None:
    talk = Talk(real_time=False, notes=Prompt(after_silence=2))
    talk.hears(TurnStarted(1, 0.0))
    talk.hears(TurnEnded(1, "one"))
    assert talk.hears(TurnStarted(2, 50.0)) == []
    assert talk.do(talk.scheduler.finish(0)) == ["r1 created for 1", "ask r1"]
