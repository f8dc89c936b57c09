"""Checks and conversion of source audio: limits, base64, mixing, mu-law and A-law. Pure."""

from array import array
from binascii import Error, a2b_base64
from functools import cache

from pipeline.errors import InputError

MAX_CHANNELS = 8
SAMPLE_RATES = range(8000, 96001)  #: hertz; the range of the vendor's ``sample_rate``
MAX_MESSAGE_BYTES = 1 << 16  #: of audio; 50 ms of 96 kHz stereo is 19,200


def check_rate(sample_rate: int, name: str = "sample_rate") -> None:
    """Raise ``InputError`` if ``sample_rate`` is out of range."""
    if sample_rate not in SAMPLE_RATES:
        raise InputError(
            f"{name} is {sample_rate}; it must be {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]}"
        )


def check_channels(channels: int, name: str = "channels") -> None:
    """Raise ``InputError`` if ``channels`` is out of range."""
    if not 1 <= channels <= MAX_CHANNELS:
        raise InputError(f"{name} is {channels}; it must be 1 to {MAX_CHANNELS}")


def check_size(data: bytes) -> None:
    """Raise ``InputError`` if one message exceeds ``MAX_MESSAGE_BYTES``."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise InputError(f"{len(data)} bytes of audio; at most {MAX_MESSAGE_BYTES} per message")


def from_base64(text: str, name: str) -> bytes:
    """Decode the base64 field ``name``. Raises ``InputError``."""
    try:
        return a2b_base64(text, strict_mode=True)
    except (Error, ValueError) as error:
        raise InputError(f"{name} is not base64: {error}") from error


def samples_from_base64(text: str, name: str) -> bytes:
    """Decode the 16-bit samples of the base64 field ``name``. Raises ``InputError``."""
    data = from_base64(text, name)
    if len(data) % 2:
        raise InputError(f"{name} has {len(data)} bytes; 16-bit samples come in pairs of bytes")
    return data


def mix(data: bytes, channels: int) -> bytes:
    """Return the mean of interleaved 16-bit channels; ``data`` holds whole frames."""
    samples = array("h", data)
    if channels == 2:  # the most common case, in 0.6 of the time
        pairs = zip(samples[::2], samples[1::2], strict=True)
        return array("h", [left + right >> 1 for left, right in pairs]).tobytes()
    parts = [samples[channel::channels] for channel in range(channels)]
    return array("h", [sum(frame) // channels for frame in zip(*parts, strict=True)]).tobytes()


class Mixer:
    """Mixes interleaved 16-bit channels to one, for messages of any length."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self._rest = b""  # of an incomplete frame

    def feed(self, data: bytes) -> bytes:
        if self._channels == 1:
            return data
        data = self._rest + data
        whole = len(data) - len(data) % (2 * self._channels)
        self._rest = data[whole:]
        return mix(data[:whole], self._channels)


def _mulaw(code: int) -> int:
    """Return the 16-bit sample of one mu-law byte (ITU-T G.711, table 2a)."""
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 0x07)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def _alaw(code: int) -> int:
    """Return the 16-bit sample of one A-law byte (ITU-T G.711, table 1a)."""
    code ^= 0x55
    exponent, mantissa = code >> 4 & 0x07, code & 0x0F
    magnitude = (mantissa << 4) + 8
    if exponent:
        magnitude = magnitude + 0x100 << exponent - 1
    return magnitude if code & 0x80 else -magnitude


_MULAW = [_mulaw(code) for code in range(256)]
_ALAW = [_alaw(code) for code in range(256)]
_BYTES = {
    "mulaw": (bytes(s & 0xFF for s in _MULAW), bytes(s >> 8 & 0xFF for s in _MULAW)),
    "alaw": (bytes(s & 0xFF for s in _ALAW), bytes(s >> 8 & 0xFF for s in _ALAW)),
}


def expand(data: bytes, law: str) -> bytes:
    """Expand ``mulaw`` or ``alaw`` to s16le."""
    low, high = _BYTES[law]
    out = bytearray(2 * len(data))
    out[0::2] = data.translate(low)
    out[1::2] = data.translate(high)
    return bytes(out)


def to_mulaw(data: bytes) -> bytes:
    """Convert A-law to the nearest mu-law, byte by byte."""
    return data.translate(_alaw_as_mulaw())


@cache
def _alaw_as_mulaw() -> bytes:
    codes = range(256)
    return bytes(min(codes, key=lambda code: abs(_MULAW[code] - sample)) for sample in _ALAW)
