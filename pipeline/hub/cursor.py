"""Position of a subscriber in a session's log: filter, merging, resync, eviction. Pure.

Coverage. Every number of a session's log is covered exactly once for a subscriber, in order. A
frame covers ``from_seq`` (``seq`` if it is absent) to ``seq``; a heartbeat covers everything up
to its ``head``. An event that a filter removes is covered by the next of these. So the next frame
starts directly after the last frame's ``seq`` or the last heartbeat's ``head``, whichever is
newer; only ``session.resync`` may go back, and states from where. The resync of an empty log has
no ``seq``: its range ends at 0.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from fnmatch import fnmatchcase
from typing import Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipeline.hub.frames import covering
from pipeline.protocol.close_codes import CloseCode, Disconnect
from pipeline.protocol.events import (
    Frame,
    Heartbeat,
    ResponseDelta,
    SessionResync,
    SessionState,
    encode,
)


class Filter:
    """Filter of a subscription by globs of event types; without globs, all events pass."""

    __slots__ = ("_matches", "globs")

    def __init__(self, globs: Sequence[str] = ()) -> None:
        if len(globs) > 32 or any(len(glob) > 64 for glob in globs):
            raise Disconnect(
                "events: at most 32 patterns of 64 characters", code=CloseCode.BAD_REQUEST
            )
        self.globs = tuple(globs)
        self._matches: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self.globs)

    def __call__(self, kind: str) -> bool:
        match = self._matches.get(kind)
        if match is None:
            match = not self.globs or any(fnmatchcase(kind, glob) for glob in self.globs)
            self._matches[kind] = match
        return match


# --- merging ---------------------------------------------------------------------------------

DELTA = "response.output_text.delta"
REPLACING = frozenset({"turn.updated", "turn.completed"})


class _TurnNumber(Struct):
    turn: int


class _DeltaText(Struct):
    response_id: str
    delta: str


_turn_number = msgspec.json.Decoder(_TurnNumber)
_delta_text = msgspec.json.Decoder(_DeltaText)
_response_delta = msgspec.json.Decoder(ResponseDelta)


def merged(frames: Sequence[Frame]) -> list[Frame]:
    """Return fewer frames with the same content, for subscribers that are behind.

    A ``turn.updated`` whose text a later frame replaces is omitted, and successive deltas of one
    response become one. Each frame has the newest number that it covers.
    """
    result: list[Frame] = []
    run: list[_DeltaText] = []  # the deltas merged into result[-1]
    for frame in _without_replaced(frames):
        piece = _delta_text.decode(frame.data) if frame.type == DELTA else None
        if piece is None:
            _finish(result, run)
            run = []
        elif run and run[0].response_id == piece.response_id:
            run.append(piece)
            result[-1] = frame
            continue
        else:
            _finish(result, run)
            run = [piece]
        result.append(frame)
    _finish(result, run)
    return result


def _finish(result: list[Frame], run: list[_DeltaText]) -> None:
    if len(run) > 1:
        last = result[-1]
        event = _response_delta.decode(last.data)
        whole = replace(event, delta="".join(piece.delta for piece in run))
        result[-1] = Frame(last.seq, last.type, encode(whole))


def _without_replaced(frames: Sequence[Frame]) -> list[Frame]:
    kept: list[Frame] = []
    replaced: set[int] = set()
    for frame in reversed(frames):
        if frame.type in REPLACING:
            turn = _turn_number.decode(frame.data).turn
            if frame.type == "turn.updated" and turn in replaced:
                continue
            replaced.add(turn)
        kept.append(frame)
    kept.reverse()
    return kept


# --- position of one subscription ------------------------------------------------------------


class EventLog(Protocol):
    """Read access to a session's log; ``journal.log.SessionLog`` satisfies it."""

    session_id: str
    epoch: int
    visible: int
    t: int
    ts: str

    @property
    def oldest(self) -> int: ...

    @property
    def recall(self) -> Callable[[int], Awaitable[Sequence[Frame]]] | None: ...

    def continues(self, seq: int, epoch: int) -> bool: ...

    def read(self, after_seq: int, limit: int) -> Sequence[Frame]: ...

    def size(self, after_seq: int) -> int: ...

    def state(self) -> SessionState: ...


class CursorLimits(Struct, frozen=True, kw_only=True):
    """Limits past which a subscriber that is behind receives the state instead of the events."""

    events: int = 1000
    size: int = 1 << 20  #: bytes of JSON
    seconds: float = 10.0
    resyncs: int = 3  #: at most, within ``window``; then the socket is closed with 4008
    window: float = 60.0  #: seconds
    batch: int = 256  #: events read from the log at a time
    batch_size: int = 1 << 16  #: bytes of JSON written at a time


LIMITS = CursorLimits()


