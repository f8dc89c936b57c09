"""One session's events in order: numbered, encoded once, and shown when they are safe. Pure."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from pipeline.journal.snapshot import SnapshotBuilder
from pipeline.protocol.events import Event, Frame, SessionState, encode, type_of

KEEP = 100_000  #: events a session's log holds by default

Show = Callable[[Frame], object]
#: takes an event of a log to be stored; is told the log so that neither has to hold the other
Keep = Callable[["SessionLog", Frame], object]
#: returns events from the one behind a number on; empty when that one is gone
Recall = Callable[[int], Awaitable[Sequence[Frame]]]


class SessionLog:
    """The ordered events of one session, of which the newest ``keep`` can be read.

    An event has a place (``head``) before it may be seen (``visible``): with a ``store``,
    ``append`` only hands the frame over, and ``confirm`` shows it once it is on disk.
    Without one it is shown at once. Everything that is read here has been confirmed. What is
    older than memory goes back can be had by ``recall``, where there is one.
    """

    def __init__(
        self,
        session_id: str,
        *,
        epoch: int = 1,
        head: int = 0,
        keep: int = KEEP,
        store: Keep | None = None,
    ) -> None:
        self.session_id = session_id
        self.epoch = epoch
        self.head = head  #: the newest number given
        self.visible = head  #: the newest that may be seen
        self.t = -1  #: of the newest visible event: milliseconds on the audio clock
        self.ts = ""  #: of the newest visible event: wall clock
        self.recall: Recall | None = None  #: for numbers below ``oldest``
        self._keep = keep
        self._store = store
        self._shows: tuple[Show, ...] = ()
        self._unconfirmed: deque[tuple[Frame, Event]] = deque()
        self._first = head + 1  # the number of _frames[0]
        self._frames: list[Frame] = []
        self._ends: list[int] = []  # bytes shown since the log began, after each frame
        self._bytes = 0
        self._picture = SnapshotBuilder()

    def __repr__(self) -> str:
        return (
            f"SessionLog({self.session_id!r}, epoch={self.epoch}, oldest={self.oldest},"
            f" visible={self.visible}, head={self.head})"
        )

    @property
    def oldest(self) -> int:
        """The oldest number in memory; ``visible + 1`` when there is none."""
        return max(self._first, self.visible - self._keep + 1)

    @property
    def unconfirmed(self) -> int:
        """How many events wait for the store."""
        return self.head - self.visible

    def listen(self, show: Show) -> None:
        """Have ``show``, too, called with each frame from now on, in order, once it is visible."""
        self._shows = (*self._shows, show)

    def store_with(self, store: Keep) -> None:
        """Have what is appended from now on given to ``store``, and wait to be confirmed."""
        self._store = store

    def append(self, event: Event, *, t: int, ts: str) -> Frame:
        """Give ``event`` the next place and return it as everybody will receive it.

        Raises what the store raises when it takes no more; then no place was given.
        """
        seq = self.head + 1
        event = replace(event, seq=seq, session_id=self.session_id, epoch=self.epoch, t=t, ts=ts)
        frame = Frame(seq, type_of(event), encode(event))
        if self._store is None:
            self.head = seq
            self._reveal(frame, event)
        else:
            self._store(self, frame)
            self.head = seq
            self._unconfirmed.append((frame, event))
        return frame

    def confirm(self, seq: int) -> None:
        """Show everything up to ``seq``: it is safe now."""
        while self._unconfirmed and self._unconfirmed[0][0].seq <= seq:
            self._reveal(*self._unconfirmed.popleft())

    def restore(self, frame: Frame, event: Event) -> None:
        """Put back an event that was stored in an earlier life; ``epoch`` stays ours."""
        assert frame.seq == self.visible + 1, f"{frame.seq} does not follow {self!r}"
        self.head = frame.seq
        self._reveal(frame, event)

    def read(self, after_seq: int, limit: int) -> Sequence[Frame]:
        """Return at most ``limit`` visible frames behind ``after_seq``, oldest first.

        Empty when there is none. What is older than ``oldest`` is not here: ask for ``recall``,
        or for ``state``.
        """
        start = max(after_seq + 1, self.oldest) - self._first
        return self._frames[start : start + limit]

    def size(self, after_seq: int) -> int:
        """Return how many bytes of JSON stand behind ``after_seq``."""
        start = after_seq + 1 - self._first
        if start >= len(self._ends):
            return 0
        return self._bytes - (self._ends[start - 1] if start > 0 else self._before())

    def state(self) -> SessionState:
        """Return what the visible events add up to."""
        return self._picture.state()

    @property
    def picture(self) -> SnapshotBuilder:
        return self._picture

    def _before(self) -> int:
        return self._ends[0] - len(self._frames[0].data)

    def _reveal(self, frame: Frame, event: Event) -> None:
        self.visible = frame.seq
        self.t, self.ts = event.t, event.ts
        self._bytes += len(frame.data)
        self._frames.append(frame)
        self._ends.append(self._bytes)
        self._picture.apply(event)
        if len(self._frames) > self._keep + max(64, self._keep // 8):
            self._trim()
        for show in self._shows:
            show(frame)

    def _trim(self) -> None:
        spare = len(self._frames) - self._keep
        del self._frames[:spare], self._ends[:spare]
        self._first += spare
