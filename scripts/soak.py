"""Soak test: an hour of 50 conversations in minutes; checks memory growth, leaks and losses.

The real ``pipeline serve`` with a journal in a file, between scripted engines, all over real
sockets. Each of the sessions at once has a turn every 10 s of the hour and lasts five minutes;
every fifth answer is superseded; sources and speech-to-text connections break; two subscribers
for each session come and go. Before the hour is a warm-up of ten minutes of it: so long are
ended sessions kept in memory.

    scripts/soak [--seconds 150] [--sessions 50] [--seed 1] [--margin 0.1]

Prints a table and one JSON line; exit code 1 when the last quarter of the hour takes more memory
than the first by more than the margin, when something was lost, or when a task or socket is left.
"""

import argparse
import json
import platform
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from tests.support import simulate  # noqa: E402
from tests.support.commandline import running  # noqa: E402
from tests.support.soaking import (  # noqa: E402
    Load,
    Pace,
    Sample,
    Tally,
    faults,
    quarters,
    sample,
    settled,
    typical,
    watch,
)

KEPT = 600.0  #: seconds of the hour that an ended session stays in memory


async def soak(pace: Pace, seed: int, journal: Path) -> tuple[list[Sample], Tally, tuple[int, int]]:
    """Return the samples of the hour, the counts, and the numbers of tasks and sockets left."""
    kept = f"{KEPT / pace.speed:.1f}"
    samples: list[Sample] = []
    async with simulate(pace.script()) as sim:
        words = ("--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "scripted")
        env = {"PIPELINE_JOURNAL__KEEP_ENDED": kept, "PIPELINE_SERVE__LOG_LEVEL": "error"}
        async with running("serve", "--port", 0, *words, "--journal", journal, env=env) as server:
            line = await server.line(holding="listening on")
            url = line.partition("listening on ")[2].split(";")[0]
            load = Load(url, sim, pace, seed)
            before = await sample(url, 0.0)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(load.run, pace.warm_up + pace.seconds)
                await anyio.sleep(pace.warm_up)
                with anyio.move_on_after(pace.seconds):
                    await watch(url, samples)
            left = await settled(url, before, sim)
            code = await server.stop(signal.SIGTERM)
    assert code == 143, f"the server ended with {code}"
    return samples, load.tally, left


def table(samples: list[Sample], pace: Pace) -> list[dict[str, float]]:
    """Print and return the memory, tasks and open files of each quarter."""
    print("quarter   memory      tasks   open files")
    rows: list[dict[str, float]] = []
    for number, part in enumerate(quarters(samples, pace.seconds), 1):
        row = {name: typical(part, name) for name in ("memory", "tasks", "files")}
        rows.append(row)
        memory = f"{row['memory'] / 1e6:6.1f} MB"
        print(f"{number:7}   {memory}  {row['tasks']:6.0f}   {row['files']:10.0f}")
    return rows


def main() -> int:
    words = argparse.ArgumentParser()
    words.add_argument("--seconds", type=float, default=150.0)
    words.add_argument("--sessions", type=int, default=50)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--margin", type=float, default=0.1)
    args = words.parse_args()
    pace = Pace(args.seconds, args.sessions, warm_up=args.seconds * KEPT / 3600)
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.db"
        samples, tally, left = anyio.run(soak, pace, args.seed, journal)
        size = journal.stat().st_size
    rows = table(samples, pace)
    print(
        f"sessions {tally.sessions}  events {tally.events}  superseded {tally.superseded}"
        f"  sources broken {tally.breaks}  speech-to-text broken {tally.severed}"
        f"  visits {tally.visits}, {tally.seen} events"
    )
    print(f"lost {tally.lost}  left over: tasks {max(0, left[0])}, sockets {max(0, left[1])}")
    found = faults([row["memory"] for row in rows], tally, left, margin=args.margin)
    results: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "seconds": pace.seconds,
        "speed": pace.speed,
        "quarters": rows,
        "journal_bytes": size,
        **vars(tally),
        "left": left,
        "faults": found,
    }
    print(json.dumps(results))
    for fault in found:
        print(f"fault: {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
