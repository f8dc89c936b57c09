"""F7, many times over: the service is killed under load, and nothing that was shown is lost.

``scripts/bench_kill.py`` is the long form.
"""

import random
from pathlib import Path

from tests.support import simulate
from tests.support.killing import SCRIPT, Outcome, kill_repeatedly


async def test_f7_killed_under_load_again_and_again_it_loses_doubles_and_changes_nothing(
    tmp_path: Path,
) -> None:
    outcomes: list[Outcome] = []
    async with simulate(SCRIPT) as sim:
        await kill_repeatedly(
            tmp_path / "journal.db",
            sim,
            random.Random(),
            2,
            lambda _, outcome: outcomes.append(outcome),
            longest=0.6,
        )
    assert len(outcomes) == 2
    assert sum(outcome.events for outcome in outcomes) > 100
