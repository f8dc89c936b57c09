"""Two sides of a telephone call, interleaved by their timestamps. Pure."""

from pipeline.errors import InputError
from pipeline.protocol.commands import AudioFormat

SIDES = ("inbound", "outbound")
SPEAKERS = ("caller", "agent")
PATIENCE = 0.2  #: seconds that one side may be ahead before the other is filled with silence
SLACK = 0.005  #: seconds of timestamp jitter that are not a gap
LONGEST_GAP = 10.0  #: seconds; longer gaps are not filled, which bounds the memory
#: seconds that a chunk may be late; a timestamp that goes back further begins a new count
LATEST = 1.0


class Tracks:
    """Interleaves both sides, mu-law; each chunk is placed by its timestamp.

    Audio for a position already returned is dropped, and gaps are silence. Timestamps may begin
    again; a side whose timestamps never change keeps the order of arrival.
    """

    def __init__(self, sample_rate: int, slack: float = SLACK) -> None:
        self._rate = sample_rate
        self._slack = slack  # seconds
        self._held = {side: bytearray() for side in SIDES}
        self._done = 0  # samples returned
        # milliseconds, of the first sample; a side without one has that of the other
        self._origins: dict[str, int] = {}
        self._stamps: dict[str, int] = {}  # the last timestamp of each side

    def feed(self, side: str, timestamp: int | None, chunk: bytes) -> bytes:
        """Return the complete audio; ``timestamp`` is in milliseconds, none follows the last."""
        held = self._held[side]
        at = len(held)
        if timestamp is not None and timestamp != self._stamps.get(side):
            self._stamps[side] = timestamp
            at = self._place(side, timestamp, at)
        if at < 0:
            chunk, at = chunk[-at:], 0
        if at > len(held):
            held.extend(b"\xff" * (at - len(held)))
        held[at : at + len(chunk)] = chunk
        lengths = [len(one) for one in self._held.values()]
        return self._give(max(min(lengths), max(lengths) - int(PATIENCE * self._rate)))

    def flush(self) -> bytes:
        """Return all buffered audio."""
        return self._give(max(len(one) for one in self._held.values()))

    def _place(self, side: str, timestamp: int, end: int) -> int:
        """Return the position of a chunk in the buffer, in samples; negative is too late."""
        own = self._origins.get(side)
        others = [origin for other, origin in self._origins.items() if other != side]
        for origin in [*([] if own is None else [own]), *others]:
            at = (timestamp - origin) * self._rate // 1000 - self._done
            if -LATEST * self._rate <= at <= end + LONGEST_GAP * self._rate:
                self._origins[side] = origin
                return end if abs(at - end) <= self._slack * self._rate else at
        self._origins[side] = timestamp - (self._done + end) * 1000 // self._rate
        return end

    def _give(self, samples: int) -> bytes:
        out = bytearray(2 * samples)
        for channel, held in enumerate(self._held.values()):
            out[channel::2] = bytes(held[:samples]).ljust(samples, b"\xff")
            del held[:samples]
        self._done += samples
        return bytes(out)


def both(sample_rate: int, speakers: str | None) -> AudioFormat:
    """Return the format of both sides; ``speakers`` are two names separated by a comma."""
    names = tuple(speakers.split(",")) if speakers else SPEAKERS
    return AudioFormat("pcm_mulaw", sample_rate, 2, separate=True, speakers=names)


def checked(value: str) -> str:
    """Return a valid ``track`` parameter. Raises ``InputError``."""
    if value not in (*SIDES, "both"):
        raise InputError(f"track is {value[:40]!r}; it must be inbound, outbound or both")
    return value


def side(track: str) -> str:
    """Return the side of a chunk. Raises ``InputError``."""
    if track not in SIDES:
        raise InputError(f"media.track is {track[:40]!r}; it must be {SIDES}")
    return track