class Cursor:
    """Position of one subscription in the log of its session.

    Starts with an exact replay up to the head of that moment, then is live. Once live and
    behind, ``take`` merges frames; past a limit it returns the state; past the limit too often
    it raises ``Disconnect``. If the log grew beyond the limits during a replay, the replay
    continues as long as the remaining part gets shorter.
    """

    __slots__ = ("_behind_since", "_left", "_limits", "_log", "_recalled", "_replay_to", "_resync",
                 "_resyncs", "covered", "event_filter", "seen")  # fmt: skip

    def __init__(
        self,
        log: EventLog,
        *,
        after_seq: int | None = None,
        epoch: int | None = None,
        event_filter: Filter | None = None,
        limits: CursorLimits = LIMITS,
    ) -> None:
        head = log.visible
        self._log = log
        self._limits = limits
        self.event_filter = event_filter or Filter()
        self.seen = head if after_seq is None else max(0, min(after_seq, head))
        self.covered = self.seen  #: the newest number covered by the frames sent
        self._replay_to = head
        self._left = head - self.seen  # when the replay started, or was extended
        self._recalled: Sequence[Frame] = ()  # after ``seen``, but older than memory
        self._behind_since: float | None = None
        self._resyncs: deque[float] = deque()
        self._resync: str | None = None
        if after_seq is not None and after_seq > head:
            self._resync = "ahead"
        elif epoch is not None and not log.continues(self.seen, epoch):
            self._resync = "epoch"  # a position in another history
        if self._resync is not None:
            self.seen = self.covered = 0

    @property
    def behind(self) -> bool:
        return self._resync is not None or self.seen < self._log.visible

    @property
    def needs_recall(self) -> bool:
        """Whether the next frames are not in memory: call ``add_recalled`` before ``take``."""
        return (
            self._resync is None
            and self.seen + 1 < self._log.oldest
            and not self._has_recalled
            and self._log.recall is not None
        )

    def add_recalled(self, frames: Sequence[Frame]) -> None:
        """Set the recalled frames that ``take`` returns next; without any it returns the state."""
        self._recalled = frames

    @property
    def _has_recalled(self) -> bool:
        return bool(self._recalled) and self._recalled[0].seq == self.seen + 1

    def advance(self, seq: int) -> None:
        """Record that ``seq``, the number after ``seen``, was sent."""
        self.seen = self.covered = seq

    def heartbeat(self) -> bytes:
        """Return a heartbeat that covers everything up to ``seen``.

        After sending it, set ``covered`` to ``seen``. Not to be called while ``behind``.
        """
        log = self._log
        return encode(Heartbeat(session_id=log.session_id, epoch=log.epoch, head=self.seen))

    def take(self, now: float) -> list[bytes]:
        """Return the JSON texts to send now and count them as sent; call again while ``behind``.

        Raises ``Disconnect`` when the subscriber is too slow and must be closed.
        """
        reason = self._reason_to_resync(now)
        if reason is not None:
            return [self._state(reason)]
        recalled = self._recalled if self._has_recalled else ()
        frames = self._cut(recalled or self._log.read(self.seen, self._limits.batch))
        self._recalled = recalled[len(frames) :]
        texts: list[bytes] = []
        if frames:
            texts = self._texts(frames)
            self.seen = frames[-1].seq
        if not self.behind:
            self._behind_since = None
            self._left = 0
        elif self._behind_since is None and self.seen >= self._replay_to:
            self._behind_since = now
        return texts

    def _texts(self, frames: Sequence[Frame]) -> list[bytes]:
        exact = self.seen < self._replay_to
        passed = frames
        if self.event_filter:
            passed = [frame for frame in frames if self.event_filter(frame.type)]
        texts: list[bytes] = []
        for frame in passed if exact else merged(passed):
            texts.append(covering(frame, self.covered + 1))
            self.covered = frame.seq
        return texts

    def _cut(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        room = self._limits.batch_size
        last = self._replay_to if self.seen < self._replay_to else self._log.visible
        for count, frame in enumerate(frames):
            room -= len(frame.data)
            if count and (room < 0 or frame.seq > last):
                return frames[:count]
        return frames

    def _reason_to_resync(self, now: float) -> str | None:
        if self._resync is not None:
            return self._resync
        if self.seen + 1 < self._log.oldest and not self._has_recalled:
            return "expired"
        if self.seen < self._replay_to or not self._exceeds_limits(now) or self._extend_replay():
            return None
        self._count_resync(now)
        return "slow"

    def _extend_replay(self) -> bool:
        """Extend the replay to the present head if it got closer; return whether it did."""
        left = self._log.visible - self.seen
        if left >= self._left:
            return False
        self._left, self._replay_to, self._behind_since = left, self._log.visible, None
        return True

    def _exceeds_limits(self, now: float) -> bool:
        limits, log = self._limits, self._log
        return (
            log.visible - self.seen > limits.events
            or log.size(self.seen) > limits.size
            or (self._behind_since is not None and now - self._behind_since > limits.seconds)
        )

    def _count_resync(self, now: float) -> None:
        times = self._resyncs
        while times and now - times[0] > self._limits.window:
            times.popleft()
        if len(times) >= self._limits.resyncs:
            raise Disconnect(
                f"too slow: behind again after {len(times)} resyncs in {self._limits.window:g} s",
                code=CloseCode.SLOW,
            )
        times.append(now)

    def _state(self, reason: str) -> bytes:
        log = self._log
        event = SessionResync(
            seq=log.visible,
            from_seq=self.covered + 1,
            session_id=log.session_id,
            epoch=log.epoch,
            t=log.t,
            ts=log.ts,
            state=log.state(),
            reason=reason,
        )
        self._resync = self._behind_since = None
        self._left, self._recalled = 0, ()
        self.seen = self.covered = self._replay_to = log.visible
        return encode(event)
