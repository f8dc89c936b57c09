"""Benchmark of the embedded recogniser on real speech: word error rate and delays.

Streams every recording with a transcript in real time to the embedded speech server, over its
websocket, and compares. Delays are from the end of the last word, as the server tells it, to
the message's arrival.

    python scripts/bench_wer.py [--audio DIR] [--speed 2] [--only NAME]
"""

import argparse
import difflib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import anyio
from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect

from pipeline.config.settings import LocalSettings
from pipeline.embedded.process import Engines, start_engines

FRAME = 0.050  #: seconds of audio per message
REPO = Path(__file__).resolve().parent.parent
PLACES = (REPO.parent / "shared" / "audio", REPO / "samples" / "audio")

_PCM, _MULAW = 1, 7  # WAVE format tags


class Recording(Struct, frozen=True):
    """Audio in wire format, with its reference transcript."""

    name: str
    rate: int  #: samples per second
    width: int  #: bytes per sample; 1 is mu-law
    data: bytes
    reference: list[str]

    @property
    def seconds(self) -> float:
        return len(self.data) / self.rate / self.width


class Result(Struct, frozen=True):
    """Result of one recording; delays in milliseconds."""

    name: str
    seconds: float
    words: int
    errors: int
    finals: list[float]
    partials: list[float]
    cpu: float  #: seconds
    misheard: list[str]  #: reference → recognised


# --- words ---------------------------------------------------------------------------------

