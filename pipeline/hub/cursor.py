"""A subscriber's position in a session's log: filter, merging, resync, eviction. Pure.

Coverage. A subscriber is told of every number of a session's log exactly once, in order. A
frame covers ``from_seq`` (``seq`` where it is absent) to ``seq``; a heartbeat covers everything
up to its ``head``. What a filter holds back is covered by the next of these. So the next frame
begins right behind the last frame's ``seq`` or the last heartbeat's ``head``, whichever is
newer; only ``session.resync`` may go back, and says from where. That of an empty log has no
``seq``: its range ends at 0.
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
    """Which types of events a subscriber asked for; without globs, all."""

    __slots__ = ("_verdicts", "globs")

    def __init__(self, globs: Sequence[str] = ()) -> None:
        if len(globs) > 32 or any(len(glob) > 64 for glob in globs):
            raise Disconnect(
                "events: at most 32 patterns of 64 characters", code=CloseCode.BAD_REQUEST
            )
        self.globs = tuple(globs)
        self._verdicts: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self.globs)

    def __call__(self, kind: str) -> bool:
        verdict = self._verdicts.get(kind)
        if verdict is None:
            verdict = not self.globs or any(fnmatchcase(kind, glob) for glob in self.globs)
            self._verdicts[kind] = verdict
        return verdict


# --- merging ---------------------------------------------------------------------------------

DELTA = "response.output_text.delta"
REPLACING = frozenset({"turn.updated", "turn.completed"})


class _Turn(Struct):
    turn: int


class _Delta(Struct):
    response_id: str
    delta: str


_turn = msgspec.json.Decoder(_Turn)
_delta = msgspec.json.Decoder(_Delta)
_response_delta = msgspec.json.Decoder(ResponseDelta)


def merged(frames: Sequence[Frame]) -> list[Frame]:
    """Return fewer frames that say the same: for those who lag.

    A ``turn.updated`` whose text a later frame replaces is left out, and successive deltas of
    one response become one. Each frame keeps the newest number it stands for.
    """
    result: list[Frame] = []
    run: list[_Delta] = []  # of the deltas merged into result[-1]
    for frame in _without_replaced(frames):
        piece = _delta.decode(frame.data) if frame.type == DELTA else None
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


def _finish(result: list[Frame], run: list[_Delta]) -> None:
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
            turn = _turn.decode(frame.data).turn
            if frame.type == "turn.updated" and turn in replaced:
                continue
            replaced.add(turn)
        kept.append(frame)
    kept.reverse()
    return kept


# --- one subscription's place ----------------------------------------------------------------


class EventLog(Protocol):
    """What is needed of a session's log; ``journal.log.SessionLog`` satisfies it."""

    session_id: str
    epoch: int
    visible: int
    t: int
    ts: str

    @property
    def oldest(self) -> int: ...

    @property
    def recall(self) -> Callable[[int], Awaitable[Sequence[Frame]]] | None: ...

    def read(self, after_seq: int, limit: int) -> Sequence[Frame]: ...

    def size(self, after_seq: int) -> int: ...

    def state(self) -> SessionState: ...


class CursorLimits(Struct, frozen=True, kw_only=True):
    """How far a subscriber may fall behind before it gets the state instead of the events."""

    events: int = 1000
    size: int = 1 << 20  #: bytes of JSON
    seconds: float = 10.0
    resyncs: int = 3  #: so many within ``window``, then it is closed with 4008
    window: float = 60.0  #: seconds
    batch: int = 256  #: events read from the log at a time
    batch_size: int = 1 << 16  #: bytes of JSON written at a time


LIMITS = CursorLimits()


class Cursor:
    """One subscription's place in the log of its session.

    Begins with an exact replay up to the head of that moment, then is live. Once live and
    behind, ``take`` merges; past a limit it gives the state; past that again and again it
    raises ``Disconnect``. A replay that takes so long that the head has run away goes on, as long
    as what is left of it shrinks.
    """

    __slots__ = ("_behind_since", "_left", "_limits", "_log", "_recalled", "_replay_to", "_resync",
                 "_resyncs", "seen", "told", "wants")  # fmt: skip

    def __init__(
        self,
        log: EventLog,
        *,
        after_seq: int | None = None,
        epoch: int | None = None,
        wants: Filter | None = None,
        limits: CursorLimits = LIMITS,
    ) -> None:
        head = log.visible
        self._log = log
        self._limits = limits
        self.wants = wants or Filter()
        self.seen = head if after_seq is None else max(0, min(after_seq, head))
        self.told = self.seen  #: the newest number the subscriber knows to be covered
        self._replay_to = head
        self._left = head - self.seen  # when the replay began, or went on
        self._recalled: Sequence[Frame] = ()  # behind ``seen``, but not in memory
        self._behind_since: float | None = None
        self._resyncs: deque[float] = deque()
        self._resync: str | None = None
        if after_seq is not None and after_seq > head:
            self._resync = "ahead"
        elif epoch is not None and epoch > log.epoch:
            self._resync = "epoch"
        if self._resync is not None:
            self.seen = self.told = 0

    @property
    def behind(self) -> bool:
        return self._resync is not None or self.seen < self._log.visible

    @property
    def forgotten(self) -> bool:
        """Whether what comes next is not in memory: ``remember`` it, before ``take``."""
        return (
            self._resync is None
            and self.seen + 1 < self._log.oldest
            and not self._has_recalled
            and self._log.recall is not None
        )

    def remember(self, frames: Sequence[Frame]) -> None:
        """Have ``frames``, which were recalled, taken next; without any it will be the state."""
        self._recalled = frames

    @property
    def _has_recalled(self) -> bool:
        return bool(self._recalled) and self._recalled[0].seq == self.seen + 1

    def advance(self, seq: int) -> None:
        """Note that ``seq``, the one behind ``seen``, was sent."""
        self.seen = self.told = seq

    def heartbeat(self) -> bytes:
        """Return a heartbeat that covers all that was seen; once it is sent, ``told`` is ``seen``.

        Not while ``behind``.
        """
        log = self._log
        return encode(Heartbeat(session_id=log.session_id, epoch=log.epoch, head=self.seen))

    def take(self, now: float) -> list[bytes]:
        """Return the JSON texts to send now, and count them as sent; more while ``behind``.

        Raises ``Disconnect`` when the subscriber is to be closed as too slow.
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
        wanted = [frame for frame in frames if self.wants(frame.type)] if self.wants else frames
        texts: list[bytes] = []
        for frame in wanted if exact else merged(wanted):
            texts.append(covering(frame, self.told + 1))
            self.told = frame.seq
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
        if self.seen < self._replay_to or not self._too_far(now) or self._goes_on():
            return None
        self._count(now)
        return "slow"

    def _goes_on(self) -> bool:
        """Whether the replay goes on, to the head of now, for it came closer to that."""
        left = self._log.visible - self.seen
        if left >= self._left:
            return False
        self._left, self._replay_to, self._behind_since = left, self._log.visible, None
        return True

    def _too_far(self, now: float) -> bool:
        limits, log = self._limits, self._log
        return (
            log.visible - self.seen > limits.events
            or log.size(self.seen) > limits.size
            or (self._behind_since is not None and now - self._behind_since > limits.seconds)
        )

    def _count(self, now: float) -> None:
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
            from_seq=self.told + 1,
            session_id=log.session_id,
            epoch=log.epoch,
            t=log.t,
            ts=log.ts,
            state=log.state(),
            reason=reason,
        )
        self._resync = self._behind_since = None
        self._left, self._recalled = 0, ()
        self.seen = self.told = self._replay_to = log.visible
        return encode(event)
