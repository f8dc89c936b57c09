"""Benchmark of words lost to broken connections: real speech, the embedded recogniser, TCP resets.

Streams every recording twice through the client that reconnects: once undisturbed, once with
the connection reset at random moments, and compares both with what was said.

The recogniser is at the edge of what it can hear on some of them: a change of one bit in the
samples changes the words. So one pair of runs says little. With ``--repeat`` the undisturbed
runs after the first hear the samples changed by at most one step, and what is compared is the
means; their spread says how much of a difference means nothing.

    python scripts/bench_faults.py [--audio DIR] [--cuts 20] [--only NAME] [--seed 1] [--repeat 4]
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import numpy as np
from msgspec import Struct

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from bench_wer import PLACES, Recording, differences, edits, recordings, words_of  # noqa: E402

from pipeline.audio.pcm import Format, Framer, mulaw_to_pcm  # noqa: E402
from pipeline.config.settings import LocalSettings, SttSettings  # noqa: E402
from pipeline.embedded.process import start_engines  # noqa: E402
from pipeline.interfaces.stt import Heard, StreamLost, StreamResumed, Transcript  # noqa: E402
from pipeline.stt.assemblyai.endpoint import endpoint_for  # noqa: E402
from pipeline.stt.client import SttClient  # noqa: E402
from tests.support import FaultProxy, fault_proxy  # noqa: E402


class Run(Struct, frozen=True):
    """One recording, heard once."""

    name: str
    words: list[str]
    errors: int
    losses: int
    replayed: float  #: seconds
    gaps: int  #: interruptions that lost audio


class Job(Struct, frozen=True):
    """One recording, to be heard once."""

    recording: Recording
    cuts: Sequence[float] = ()  #: seconds
    noise: int = 0  #: which noise of one step is added; 0 is none


async def listen(job: Job, proxy: FaultProxy, speed: float) -> Run:
    recording = job.recording
    heard: list[Heard] = []
    parameters = {"sample_rate": recording.rate}
    settings = SttSettings(parameters=parameters, close_timeout=20.0)
    client = SttClient(endpoint_for(settings, None, proxy.url), heard.append)
    sound = sound_of(recording, job.noise)
    audio = Format(sample_rate=recording.rate)
    framer = Framer(audio)
    frames = [*framer.feed(sound), framer.flush()]
    async with anyio.create_task_group() as tasks:
        await tasks.start(client.run)
        tasks.start_soon(cut, job.cuts, proxy, speed)
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


def sound_of(recording: Recording, noise: int) -> bytes:
    """Return the samples, changed by -1, 0 or 1 at random unless ``noise`` is 0."""
    sound = recording.data if recording.width == 2 else mulaw_to_pcm(recording.data)
    if not noise:
        return sound
    samples = np.frombuffer(sound, "<i2").astype(np.int32)
    samples += np.random.default_rng(noise).integers(-1, 2, samples.size)
    return np.clip(samples, -32_768, 32_767).astype("<i2").tobytes()


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
    parser.add_argument("--repeat", type=int, default=1, help="pairs of runs, each other cuts")
    parser.add_argument("--speed", type=float, default=1.0, help="times real time")
    options = parser.parse_args()
    folder = options.audio or next((place for place in PLACES if place.is_dir()), PLACES[1])
    chosen = list(recordings(folder, options.only))
    if not chosen:
        sys.exit(f"{folder}: no NAME.wav with NAME.txt")
    plain: list[list[Run]] = []
    broken: list[list[Run]] = []
    async with (
        start_engines(LocalSettings(), lambda line: print(line, file=sys.stderr)) as engines,
        fault_proxy(engines.stt_url) as proxy,
    ):
        for again in range(options.repeat):
            plain.append([])
            broken.append([])
            spread = moments(chosen, options.cuts, options.seed + again)
            for recording, cuts in zip(chosen, spread, strict=True):
                job = Job(recording, noise=again)
                plain[-1].append(await listen(job, proxy, options.speed))
                broken[-1].append(await listen(Job(recording, cuts), proxy, options.speed))
                show(recording, plain[-1][-1], broken[-1][-1])
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
    chosen: Sequence[Recording],
    plain: Sequence[Sequence[Run]],
    broken: Sequence[Sequence[Run]],
    seed: int,
) -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=REPO, capture_output=True, check=False
    )
    words = sum(len(recording.reference) for recording in chosen)
    undisturbed, cut_off = rates(plain, words), rates(broken, words)
    every = [run for runs in broken for run in runs]
    return json.dumps(
        {
            "bench": "faults",
            "commit": commit.stdout.decode().strip(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "python": platform.python_version(),
            "seed": seed,
            "n": words,
            "losses": sum(run.losses for run in every),
            "wer_percent": {"undisturbed": undisturbed, "cut": cut_off},
            "difference_points": round(statistics.mean(cut_off) - statistics.mean(undisturbed), 2),
            "spread_points": {
                "undisturbed": deviation(undisturbed),
                "cut": deviation(cut_off),
            },
            "repeated_runs": sum(repeats(run.words) for run in every)
            - sum(repeats(run.words) for runs in plain for run in runs),
            "audio_lost": sum(run.gaps for run in every),
            "replayed_seconds": round(sum(run.replayed for run in every), 1),
        }
    )


def rates(repeated: Sequence[Sequence[Run]], words: int) -> list[float]:
    return [round(100 * sum(run.errors for run in runs) / words, 2) for runs in repeated]


def deviation(values: Sequence[float]) -> float | None:
    return round(statistics.stdev(values), 2) if len(values) > 1 else None


if __name__ == "__main__":
    anyio.run(main)
