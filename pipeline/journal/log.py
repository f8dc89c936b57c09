"""Session log: events numbered, encoded once, and visible once they are stored. Pure."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from pipeline.journal.epochs import EpochRuns
from pipeline.journal.snapshot import SnapshotBuilder
from pipeline.protocol.encoding import encoded
from pipeline.protocol.events import Event, Frame, SessionState, type_of

KEEP = 100_000  #: events that a session's log keeps in memory by default

OnVisible = Callable[[Frame], object]
OnStalled = Callable[[str], object]
#: stores a frame of a log; the log is an argument so that neither holds a reference to the other
StoreFrame = Callable[["SessionLog", Frame], object]
#: returns events that follow a number; empty when the first of them was removed
Recall = Callable[[int], Awaitable[Sequence[Frame]]]


class SessionLog:
    """Ordered events of one session, of which the newest ``keep`` are in memory.

    An event is numbered (``head``) before it is visible (``visible``): with a ``store``,
    ``append`` only passes the frame on, and ``confirm`` makes it visible once it is on disk.
    Without a store it is visible at once. Reads return visible events only. ``recall``, if
    set, returns events older than those in memory.
    """

    def __init__(  # noqa: PLR0913 - keywords, each with a default
        self,
        session_id: str,
        *,
        epoch: int = 1,
        head: int = 0,
        earlier: Sequence[tuple[int, int]] = (),
        keep: int = KEEP,
        store: StoreFrame | None = None,
    ) -> None:
        """``earlier`` are the epochs of the events up to ``head``, see ``EpochRuns``."""
        self.session_id = session_id
        self.epoch = epoch
        self._epochs = EpochRuns(earlier)
        self._epochs.begin(head + 1, epoch)
        self.head = head  #: the newest number assigned
        self.visible = head  #: the newest number that subscribers may receive
        self.t = -1  #: of the newest visible event: milliseconds on the audio clock
        self.ts = ""  #: of the newest visible event: wall clock
        self.recall: Recall | None = None  #: for numbers below ``oldest``
        #: called with the reason when the session must end because its events cannot be stored
        self.on_stalled: OnStalled | None = None
        self._keep = keep
        self._store = store
        self._listeners: tuple[OnVisible, ...] = ()
        self._unconfirmed: deque[tuple[Frame, Event]] = deque()
        self._first = head + 1  # the number of _frames[0]
        self._frames: list[Frame] = []
        self._ends: list[int] = []  # visible bytes since the log began, after each frame
        self._bytes = 0
        self._snapshot = SnapshotBuilder()

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
        """Number of events that wait for the store."""
        return self.head - self.visible

    def listen(self, on_visible: OnVisible) -> None:
        """Add a callback for each later frame, called in order as frames become visible."""
        self._listeners = (*self._listeners, on_visible)

    def store_with(self, store: StoreFrame) -> None:
        """Pass events appended from now on to ``store``; each waits for ``confirm``."""
        self._store = store

    def append(self, event: Event, *, t: int, ts: str) -> Frame:
        """Assign the next number to ``event`` and return it as subscribers will receive it.

        If the store raises, the exception propagates and no number is assigned.
        """
        seq = self.head + 1
        event = replace(event, seq=seq, session_id=self.session_id, epoch=self.epoch, t=t, ts=ts)
        event, data = encoded(event)
        frame = Frame(seq, type_of(event), data)
        if self._store is None:
            self.head = seq
            self._make_visible(frame, event)
        else:
            self._store(self, frame)
            self.head = seq
            self._unconfirmed.append((frame, event))
        return frame

    def take_over(self, epoch: int) -> None:
        """Append later events under ``epoch``, that of the present process."""
        assert epoch > self.epoch, f"{epoch} does not follow {self!r}"
        self._begin_epoch(epoch)

    def _begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self._epochs.begin(self.head + 1, epoch)

    @property
    def epochs(self) -> Sequence[tuple[int, int]]:
        """Pairs of a first ``seq`` and its epoch, oldest first."""
        return self._epochs.runs

    def continues(self, seq: int, epoch: int) -> bool:
        """Return whether a subscriber that received ``seq`` under ``epoch`` can go on here."""
        return seq == 0 or self._epochs.contain(seq, epoch)

    def confirm(self, seq: int) -> None:
        """Make everything up to ``seq`` visible, because it is stored now."""
        while self._unconfirmed and self._unconfirmed[0][0].seq <= seq:
            self._make_visible(*self._unconfirmed.popleft())

    def restore(self, frame: Frame, event: Event) -> None:
        """Add an event stored by a previous process, under the epoch of that process."""
        assert frame.seq == self.visible + 1, f"{frame.seq} does not follow {self!r}"
        if event.epoch != self.epoch:
            self._begin_epoch(event.epoch)
        self.head = frame.seq
        self._make_visible(frame, event)

    def read(self, after_seq: int, limit: int) -> Sequence[Frame]:
        """Return at most ``limit`` visible frames after ``after_seq``, oldest first.

        Frames older than ``oldest`` are not in memory: use ``recall`` or ``state``.
        """
        start = max(after_seq + 1, self.oldest) - self._first
        return self._frames[start : start + limit]

    def size(self, after_seq: int) -> int:
        """Return the bytes of JSON after ``after_seq``."""
        start = after_seq + 1 - self._first
        if start >= len(self._ends):
            return 0
        return self._bytes - (self._ends[start - 1] if start > 0 else self._before())

    def state(self) -> SessionState:
        """Return the snapshot of the visible events."""
        return self._snapshot.state()

    @property
    def snapshot(self) -> SnapshotBuilder:
        return self._snapshot

    def _before(self) -> int:
        return self._ends[0] - len(self._frames[0].data)

    def _make_visible(self, frame: Frame, event: Event) -> None:
        self.visible = frame.seq
        self.t, self.ts = event.t, event.ts
        self._bytes += len(frame.data)
        self._frames.append(frame)
        self._ends.append(self._bytes)
        self._snapshot.apply(event)
        if len(self._frames) > self._keep + max(64, self._keep // 8):
            self._trim()
        for on_visible in self._listeners:
            on_visible(frame)

    def _trim(self) -> None:
        spare = len(self._frames) - self._keep
        del self._frames[:spare], self._ends[:spare]
        self._first += spare
