"""Recordings made for a test: sine tones in any container, with gaps, tracks and tags."""

import math
from array import array
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

from pipeline.runtime.downmix import peak

#: codec, container and sample rate by file name ending
KINDS = {
    "mp3": ("mp3", "mp3", 44_100),
    "aac": ("aac", "adts", 44_100),
    "ts": ("aac", "mpegts", 44_100),
    "m4a": ("aac", "mp4", 44_100),
    "flac": ("flac", "flac", 44_100),
    "opus": ("libopus", "ogg", 48_000),
    "webm": ("libopus", "webm", 48_000),
    "mkv": ("libopus", "matroska", 48_000),
    "wav": ("pcm_s16le", "wav", 44_100),
}

Tone = tuple[float, float, int]  #: begin and length in seconds, and hertz; 0 hertz is silence


def sine(seconds: float, hertz: int, rate: int) -> bytes:
    """Return a tone as s16le."""
    turn = 2 * math.pi * hertz / rate
    return array(
        "h", [int(12_000 * math.sin(turn * n)) for n in range(int(seconds * rate))]
    ).tobytes()


def record(
    path: Path, *tracks: Sequence[Tone], rate: int = 0, channels: int = 2, default: int = -1
) -> Path:
    """Write a recording of tones; ``default`` is the track that is marked so."""
    codec, container, usual = KINDS[path.suffix[1:]]
    rate = rate or usual
    file: Any = av.open(str(path), "w", format=container)
    with file as out:
        packets: list[Any] = []
        for number, tones in enumerate(tracks):
            stream: Any = out.add_stream(codec, rate=rate)
            stream.layout = "stereo" if channels == 2 else "mono"
            if default >= 0:
                stream.disposition = Disposition.default if number == default else Disposition(0)
            packets += [packet for tone in tones for packet in _encoded(stream, tone, rate)]
            packets += stream.encode(None)
        packets.sort(key=lambda packet: float((packet.dts or 0) * packet.time_base))
        for packet in packets:
            out.mux(packet)
    return path


def _encoded(stream: Any, tone: Tone, rate: int) -> Iterator[Any]:
    begin, seconds, hertz = tone
    pcm = sine(seconds, hertz, rate)
    frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
    frame.planes[0].update(pcm)
    frame.sample_rate = rate
    fifo = av.AudioFifo()
    resampler = av.AudioResampler(stream.codec_context.format.name, stream.layout, rate)
    for each in resampler.resample(frame):
        each.pts = None
        fifo.write(each)
    at = int(begin * rate)
    while part := fifo.read(stream.codec_context.frame_size or 1024, partial=True):
        part.pts, part.time_base = at, Fraction(1, rate)
        at += part.samples
        yield from stream.encode(part)


def hertz_at(sound: bytes, seconds: float, rate: int = 16_000) -> int:
    """Return the pitch of mono ``sound`` in the 0.5 s from ``seconds``, to 20 Hz; 0 is silence."""
    samples = array("h", sound)[int(seconds * rate) : int((seconds + 0.5) * rate)]
    if peak(samples) < 300:
        return 0
    crossings = sum(before < 0 <= after for before, after in pairwise(samples))
    return round(crossings / 0.5 / 20) * 20
