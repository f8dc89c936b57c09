"""Loudness of kept audio: a rough measure of speech and pauses, on demand. Pure.

Nothing is computed per frame: levels are taken from the kept frames when a caller needs them.
"""

from collections.abc import Iterable, Sequence

STEP = 8  #: samples; one of so many is measured
NOISE = 500  #: of 32768; a room without speech stays below on most microphones
RATIO = 0.1  #: of the loudest frame; a quieter frame belongs to a pause
PAUSE_FRAMES = 2  #: frames in a row that make a pause

#: mu-law bytes by loudness: the code grows with the magnitude (ITU-T G.711)
_MULAW = bytes((~code & 0x7F) for code in range(256))


def level(frame: bytes, encoding: str) -> int:
    """Return the peak of one frame, 0 to 32768; of compressed audio always the loudest."""
    if encoding == "pcm_s16le":
        samples = memoryview(frame[: len(frame) & ~1]).cast("h")[::STEP]
        return max(max(samples), -min(samples)) if len(samples) else 0
    if encoding == "pcm_mulaw":
        code = max(frame[::STEP].translate(_MULAW), default=0)
        return ((code & 0x0F) << 3) + 0x84 << (code >> 4)
    return 32_768


def quiet(frames: Sequence[bytes], encoding: str) -> bool:
    """Return whether the latest frames are a pause, compared with the loudest of ``frames``."""
    if len(frames) < PAUSE_FRAMES:
        return False
    levels = [level(frame, encoding) for frame in frames]
    return max(levels[-PAUSE_FRAMES:]) < max(NOISE, RATIO * max(levels))


def speech_share(frames: Iterable[bytes], encoding: str) -> float:
    """Return how much of the audio is louder than a quiet room, 0 to 1."""
    levels = [level(frame, encoding) for frame in frames]
    return sum(one > 2 * NOISE for one in levels) / len(levels) if levels else 0.0
