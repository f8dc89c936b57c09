"""Conversion of received audio to 16 kHz samples in whole chunks of 32 ms."""

from typing import cast

import numpy as np
import soxr
from numpy.typing import NDArray

from pipeline.embedded.mel import RATE
from pipeline.embedded.recogniser import VAD_SAMPLES

Pcm = NDArray[np.int16]


class AudioInput:
    """Decoder and resampler of one stream. Blocking: resampling takes a millisecond."""

    def __init__(self, sample_rate: int, *, mulaw: bool) -> None:
        self._mulaw = mulaw
        self._half = b""
        self._rest: Pcm = np.zeros(0, np.int16)
        self._resampler = (
            None
            if sample_rate == RATE
            # not int16: it would add dither that depends on the frame boundaries, and an unsure
            # recogniser then outputs other words
            else soxr.ResampleStream(sample_rate, RATE, 1, dtype="float32", quality="HQ")
        )

    def chunks(self, frame: bytes) -> Pcm:
        """Return the chunks completed by this frame."""
        return self._cut(self._at_rate(self._samples(frame), last=False))

    def flush(self) -> Pcm:
        """Return the end of the audio, padded with silence to a whole chunk."""
        tail = self._at_rate(np.zeros(0, np.int16), last=True)
        missing = -(tail.size + self._rest.size) % VAD_SAMPLES
        return self._cut(np.concatenate((tail, np.zeros(missing, np.int16))))

    def _samples(self, frame: bytes) -> Pcm:
        if self._mulaw:
            return _MULAW[np.frombuffer(frame, np.uint8)]
        frame = self._half + frame
        whole = len(frame) & ~1
        self._half = frame[whole:]
        return np.frombuffer(frame[:whole], "<i2").astype(np.int16, copy=False)

    def _at_rate(self, samples: Pcm, *, last: bool) -> Pcm:
        if self._resampler is None:
            return samples
        given = samples.astype(np.float32)
        exact = cast("NDArray[np.float32]", self._resampler.resample_chunk(given, last=last))
        return np.clip(np.rint(exact), -32768, 32767).astype(np.int16)

    def _cut(self, samples: Pcm) -> Pcm:
        samples = np.concatenate((self._rest, samples))
        whole = samples.size - samples.size % VAD_SAMPLES
        self._rest = samples[whole:]
        return samples[:whole]


class AudioBuffer:
    """Buffer of the audio that may still be decoded, addressed by chunk."""

    def __init__(self) -> None:
        self._samples: Pcm = np.zeros(0, np.int16)
        self._first = 0

    def append(self, samples: Pcm) -> None:
        self._samples = np.concatenate((self._samples, samples))

    def drop_before(self, before: int) -> None:
        """Drop the audio before this chunk; done once per second of audio, not per chunk."""
        gone = before - self._first
        if gone * VAD_SAMPLES >= RATE:
            self._samples = self._samples[gone * VAD_SAMPLES :].copy()
            self._first = before

    def between(self, start: int, end: int) -> NDArray[np.float32]:
        low, high = ((at - self._first) * VAD_SAMPLES for at in (start, end))
        return self._samples[low:high].astype(np.float32) / 32768.0


def _mulaw_table() -> Pcm:
    """G.711 mu-law: sign, three bits of exponent, four of mantissa, all inverted; bias 132."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent = (code >> 4 & 0x07).astype(np.int32)
    magnitude = (((code & 0x0F).astype(np.int32) << 3) + 132 << exponent) - 132
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


_MULAW = _mulaw_table()
