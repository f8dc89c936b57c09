"""What broken connections cost in words: real speech, the embedded recogniser, TCP resets.

Streams every recording twice through the client that reconnects: once undisturbed, once with
the connection reset at random moments, and compares both with what was said.

    python scripts/bench_faults.py [--audio DIR] [--cuts 20] [--only NAME] [--seed 1]
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
from msgspec import Struct

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from bench_wer import PLACES, Recording, differences, edits, recordings, words_of  # noqa: E402

from pipeline.audio.pcm import Format, Framer, mulaw_to_pcm  # noqa: E402
from pipeline.local.child import start_engines  # noqa: E402
from pipeline.settings import LocalSettings, SttSettings  # noqa: E402
from pipeline.speech import Heard, StreamLost, StreamResumed, Transcript  # noqa: E402
from pipeline.stt.client import SpeechToText  # noqa: E402
from pipeline.stt.connection import connection_for  # noqa: E402
from tests.support import FaultProxy, fault_proxy  # noqa: E402


class Run(Struct, frozen=True):
    """One recording, heard once."""

    name: str
    words: list[str]
    errors: int
    losses: int
    replayed: float  #: seconds
    gaps: int  #: interruptions that lost audio


async def listen(
    recording: Recording, url: str, cuts: Sequence[float], proxy: FaultProxy, speed: float
) -> Run:
    heard: list[Heard] = []
    parameters = {"sample_rate": recording.rate}
    settings = SttSettings(parameters=parameters, close_timeout=20.0)
    client = SpeechToText(connection_for(settings, None, url), heard.append)
    sound = recording.data if recording.width == 2 else mulaw_to_pcm(recording.data)
    audio = Format(sample_rate=recording.rate)
    framer = Framer(audio)
    frames = [*framer.feed(sound), framer.flush()]
    async with anyio.create_task_group() as tasks:
        await tasks.start(client.run)
        tasks.start_soon(cut, cuts, proxy, speed)
        begun, at = anyio.current_time(), 0.0
        for frame in frames:
            at += audio.seconds(len(frame))
            await anyio.sleep_until(begun + at / speed)
            await client.send(frame)
        await client.finish()
        tasks.cancel_scope.cancel()
    ended = [one for one in heard if isinstance(one, Transcript) and one.ended]
    words = [word for one in ended for word in words_of(one.text)]
    resumed = [one for one in heard if isinstance(one, StreamResumed)]
    return Run(
        recording.name,
        words,
        edits(recording.reference, words),
        sum(isinstance(one, StreamLost) for one in heard),
        sum(one.replayed for one in resumed),
        sum(one.lost_to is not None for one in resumed),
    )


async def cut(cuts: Sequence[float], proxy: FaultProxy, speed: float) -> None:
    begun = anyio.current_time()
    for at in cuts:
        await anyio.sleep_until(begun + at / speed)
        await proxy.kill_all("rst")


def moments(chosen: Sequence[Recording], count: int, seed: int) -> list[list[float]]:
    """Spread ``count`` cuts over all recordings, at random."""
    dice = random.Random(seed)
    whole = sum(recording.seconds for recording in chosen)
    cuts = sorted(dice.uniform(0.5, whole) for _ in range(count))
    spread: list[list[float]] = []
    start = 0.0
    for recording in chosen:
        end = start + recording.seconds
        spread.append([at - start for at in cuts if start <= at < end])
        start = end
    return spread


def repeats(words: Sequence[str]) -> int:
    """Count runs of 2 to 8 words that are said twice in a row."""
    found = 0
    for size in range(2, 9):
        for at in range(len(words) - 2 * size + 1):
            found += words[at : at + size] == words[at + size : at + 2 * size]
    return found


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--audio", type=Path, help="folder of NAME.wav with NAME.txt")
    parser.add_argument("--only", default="", help="files with this in their name")
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, default=1.0, help="times real time")
    options = parser.parse_args()
    folder = options.audio or next((place for place in PLACES if place.is_dir()), PLACES[1])
    chosen = list(recordings(folder, options.only))
    if not chosen:
        sys.exit(f"{folder}: no NAME.wav with NAME.txt")
    plain: list[Run] = []
    broken: list[Run] = []
    async with (
        start_engines(LocalSettings(), lambda line: print(line, file=sys.stderr)) as engines,
        fault_proxy(engines.stt_url) as proxy,
    ):
        for recording, cuts in zip(
            chosen, moments(chosen, options.cuts, options.seed), strict=True
        ):
            for runs, faults in ((plain, []), (broken, cuts)):
                runs.append(await listen(recording, proxy.url, faults, proxy, options.speed))
            show(recording, plain[-1], broken[-1])
    print(summary(chosen, plain, broken, options.seed))


def show(recording: Recording, plain: Run, broken: Run) -> None:
    count = len(recording.reference)
    print(
        f"{recording.name:<40} {count:4d} words  WER {100 * plain.errors / count:5.1f} %  with"
        f" {broken.losses} losses {100 * broken.errors / count:5.1f} %  replayed"
        f" {broken.replayed:5.1f} s  repeated {repeats(broken.words) - repeats(plain.words)}",
        flush=True,
    )
    for line in differences(plain.words, broken.words):
        print(f"    {line}")


def summary(
    chosen: Sequence[Recording], plain: Sequence[Run], broken: Sequence[Run], seed: int
) -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=REPO, capture_output=True, check=False
    )
    words = sum(len(recording.reference) for recording in chosen)
    rates = [100 * sum(run.errors for run in runs) / words for runs in (plain, broken)]
    return json.dumps(
        {
            "bench": "faults",
            "commit": commit.stdout.decode().strip(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "python": platform.python_version(),
            "seed": seed,
            "n": words,
            "losses": sum(run.losses for run in broken),
            "wer_percent": {"undisturbed": round(rates[0], 2), "cut": round(rates[1], 2)},
            "difference_points": round(rates[1] - rates[0], 2),
            "repeated_runs": sum(repeats(run.words) for run in broken)
            - sum(repeats(run.words) for run in plain),
            "audio_lost": sum(run.gaps for run in broken),
            "replayed_seconds": round(sum(run.replayed for run in broken), 1),
        }
    )


if __name__ == "__main__":
    anyio.run(main)
