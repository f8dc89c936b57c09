"""Live audio brought to the rate that speech is recognised at. The second door to PyAV."""

from typing import TYPE_CHECKING

from pipeline.audio.pcm import SAMPLE_RATE

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame


class Resampler:
    """Makes 16 kHz, or less where it comes slower, of s16le; two channels are mixed to one.

    FFmpeg's resampler rather than soxr: PyAV is here already, soxr would bring numpy along, and
    this one holds back 1 ms only. A millisecond of silence goes ahead, so that as much comes out
    as went in, at once; the last one stays inside.
    """

    def __init__(self, sample_rate: int, *, stereo: bool = False) -> None:
        from av import AudioResampler

        self.sample_rate = min(sample_rate, SAMPLE_RATE)  #: hertz, of what comes out
        self._given = sample_rate
        self._sample = 4 if stereo else 2  # bytes
        self._layout = "stereo" if stereo else "mono"
        self._resampler = AudioResampler(format="s16", layout="mono", rate=self.sample_rate)
        self._rest = b""  # of a sample that is not whole yet
        self._ahead = bytes(-(-sample_rate // 1000) * self._sample)

    def feed(self, data: bytes) -> bytes:
        """Return what ``data`` comes to, whatever its length."""
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
