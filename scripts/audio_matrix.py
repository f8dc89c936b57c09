"""Matrix of real audio: words heard of words said, over formats, speeds and faults.

Each cell plays one recording to the embedded recogniser: as a file (wav, mp3, webm), or as the
mu-law frames of a Twilio call; at 1 and 8 times real time, and as fast as it is taken (0); without
a fault, with 10 resets of the speech-to-text connection, and with a fail-over to a second engine in
the middle. ``lost`` is what this program lost: seconds of audio that no connection got, and runs
of ``RUN`` words or more that are missing; single words are the recogniser's own mistakes.

    python scripts/audio_matrix.py [--audio FILE.wav] [--formats wav,mulaw] [--speeds 8,0]
        [--faults none,cuts,failover]

The last line is JSON; the exit code is 1 if anything was lost.
"""

import argparse
import difflib
import json
import sys
import tempfile
from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import av
from msgspec import Struct
from websockets.asyncio.client import connect

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from bench_wer import edits, words_of  # noqa: E402

from pipeline.app.app import App  # noqa: E402
from pipeline.app.plan import plan  # noqa: E402
from pipeline.app.startup import open_app  # noqa: E402
from pipeline.audio.formats import description_of  # noqa: E402
from pipeline.audio.pcm import pcm_to_mulaw  # noqa: E402
from pipeline.audio.resample import Resampler  # noqa: E402
from pipeline.audio.sources import FileSource, play  # noqa: E402
from pipeline.config.settings import (  # noqa: E402
    LlmSettings,
    LocalSettings,
    Prompt,
    ServeSettings,
    Settings,
    SttSettings,
)
from pipeline.embedded.process import start_engines  # noqa: E402
from pipeline.hub.server import serve  # noqa: E402
from pipeline.ingest.formats import ADAPTERS  # noqa: E402
from pipeline.protocol.commands import StartCommand  # noqa: E402
from pipeline.protocol.events import (  # noqa: E402
    ErrorEvent,
    Frame,
    SttInterrupted,
    SttResumed,
    TurnCompleted,
    decode_event,
)
from tests.support import FaultProxy, fault_proxy, simulate  # noqa: E402

FORMATS = ("wav", "mp3", "webm", "mulaw")
SPEEDS = ("1", "8", "0")
FAULTS = ("none", "cuts", "failover")
CUTS = 10
RUN = 4  #: missing words in a row that no recogniser mishears
CODECS = {"mp3": "mp3", "webm": "libopus"}

Disturb = Callable[[float], Awaitable[None]]  #: takes the share of the audio that was sent


class Cell(Struct, frozen=True):
    """Result of one cell."""

    format: str
    speed: str
    fault: str
    said: int
    heard: int  #: words that are right
    wrong: int  #: substitutions, insertions and deletions
    losses: int  #: interruptions of speech-to-text
    lost: float  #: seconds of audio, according to the events
    missing: int  #: words in runs of ``RUN`` or more
    doubled: int  #: runs of two words or more that were heard twice
    errors: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        return not (self.lost or self.missing or self.doubled or self.errors)


def converted(wav: Path, kind: str, folder: Path) -> Path:
    """Return ``wav`` in another format."""
    if kind not in CODECS:
        return wav
    path = folder / f"{wav.stem}.{kind}"
    target: Any = av.open(str(path), "w")
    with av.open(str(wav)) as source, target as out:
        stream = out.add_stream(CODECS[kind], rate=48_000)
        for frame in source.decode(audio=0):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def disturbing(fault: str, proxy: FaultProxy) -> Disturb:
    """Return a function that disturbs the connection when its moments have come."""
    moments = {"none": [], "failover": [0.5]}.get(
        fault, [(n + 0.7) / (CUTS + 1) for n in range(CUTS)]
    )

    async def disturb(share: float) -> None:
        while moments and share >= moments[0]:
            moments.pop(0)
            proxy.refuse = fault == "failover"
            await proxy.kill_all("rst")

    return disturb


async def play_file(app: App, path: Path, speed: float, disturb: Disturb) -> None:
    source = await FileSource.open(path)
    start = StartCommand(audio=description_of(source.format))
    async with app.open(start, source=path.name, real_time=speed == 1) as session:

        async def send(frame: bytes) -> None:
            await session.audio(frame)
            await disturb(session.heard / (source.duration or 1))

        await play(source, send, speed=speed)
        await source.aclose()
        await session.finish()


async def play_call(app: App, path: Path, speed: float, disturb: Disturb) -> None:
    """Send the recording as a Twilio call does: mu-law at 8 kHz in frames of 20 ms."""
    source, resampler = await FileSource.open(path), Resampler(16_000)
    sound = b""
    while frames := await source.read():
        sound += resampler.feed(b"".join(frames))
    await source.aclose()
    law = pcm_to_mulaw(to_8_khz(sound))
    async with (
        serve(app, ServeSettings(port=0), adapters=ADAPTERS) as hub,
        connect(f"{hub.url}/v1/ingest/twilio", proxy=None, compression=None) as socket,
    ):
        call = {"streamSid": "MZ1", "start": {"streamSid": "MZ1", "tracks": ["inbound"]}}
        await socket.send(json.dumps({"event": "start", "sequenceNumber": "1", **call}))
        begun = anyio.current_time()
        for number, at in enumerate(range(0, len(law), 160)):
            if speed:
                await anyio.sleep_until(begun + at / 8000 / speed)
            await socket.send(media(number, law[at : at + 160]))
            await disturb(at / len(law))
        await socket.send(json.dumps({"event": "stop", "streamSid": "MZ1"}))
        async for _ in socket:
            pass  # until the session has ended


