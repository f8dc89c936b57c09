"""PCM: formats, mu-law, frames, and the clock of audio positions. Pure."""

from array import array
from bisect import bisect_left

from msgspec import Struct

from pipeline.protocol.commands import Encoding

SAMPLE_RATE = 16_000  #: hertz, of all decoded audio
FRAME = 0.05  #: seconds; 50 ms is what the vendor recommends (message sequence, 2026-03)

_SAMPLE_BYTES = {"pcm_s16le": 2, "pcm_mulaw": 1}


class Format(Struct, frozen=True):
    """Uncompressed audio: one channel, or several interleaved channels transcribed separately."""

    encoding: Encoding = "pcm_s16le"
    sample_rate: int = SAMPLE_RATE  #: hertz
    speakers: tuple[str, ...] = ()  #: speaker of each channel, if channels are separate

    @property
    def channels(self) -> int:
        return len(self.speakers) or 1

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return _SAMPLE_BYTES[self.encoding] * self.channels

    @property
    def bytes_per_second(self) -> int:
        return self.sample_rate * self.sample_bytes

    @property
    def frame_bytes(self) -> int:
        """Bytes of one 50 ms frame: whole samples, never less than 50 ms."""
        return -(-self.sample_rate // 20) * self.sample_bytes

    def seconds(self, size: int) -> float:
        """Return the duration of ``size`` bytes."""
        return size / self.bytes_per_second

    def silence(self, seconds: float) -> bytes:
        """Return digital silence of this duration."""
        samples = round(seconds * self.sample_rate) * self.channels
        return (b"\xff" if self.encoding == "pcm_mulaw" else b"\0\0") * samples

    def deinterleave(self, frame: bytes) -> list[bytes]:
        """Return the channels of a frame of whole samples, de-interleaved."""
        count = self.channels
        if count == 1:
            return [frame]
        if self.encoding == "pcm_mulaw":
            return [frame[channel::count] for channel in range(count)]
        samples = array("h", frame)
        return [samples[channel::count].tobytes() for channel in range(count)]


class Framer:
    """Splits chunks of any size into 50 ms frames; adds nothing, drops a partial sample."""

    def __init__(self, format: Format) -> None:  # noqa: A002 (the field's term)
        self._size = format.frame_bytes
        self._sample = format.sample_bytes
        self._rest = b""

    @property
    def pending(self) -> int:
        """Number of bytes of the frame that is not complete yet."""
        return len(self._rest)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the frames completed by ``chunk``."""
        size = self._size
        if not self._rest and len(chunk) == size:
            return [chunk]
        data = self._rest + chunk if self._rest else chunk
        whole = len(data) - len(data) % size
        self._rest = data[whole:]
        return [data[start : start + size] for start in range(0, whole, size)]

    def flush(self) -> bytes:
        """Return the remaining samples, less than a frame and possibly empty."""
        rest, self._rest = self._rest, b""
        return rest[: len(rest) - len(rest) % self._sample]


class AudioClock:
    """Maps audio positions to the time of their arrival, for the last ``marks`` frames.

    Positions are seconds from the first sample; times are on the clock of ``now``.
    """

    def __init__(self, marks: int = 1200, *, real_time: bool = True) -> None:
        """``real_time``: false where audio does not arrive as it was spoken: no time is known."""
        self._real_time = real_time
        self._marks = marks
        self._positions = array("d")
        self._times = array("d")
        self.position = 0.0  #: seconds received so far

    def advance(self, seconds: float, now: float) -> float:
        """Record that ``seconds`` more arrived at ``now``; return the new position."""
        self.position += seconds
        self._positions.append(self.position)
        self._times.append(now)
        if len(self._times) >= 2 * self._marks:
            del self._positions[: self._marks]
            del self._times[: self._marks]
        return self.position

    def heard_at(self, position: float) -> float | None:
        """Return the arrival time of ``position``; None before the first stored mark.

        Inside a frame the audio is assumed to arrive evenly, but never before the previous frame;
        a position that has not arrived counts as the latest one.
        """
        if not self._times or not self._real_time:
            return None
        index = bisect_left(self._positions, position)
        if index == len(self._times):
            return self._times[-1]
        heard = self._times[index] - (self._positions[index] - position)
        if index:
            return max(heard, self._times[index - 1])
        return None if heard < self._times[0] - 1.0 else heard


def _expand(code: int) -> int:
    """Return the 16-bit sample of one mu-law byte (ITU-T G.711, table 2a)."""
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return -magnitude if code & 0x80 else magnitude


_LINEAR = [_expand(code) for code in range(256)]
_LOW = bytes(sample & 0xFF for sample in _LINEAR)
_HIGH = bytes(sample >> 8 & 0xFF for sample in _LINEAR)


def _compress(sample: int) -> int:
    """Return the mu-law byte of one 16-bit sample (ITU-T G.711)."""
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), 32_635) + 0x84
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | magnitude >> exponent + 3 & 0x0F) & 0xFF


_codes: list[bytes] = []  # 64 KiB, created on first use


def mulaw_to_pcm(data: bytes) -> bytes:
    """Expand mu-law to s16le."""
    out = bytearray(2 * len(data))
    out[0::2] = data.translate(_LOW)
    out[1::2] = data.translate(_HIGH)
    return bytes(out)


def pcm_to_mulaw(data: bytes) -> bytes:
    """Compress s16le to mu-law."""
    if not _codes:
        _codes.append(bytes(_compress(s - 65_536 if s > 32_767 else s) for s in range(65_536)))
    table = _codes[0]
    return bytes([table[sample] for sample in memoryview(data).cast("H")])
