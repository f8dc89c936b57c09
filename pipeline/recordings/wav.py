"""The head of a WAV file of 16-bit samples. Pure."""

import struct

from msgspec import Struct

HEAD = 44  #: bytes before the first sample
LONGEST = (1 << 32) - 1 - HEAD  #: bytes of samples: RIFF counts with 32 bits

_PCM = 1  # the format's tag
_BITS = 16  # of a sample
_LAYOUT = struct.Struct("<4sI4s4sIHHIIHH4sI")


class Shape(Struct, frozen=True):
    """How samples follow one another."""

    sample_rate: int  #: hertz
    channels: int = 1  #: interleaved

    @property
    def block(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channels * _BITS // 8


def head_of(shape: Shape, size: int) -> bytes:
    """Return what stands before ``size`` bytes of samples."""
    rate, block = shape.sample_rate, shape.block
    form = (16, _PCM, shape.channels, rate, rate * block, block, _BITS)
    return _LAYOUT.pack(b"RIFF", size + HEAD - 8, b"WAVE", b"fmt ", *form, b"data", size)


def shape_in(head: bytes) -> Shape | None:
    """Return what a head of ours says; None for what is none."""
    if len(head) < HEAD:
        return None
    *_, tag, channels, rate, _, _, bits, _, _ = _LAYOUT.unpack(head[:HEAD])
    shape = Shape(rate, channels)
    return shape if (tag, bits) == (_PCM, _BITS) and _is_ours(head, shape) else None


def _is_ours(head: bytes, shape: Shape) -> bool:
    """Whether all but the lengths are as we would write them."""
    plain = head_of(shape, 0)
    return head[:4] == plain[:4] and head[8:40] == plain[8:40]
