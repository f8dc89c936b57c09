"""Many sessions at once for a moment: nothing lost, no task and no socket left over.

``scripts/soak`` is the long form, which also watches memory.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.serving import serving
from tests.support.soaking import Load, Pace, Tally, faults, sample, settled

PACE = Pace(24.0, 5)


async def test_sessions_that_come_go_and_break_lose_nothing_and_leave_nothing(
    tmp_path: Path,
) -> None:
    env = {"PIPELINE_JOURNAL__KEEP_ENDED": "1"}
    words = ("--journal", tmp_path / "journal.db")
    async with serving(PACE.script(), *words, env=env) as served:
        before = await sample(served.url, 0.0)
        load = Load(served.url, served.sim, PACE, seed=1)
        await load.run(2.0)
        left = await settled(served.url, before, served.sim)
    tally = load.tally
    assert tally.sessions >= PACE.sessions
    assert tally.superseded > 0
    assert tally.breaks > 0
    assert tally.severed > 0
    assert tally.seen > tally.events
    assert faults([1.0, 1.0], tally, left, margin=0.0) == []


def test_memory_may_not_grow_by_more_than_the_margin() -> None:
    assert faults([100.0, 140.0, 110.0], Tally(), (0, 0), margin=0.1) == []
    [fault] = faults([100.0, 90.0, 120.0], Tally(), (0, 0), margin=0.1)
    assert fault == "memory grew by 20.0 % from the first quarter to the last"


@pytest.mark.parametrize(
    ("left", "said"),
    [((2, 0), ["2 tasks are left over"]), ((0, 1), ["1 sockets are left over"]), ((-1, -3), [])],
)
def test_what_is_left_over_is_a_fault(left: tuple[int, int], said: Sequence[str]) -> None:
    assert faults([1.0], Tally(), left, margin=0.1) == said
