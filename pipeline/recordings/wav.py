"""Header of a WAV file with 16-bit samples. Pure."""

import struct

from msgspec import Struct

HEADER_BYTES = 44  #: bytes before the first sample
MAX_AUDIO_BYTES = (1 << 32) - 1 - HEADER_BYTES  #: bytes of samples: RIFF counts with 32 bits

_PCM = 1  # format tag
_BITS = 16  # per sample
_LAYOUT = struct.Struct("<4sI4s4sIHHIIHH4sI")


class WavFormat(Struct, frozen=True):
    """Sample rate and number of channels of 16-bit audio."""

    sample_rate: int  #: hertz
    channels: int = 1  #: interleaved

    @property
    def block(self) -> int:
        """Bytes of one frame: one sample of every channel."""
        return self.channels * _BITS // 8


def header_of(wav_format: WavFormat, size: int) -> bytes:
    """Return the header for ``size`` bytes of samples."""
    rate, block = wav_format.sample_rate, wav_format.block
    form = (16, _PCM, wav_format.channels, rate, rate * block, block, _BITS)
    return _LAYOUT.pack(b"RIFF", size + HEADER_BYTES - 8, b"WAVE", b"fmt ", *form, b"data", size)


def wav_format_in(head: bytes) -> WavFormat | None:
    """Return the format in a header that this module wrote; None for any other header."""
    if len(head) < HEADER_BYTES:
        return None
    *_, tag, channels, rate, _, _, bits, _, _ = _LAYOUT.unpack(head[:HEADER_BYTES])
    wav_format = WavFormat(rate, channels)
    return wav_format if (tag, bits) == (_PCM, _BITS) and _is_own_header(head, wav_format) else None


def _is_own_header(head: bytes, wav_format: WavFormat) -> bool:
    """Return whether all fields except the lengths are as this module writes them."""
    plain = header_of(wav_format, 0)
    return head[:4] == plain[:4] and head[8:40] == plain[8:40]
