"""Kept audio of a stream, addressed by time: where a resend starts, and what is speech. Pure."""

from pipeline.stt.loudness import level, quiet, speech_share
from pipeline.stt.replay import Replay

ROLL_PAUSE = 0.4  #: seconds of silence that make a pause
SURPLUS = 0.5  #: seconds released in advance while the buffer overflows
#: seconds; audio is sent again from a multiple of it, so that a recogniser that works in steps
#: of 10, 20, 32 or 40 ms gets the same steps as before
GRID = 0.16
CHOICE = 0.5  #: seconds of published audio in which a resend looks for its quietest start


class StreamAudio:
    """A replay buffer with the sample rate and encoding of its bytes."""

    def __init__(self, replay: Replay, bytes_per_second: int, encoding: str) -> None:
        self.replay = replay
        self._bytes_per_second = bytes_per_second
        self._encoding = encoding
        self._frame = bytes_per_second // 20 & ~1  # bytes in 50 ms

    @property
    def kept(self) -> float:
        """Seconds of audio that are kept for a resend."""
        return (self.replay.end - self.replay.start) / self._bytes_per_second

    @property
    def end(self) -> float:
        """Seconds of audio so far."""
        return self.replay.end / self._bytes_per_second

    def align(self, seconds: float) -> int:
        """Return the byte position of ``seconds``, on a whole sample."""
        return int(max(0.0, seconds) * self._bytes_per_second) & ~1

    def release_before(self, seconds: float) -> None:
        """Release the audio before ``seconds``, up to the last step of ``GRID``."""
        grid = self.align(GRID)
        self.replay.release(self.align(seconds) // grid * grid)

    def resend_from(self, ended: float) -> int:
        """Return the byte to send again from: a quiet moment before ``ended``, in seconds.

        No word is cut there. Words of the ended turn that are recognised again are dropped by
        the stitching.
        """
        first, grid = self.replay.first(self.align(SURPLUS)), self.align(GRID)
        start = -(-first // grid) * grid
        published = min(self.align(ended), self.replay.end)
        positions = range(start, min(start + self.align(CHOICE), published), grid)
        return min(
            reversed(positions),
            key=lambda at: level(self.replay.read(at, self._frame), self._encoding),
            default=first,
        )

    def lost(self, ended: float) -> tuple[float | None, float | None]:
        """Return the range in seconds that is gone and was not published, once per loss."""
        gone = self.replay.lost()
        if gone is None:
            return None, None
        # a little more than what is not published yet was kept
        return max(gone[0] / self._bytes_per_second, ended), gone[1] / self._bytes_per_second

    def speech_share(self, seconds: float) -> float:
        """Return the share of speech in the latest audio, 0 to 1."""
        return speech_share(self._latest(seconds), self._encoding)

    def is_pause(self) -> bool:
        """Return whether the latest audio is a pause of ``ROLL_PAUSE``."""
        latest = self._latest(ROLL_PAUSE)
        return all(quiet(latest[: n + 1], self._encoding) for n in range(1, len(latest)))

    def _latest(self, seconds: float) -> list[bytes]:
        """Return the newest audio in 50 ms frames."""
        end, frame = self.replay.end, self._frame
        start = max(end - int(seconds * 20) * frame, self.replay.start)
        return [self.replay.read(at, frame) for at in range(start, end, frame)]
