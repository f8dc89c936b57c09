"""Resampler of live audio to the rate of speech recognition, by PyAV."""

from typing import TYPE_CHECKING

from pipeline.audio.pcm import SAMPLE_RATE

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame


class Resampler:
    """Resamples s16le to 16 kHz, or keeps a lower rate; mixes two channels to one.

    FFmpeg's resampler rather than soxr: PyAV is a dependency already, soxr depends on numpy, and
    this one delays by 1 ms only. One millisecond of silence is fed first, so that the output is
    as long as the input at once; the last millisecond of input stays inside.
    """

    def __init__(self, sample_rate: int, *, stereo: bool = False) -> None:
        from av import AudioResampler

        self.sample_rate = min(sample_rate, SAMPLE_RATE)  #: hertz, of the output
        self._given = sample_rate
        self._sample = 4 if stereo else 2  # bytes
        self._layout = "stereo" if stereo else "mono"
        self._resampler = AudioResampler(format="s16", layout="mono", rate=self.sample_rate)
        self._rest = b""  # of an incomplete sample
        self._ahead = bytes(-(-sample_rate // 1000) * self._sample)

    def feed(self, data: bytes) -> bytes:
        """Return ``data`` resampled; it may have any length."""
        from av.audio.frame import AudioFrame

        data = self._ahead + self._rest + data
        self._ahead = b""
        whole = len(data) - len(data) % self._sample
        self._rest = data[whole:]
        if not whole:
            return b""
        frame = AudioFrame(format="s16", layout=self._layout, samples=whole // self._sample)
        frame.planes[0].update(data[:whole])
        frame.sample_rate = self._given
        return b"".join(map(_bytes, self._resampler.resample(frame)))


def _bytes(frame: "AudioFrame") -> bytes:
    return bytes(frame.planes[0])[: frame.samples * 2]
