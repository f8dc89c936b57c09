"""The two sides of a telephone call, put side by side by their timestamps. Pure."""

from pipeline.errors import InputError
from pipeline.protocol.commands import AudioFormat

SIDES = ("inbound", "outbound")
SPEAKERS = ("caller", "agent")
PATIENCE = 0.2  #: seconds that one side may be ahead; then the other is silent
SLACK = 0.005  #: seconds by which a timestamp may be off without a gap being meant
LONGEST_GAP = 10.0  #: seconds; a longer one is not filled, so that no timestamp fills our memory


class Tracks:
    """Interleaves both sides, mu-law; each chunk goes where its timestamp says.

    What comes after its place has been given out is dropped, and where nothing came is silence.
    """

    def __init__(self, sample_rate: int, slack: float = SLACK) -> None:
        self._rate = sample_rate
        self._slack = slack  # seconds
        self._held = {side: bytearray() for side in SIDES}
        self._done = 0  # samples given out
        self._origin: int | None = None  # milliseconds, of the first sample

    def feed(self, side: str, timestamp: int | None, chunk: bytes) -> bytes:
        """Return what is ready; ``timestamp`` is in milliseconds, none is right behind the last."""
        held = self._held[side]
        at = len(held) if timestamp is None else self._place(timestamp, len(held))
        if at < 0:
            chunk, at = chunk[-at:], 0
        if at > len(held):
            held.extend(b"\xff" * (at - len(held)))
        held[at : at + len(chunk)] = chunk
        lengths = [len(one) for one in self._held.values()]
        return self._give(max(min(lengths), max(lengths) - int(PATIENCE * self._rate)))

    def flush(self) -> bytes:
        """Return everything that is held."""
        return self._give(max(len(one) for one in self._held.values()))

    def _place(self, timestamp: int, end: int) -> int:
        """Return the sample among those held where a chunk belongs; negative is too late."""
        if self._origin is None:
            self._origin = timestamp
        at = (timestamp - self._origin) * self._rate // 1000 - self._done
        if at - end > LONGEST_GAP * self._rate:
            self._origin += (at - end) * 1000 // self._rate
            return end
        return end if abs(at - end) <= self._slack * self._rate else at

    def _give(self, samples: int) -> bytes:
        out = bytearray(2 * samples)
        for channel, held in enumerate(self._held.values()):
            out[channel::2] = bytes(held[:samples]).ljust(samples, b"\xff")
            del held[:samples]
        self._done += samples
        return bytes(out)


def both(sample_rate: int, speakers: str | None) -> AudioFormat:
    """Return what a session is given of both sides; ``speakers`` names them, commas between."""
    names = tuple(speakers.split(",")) if speakers else SPEAKERS
    return AudioFormat("pcm_mulaw", sample_rate, 2, separate=True, speakers=names)


def checked(wish: str) -> str:
    """Return which sides a source wants heard. Raises ``InputError``."""
    if wish not in (*SIDES, "both"):
        raise InputError(f"track is {wish[:40]!r}; it must be inbound, outbound or both")
    return wish


def side(track: str) -> str:
    """Return the side that a chunk is of. Raises ``InputError``."""
    if track not in SIDES:
        raise InputError(f"media.track is {track[:40]!r}; it must be {SIDES}")
    return track