_SMALL = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen""".split()  # noqa: SIM905 - read as it is said
_TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()  # noqa: SIM905
_SAME = {"mr": "mister", "mrs": "missus", "okay": "kay", "ok": "kay", "um": "", "uh": ""}


def words_of(text: str) -> list[str]:
    """Bare words in lower case: no punctuation, numbers spelled out, fillers left out."""
    text = text.casefold().replace("’", "'").replace("-", " ").replace("%", " percent")
    text = re.sub(r"[$€£]\s?(\d+)", r"\1 ", text)
    text = re.sub(r"(?<=\d),(?=\d)", "", text)
    text = re.sub(r"\d+", lambda digits: f" {' '.join(spelled(int(digits[0])))} ", text)
    found = (re.sub(r"[^\w]", "", word) for word in text.replace("_", " ").split())
    return [word for word in (_SAME.get(word, word) for word in found) if word]


def spelled(number: int) -> list[str]:
    """A number's words, without "and"."""
    if number < 20:
        return [_SMALL[number]]
    if number < 100:
        return [_TENS[number // 10]] + ([_SMALL[number % 10]] if number % 10 else [])
    for size, name in ((1_000_000, "million"), (1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = spelled(number % size) if number % size else []
            return [*spelled(number // size), name, *rest]
    raise AssertionError(number)


def edits(reference: Sequence[str], heard: Sequence[str]) -> int:
    """Return the least number of substitutions, insertions and deletions between the two."""
    row = list(range(len(heard) + 1))
    for place, expected in enumerate(reference, 1):
        diagonal, row[0] = row[0], place
        for column, word in enumerate(heard, 1):
            cost = min(diagonal + (word != expected), row[column] + 1, row[column - 1] + 1)
            diagonal, row[column] = row[column], cost
    return row[-1]


def differences(reference: Sequence[str], heard: Sequence[str]) -> list[str]:
    """Return the differences of the two as text; ``edits`` counts them."""
    matcher = difflib.SequenceMatcher(a=reference, b=heard, autojunk=False)
    return [
        f"{' '.join(reference[a:b]) or '-'} → {' '.join(heard[c:d]) or '-'}"
        for kind, a, b, c, d in matcher.get_opcodes()
        if kind != "equal"
    ]


# --- recordings ----------------------------------------------------------------------------


def recordings(folder: Path, only: str) -> Iterable[Recording]:
    for file in sorted(folder.glob("*.wav")):
        transcript = file.with_suffix(".txt")
        if transcript.is_file() and only in file.name:
            yield read(file, transcript.read_text("utf-8"))


def read(file: Path, transcript: str) -> Recording:
    """A mono WAVE file, of 16-bit or mu-law samples; the wave module does not support mu-law."""
    raw = file.read_bytes()
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(raw):
        size = int.from_bytes(raw[at + 4 : at + 8], "little")
        chunks[raw[at : at + 4]] = raw[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    tag, channels, rate = (
        int.from_bytes(chunks[b"fmt "][low:high], "little")
        for low, high in ((0, 2), (2, 4), (4, 8))
    )
    if channels != 1 or tag not in (_PCM, _MULAW):
        sys.exit(f"{file}: expected mono, 16-bit PCM or mu-law")
    without_speakers = re.sub(r"^[A-Z]: ", "", transcript, flags=re.MULTILINE)
    width = 2 if tag == _PCM else 1
    return Recording(file.stem, rate, width, chunks[b"data"], words_of(without_speakers))


# --- streaming -----------------------------------------------------------------------------


async def stream(recording: Recording, engines: Engines, speed: float) -> Result:
    encoding = "pcm_mulaw" if recording.width == 1 else "pcm_s16le"
    query = f"?sample_rate={recording.rate}&encoding={encoding}"
    cpu = cpu_seconds(engines.pid)
    heard: list[str] = []
    finals: list[float] = []
    partials: list[float] = []
    async with connect(engines.stt_url + query, proxy=None, compression=None) as socket:
        await socket.recv()  # Begin
        begun = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, socket, recording, speed)
            async for frame in socket:
                message = cast("dict[str, Any]", json.loads(frame))
                if message["type"] != "Turn" or not message["words"]:
                    continue
                spoken = begun + message["words"][-1]["end"] / 1000 / speed
                delay = (time.perf_counter() - spoken) * 1000
                if message["end_of_turn"]:
                    heard += words_of(message["transcript"])
                    finals.append(delay)
                else:
                    partials.append(delay)
    cpu = cpu_seconds(engines.pid) - cpu
    errors = edits(recording.reference, heard)
    expected = len(recording.reference)
    misheard = differences(recording.reference, heard)
    return Result(
        recording.name, recording.seconds, expected, errors, finals, partials, cpu, misheard
    )


async def send(socket: ClientConnection, recording: Recording, speed: float) -> None:
    size = round(recording.rate * FRAME) * recording.width
    begun = anyio.current_time()
    for at in range(0, len(recording.data), size):
        # a microphone hands over a frame when its last sample was spoken
        await anyio.sleep_until(begun + (at + size) / recording.width / recording.rate / speed)
        await socket.send(recording.data[at : at + size])
    await socket.send('{"type":"Terminate"}')


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, on Linux; 0 elsewhere."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- report --------------------------------------------------------------------------------


def show(result: Result) -> None:
    print(
        f"{result.name:<40} {result.seconds:6.1f} s  {result.words:4d} words  "
        f"WER {100 * result.errors / result.words:5.1f} %  "
        f"final {percentile(result.finals, 50):5.0f} / {percentile(result.finals, 95):5.0f} ms  "
        f"partial {percentile(result.partials, 50):4.0f} ms  "
        f"cpu {result.cpu / result.seconds:4.2f}",
        flush=True,
    )


def percentile(values: Sequence[float], share: int) -> float:
    if len(values) < 2:
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


def total(results: Sequence[Result]) -> Result:
    return Result(
        "total",
        sum(result.seconds for result in results),
        sum(result.words for result in results),
        sum(result.errors for result in results),
        [delay for result in results for delay in result.finals],
        [delay for result in results for delay in result.partials],
        sum(result.cpu for result in results),
        [],
    )


def summary(results: Sequence[Result], whole: Result, engines: Engines, speed: float) -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=REPO, capture_output=True, check=False
    )
    return json.dumps(
        {
            "bench": "wer",
            "commit": commit.stdout.decode().strip(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "python": platform.python_version(),
            "ctranslate2": version("ctranslate2"),
            "model": engines.stt_model,
            "speed": speed,
            "wer_percent": {r.name: round(100 * r.errors / r.words, 1) for r in (*results, whole)},
            "n_finals": len(whole.finals),
            "final_ms": {f"p{p}": round(percentile(whole.finals, p)) for p in (50, 95, 99)},
            "n_partials": len(whole.partials),
            "partial_ms": {f"p{p}": round(percentile(whole.partials, p)) for p in (50, 95, 99)},
            "cpu_share": round(whole.cpu / whole.seconds, 3),
        }
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--audio", type=Path, help="folder of NAME.wav with NAME.txt")
    parser.add_argument("--speed", type=float, default=1.0, help="times real time")
    parser.add_argument("--only", default="", help="files with this in their name")
    parser.add_argument("--whisper", default="", help="another CTranslate2 Whisper folder")
    parser.add_argument("--differences", action="store_true", help="print what was misheard")
    options = parser.parse_args()
    folder = options.audio or PLACES[0]
    if not folder.is_dir():
        print(f"{folder} is missing: taking the samples that are shipped", file=sys.stderr)
        folder = PLACES[1]
    chosen = list(recordings(folder, options.only))
    if not chosen:
        sys.exit(f"{folder}: no NAME.wav with NAME.txt")
    settings = LocalSettings(whisper=options.whisper)
    async with start_engines(settings, lambda line: print(line, file=sys.stderr)) as engines:
        await stream(chosen[0], engines, 8.0)  # warm-up
        results: list[Result] = []
        for recording in chosen:
            results.append(await stream(recording, engines, options.speed))
            show(results[-1])
            if options.differences:
                print("\n".join(f"    {line}" for line in results[-1].misheard))
    whole = total(results)
    show(whole)
    print(summary(results, whole, engines, options.speed))


if __name__ == "__main__":
    anyio.run(main)
