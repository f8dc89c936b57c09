"""Recognition of audio containers and codecs by their first bytes. Pure.

A recording that is taken for raw PCM is noise to a recogniser, and noise is no error.
"""

from collections.abc import Callable

HEAD = 12  #: bytes that decide, unless they look like a frame of a format without a magic number
MOST_HEAD = 4096  #: bytes; two MPEG audio frames have at most 3,456

#: magic numbers: offset, bytes, name
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (8, b"WAVE", "WAV"),  # after RIFF, RF64 or BW64 and a length
    (0, b"ID3", "MP3"),
    (0, b"OggS", "Ogg"),
    (0, b"fLaC", "FLAC"),
    (0, b"\x1a\x45\xdf\xa3", "WebM or Matroska"),
    (4, b"ftyp", "MP4 or M4A"),
    (4, b"moov", "MP4 or M4A"),
    (8, b"AIFF", "AIFF"),
    (8, b"AIFC", "AIFF"),
    (0, b"caff", "CAF"),
    (0, b".snd", "AU"),
    (0, b"#!AMR", "AMR"),
    (0, b"#!SILK", "SILK"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"),
    (0, b"riff\x2e\x91\xcf\x11", "Wave64"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"FLV\x01", "FLV"),
)

# MPEG audio, ISO/IEC 11172-3 and 13818-3: kilobits per second by index, for layers 1 to 3
_BITRATES_1 = {
    1: (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_BITRATES_2 = {
    1: (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    3: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)  # hertz, of version 1; half in version 2, a quarter in 2.5
_TS_PACKET = 188  # bytes


def container_of(head: bytes) -> str | None:
    """Return the name of the container or codec that begins with ``head``; None for raw audio."""
    for offset, magic, name in _MAGIC:
        if head.startswith(magic, offset):
            return name
    if all(head[at : at + 1] == b"\x47" for at in (0, _TS_PACKET, 2 * _TS_PACKET)):
        return "MPEG transport stream"
    if _repeats(head, _adts_length):
        return "AAC"
    return "MP3" if _repeats(head, _mpeg_length) else None


def is_undecided(head: bytes) -> bool:
    """Return whether more bytes than ``head`` are needed: at most ``MOST_HEAD``."""
    if len(head) < HEAD:
        return True
    framed = head[0] == 0x47 or _adts_length(head) or _mpeg_length(head)
    return bool(framed) and len(head) < MOST_HEAD and container_of(head) is None


def _repeats(head: bytes, length_of: Callable[[bytes], int]) -> bool:
    """Return whether a frame header is followed by another of its kind where the frame ends."""
    length = length_of(head)
    following = head[length:]
    alike = length > 0 and following[:2] == head[:2]
    return alike and length_of(following) > 0


def _adts_length(head: bytes) -> int:
    """Return the bytes of the ADTS frame (ISO/IEC 13818-7) that begins here; 0 if none does."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return 0
    length = (head[3] & 0x03) << 11 | head[4] << 3 | head[5] >> 5
    return length if head[2] >> 2 & 0x0F < 13 and length > 7 else 0


def _mpeg_length(head: bytes) -> int:
    """Return the bytes of the MPEG audio frame that begins here; 0 if none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return 0
    table = _BITRATES_1 if version == 3 else _BITRATES_2
    hertz = _RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    bits_per_second = table[layer][bits - 1] * 1000
    if layer == 1:
        return (12 * bits_per_second // hertz + padding) * 4
    halved = layer == 3 and version != 3
    return (72 if halved else 144) * bits_per_second // hertz + padding
