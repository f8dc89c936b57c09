"""Repeated kill -9 under load: counts published events that are lost, doubled or changed.

The real ``pipeline serve`` with a journal in a file, four sessions with two prompts each, nine
subscribers. It is killed at a random moment and started again; then all clients reconnect, and
each event that any client received is compared with the file: unchanged, numbers without gap or
double, a higher epoch, one ``response.done`` for every response.

    python scripts/bench_kill.py [--rounds 50] [--seed 1]

Prints a table and one JSON line; exit code 1 at the first guarantee that is broken.
"""

import argparse
import json
import platform
import random
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from contextlib import closing
from pathlib import Path

import anyio

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from tests.support import simulate  # noqa: E402
from tests.support.killing import SCRIPT, Outcome, kill_repeatedly  # noqa: E402

HEAD = "round  killed after  events  frames  unseen  open, ended as lost"


def tell(number: int, outcome: Outcome) -> None:
    print(
        f"{number:5}  {outcome.after:10.3f} s  {outcome.events:6}  {outcome.frames:6}"
        f"  {outcome.unseen:6}  {outcome.lost:6}",
        flush=True,
    )


def health(journal: Path) -> str:
    with closing(sqlite3.connect(journal)) as db:
        return str(db.execute("PRAGMA integrity_check").fetchone()[0])


def commit() -> str:
    git = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=REPO, capture_output=True, text=True
    )
    return git.stdout.strip()


async def main() -> int:
    words = argparse.ArgumentParser()
    words.add_argument("--rounds", type=int, default=50)
    words.add_argument("--seed", type=int, default=1)
    args = words.parse_args()
    outcomes: list[Outcome] = []
    broken = ""

    def note(number: int, outcome: Outcome) -> None:
        outcomes.append(outcome)
        tell(number, outcome)

    print(HEAD)
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.db"
        async with simulate(SCRIPT) as sim:
            try:
                await kill_repeatedly(journal, sim, random.Random(args.seed), args.rounds, note)
            except AssertionError as error:
                traceback.print_exc()
                broken = str(error) or "see above"
        integrity = await anyio.to_thread.run_sync(health, journal)
    about = {
        "bench": "kill",
        "commit": commit(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "seed": args.seed,
        "rounds": len(outcomes),
        "sessions": sum(outcome.sessions for outcome in outcomes),
        "events": sum(outcome.events for outcome in outcomes),
        "frames": sum(outcome.frames for outcome in outcomes),
        "unseen": sum(outcome.unseen for outcome in outcomes),
        "ended_as_lost": sum(outcome.lost for outcome in outcomes),
        "integrity": integrity,
        "broken": broken,
    }
    print(json.dumps(about))
    return int(bool(broken) or len(outcomes) < args.rounds or integrity != "ok")


if __name__ == "__main__":
    sys.exit(anyio.run(main))