def media(number: int, chunk: bytes) -> str:
    payload = b64encode(chunk).decode()
    fields = {"track": "inbound", "timestamp": str(20 * number), "payload": payload}
    message = {"event": "media", "sequenceNumber": str(number + 2), "streamSid": "MZ1"}
    return json.dumps({**message, "media": fields})


def to_8_khz(sound: bytes) -> bytes:
    frame = av.AudioFrame(format="s16", layout="mono", samples=len(sound) // 2)
    frame.planes[0].update(sound)
    frame.sample_rate = 16_000
    resampler = av.AudioResampler("s16", "mono", 8000)
    done = [*resampler.resample(frame), *resampler.resample(None)]
    return b"".join(bytes(each.planes[0])[: each.samples * 2] for each in done)


@asynccontextmanager
async def service(
    stt: str, others: Sequence[str], llm: str, take: Callable[[Frame], object]
) -> AsyncGenerator[App]:
    settings = Settings(
        stt=SttSettings(engine=stt, engines=tuple(others), key="env:NONE", close_timeout=30.0),
        llm=LlmSettings(engine=llm, key="env:NONE", model="scripted"),
        prompts={"reply": Prompt(policy="queue")},
    )
    async with open_app(
        settings, plan(settings, {}), on_progress=lambda _: None, on_frame=take
    ) as app:
        yield app


def judged(key: tuple[str, str, str], said: Sequence[str], frames: Sequence[Frame]) -> Cell:
    """Return the result of a cell from its events."""
    events = [decode_event(frame.data) for frame in frames]
    turns = [event for event in events if isinstance(event, TurnCompleted)]
    heard = [word for turn in turns for word in words_of(turn.text)]
    resumed = [event for event in events if isinstance(event, SttResumed)]
    blocks = difflib.SequenceMatcher(a=said, b=heard, autojunk=False).get_opcodes()
    gone = [a2 - a1 - (b2 - b1) for kind, a1, a2, b1, b2 in blocks if kind != "equal"]
    pairs = list(pairwise(heard))
    return Cell(
        *key,
        said=len(said),
        heard=sum(a2 - a1 for kind, a1, a2, _, _ in blocks if kind == "equal"),
        wrong=edits(said, heard),
        losses=sum(isinstance(event, SttInterrupted) for event in events),
        lost=sum((event.lost_to or 0) - (event.lost_from or 0) for event in resumed),
        missing=sum(count for count in gone if count >= RUN),
        doubled=sum(one == other for one, other in zip(pairs, pairs[2:], strict=False)),
        errors=tuple(event.error.message for event in events if isinstance(event, ErrorEvent)),
    )


async def cell(
    key: tuple[str, str, str], path: Path, said: Sequence[str], engine: str, llm: str
) -> Cell:
    kind, speed, fault = key
    frames: list[Frame] = []
    async with fault_proxy(engine) as proxy:
        others = [engine] if fault == "failover" else []
        async with service(proxy.url, others, llm, frames.append) as app:
            run = play_call if kind == "mulaw" else play_file
            await run(app, path, float(speed), disturbing(fault, proxy))
    return judged(key, said, frames)


async def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--audio", type=Path, default=REPO / "samples/audio/jfk-inaugural.wav")
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--speeds", default=",".join(SPEEDS))
    parser.add_argument("--faults", default=",".join(FAULTS))
    options = parser.parse_args()
    said = words_of(options.audio.with_suffix(".txt").read_text("utf-8"))
    cells: list[Cell] = []
    async with (
        start_engines(LocalSettings(), lambda line: print(line, file=sys.stderr)) as engines,
        simulate([]) as sim,
    ):
        with tempfile.TemporaryDirectory() as folder:
            for kind in options.formats.split(","):
                path = converted(options.audio, kind, Path(folder))
                for speed in options.speeds.split(","):
                    for fault in options.faults.split(","):
                        key = (kind, speed, fault)
                        done = await cell(key, path, said, engines.stt_url, sim.llm_url)
                        cells.append(done)
                        show(done)
    print(json.dumps({"said": len(said), "cells": len(cells), "whole": sum(map(whole, cells))}))
    return 0 if all(map(whole, cells)) else 1


def whole(done: Cell) -> bool:
    return done.is_whole


def show(done: Cell) -> None:
    print(
        f"{done.format:<6} {done.speed:>2}x  {done.fault:<9} {done.heard:4d} of {done.said} words,"
        f" {done.wrong} wrong; {done.losses} interruptions; lost by us: {done.lost:.1f} s,"
        f" {done.missing} words; doubled: {done.doubled}"
        + "".join(f"\n    {error}" for error in done.errors),
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(anyio.run(main))
