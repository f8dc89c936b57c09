"""Turn detector of one stream: voice probabilities in, decode jobs and turns out. Pure.

    chunks of 32 ms:   silence ─ onset ─> segment open ─ pause ─> decode early
                                             │  ^                      │
                                             │  └──── voice again ─────┘
                                             └─ end silence ─> segment closed, turn ended

A turn is one segment, or several for long speech. Decodes run one at a time: those of closed
segments first, then that of a pause (which becomes the final one if no speech follows), then
partials.
"""

from collections import deque
from math import ceil
from typing import Literal

import msgspec
from msgspec import Struct

from pipeline.embedded.words import agreed
from pipeline.interfaces.stt import Word

CHUNK = 0.032  #: seconds; the input size of the voice detector

_MIN_VOICED = 3  #: chunks; less is a click
_ONSET = 2  #: chunks above the threshold in a row open a segment
_LEFT_PAD = 12  #: chunks of audio kept before the onset
_TAIL = 6  #: chunks of audio decoded after the last voice
_DIP = 3  #: chunks of silence that do not delay a partial
_LONG = ceil(20.0 / CHUNK)  #: chunks; a longer segment is cut at its next pause
_LONGEST = ceil(28.0 / CHUNK)  #: chunks; the model accepts 30 s at most
_CUT_WITHIN = ceil(2.0 / CHUNK)  #: chunks searched for the quietest place to cut
_HYSTERESIS = 0.15  #: below the threshold by this much is silence

Kind = Literal["final", "pause", "partial"]


class Tuning(Struct, frozen=True, kw_only=True):
    """Thresholds for the start, the decodes and the end of a turn."""

    threshold: float = 0.5  #: probability of voice that opens a segment
    pause: float = 0.192  #: seconds of silence until a decode that may become the final one
    end: float = 0.5  #: seconds of silence that end the turn
    first_partial: float = 0.3  #: seconds of speech before the first partial
    partial: float = 0.4  #: seconds between partials, at least
    patience: float = 1.2  #: times the last decode's duration between partials, at least

    def asked(
        self, *, pause_ms: float | None, end_ms: float | None, threshold: float | None
    ) -> "Tuning":
        """Return the thresholds that a client asked for.

        Silences are never shorter than these: voice agents with a turn detector of their own ask
        for 100 ms, which is a gap within a word here, and half a word is recognised as another.
        """
        return msgspec.structs.replace(
            self,
            pause=max(self.pause, (pause_ms or 0) / 1000),
            end=max(self.end, (end_ms or 0) / 1000),
            threshold=self.threshold if threshold is None else threshold,
        )


class Job(Struct, frozen=True):
    """Decode job: a range of chunks."""

    kind: Kind
    start: int
    end: int
    voice_end: int


class TurnBegan(Struct, frozen=True):
    """Start of a turn, at ``at`` seconds, reported with its first words."""

    at: float


class PartialTurn(Struct, frozen=True):
    """Text of an open turn so far; each replaces the last."""

    order: int
    words: tuple[Word, ...]
    paused: bool = False


class TurnOver(Struct, frozen=True):
    """End of a turn, with its final words."""

    order: int
    words: tuple[Word, ...]


DetectorEvent = TurnBegan | PartialTurn | TurnOver


class _Segment:
    """The open segment of speech."""

    def __init__(self, start: int, now: int) -> None:
        self.start = start
        self.onset = now  # where speech was detected: partials count from here
        self.voice_end = now
        self.voiced = 0
        self.levels: list[float] = []

    def quietest(self) -> int:
        recent = self.levels[-_CUT_WITHIN:]
        return self.onset + len(self.levels) - len(recent) + recent.index(min(recent))


class _Span(Struct, frozen=True):
    """A closed segment whose decode is pending."""

    start: int
    end: int
    voice_end: int
    last: bool  #: whether the turn ends with it
    empty: bool = False


class TurnDetector:
    """Detects turns: feed ``chunk``, run ``next_job``, report ``decoded``, send ``take``."""

    def __init__(self, tuning: Tuning) -> None:
        self.tuning = tuning
        self.now = 0  #: chunks received
        self._run = 0
        self._heard_until = 0  # chunks that belong to a closed segment
        self._open: _Segment | None = None
        self._closed: deque[_Span] = deque()
        self._job: Job | None = None
        self._ready: tuple[Job, tuple[Word, ...]] | None = None
        self._asked_pause = -1
        self._asked_at = 0
        self._took = 0.0
        self._order = 0
        self._parts: tuple[Word, ...] = ()
        self._shown: tuple[Word, ...] = ()
        self._before: tuple[Word, ...] = ()
        self._out: list[DetectorEvent] = []

    @property
    def waiting(self) -> int:
        """The number of closed segments without words."""
        return len(self._closed)

    @property
    def keep_from(self) -> int:
        """The first chunk of audio that may still be decoded."""
        starts = [self.now - _LEFT_PAD - _ONSET]
        if self._job is not None:
            starts.append(self._job.start)
        if self._closed:
            starts.append(self._closed[0].start)
        if self._open is not None:
            starts.append(self._open.start)
        return max(0, min(starts))

    def chunk(self, voice: float) -> None:
        """Add the voice probability of the next 32 ms."""
        self.now += 1
        if self._open is None:
            self._listen(voice)
        else:
            self._follow(self._open, voice)
        self._settle()

    def end_turn(self) -> None:
        """Close the open turn, if any, on request or at the end of the stream."""
        if self._open is not None:
            self._close(self._open, last=True, end=self.now)
            self._settle()

    def next_job(self, *, partials: bool = True) -> Job | None:
        """Return the next decode job, if any, and mark it as running. One at a time."""
        if self._job is not None:
            return None
        self._job = self._final_job() or self._pause_job() or self._partial_job(partials)
        if self._job is not None:
            self._asked_at = self.now
        return self._job

    def decoded(self, job: Job, words: tuple[Word, ...], took: float) -> None:
        """Add the words of a job, timed in stream seconds; it ran for ``took`` seconds."""
        self._job = None
        self._took = took
        if job.kind == "final":
            self._finish(self._closed.popleft(), words)
        else:
            if job.kind == "pause":
                self._ready = (job, words)
            if not self._is_ready_for_head():
                self._show(job, words)
        self._settle()

    def take(self) -> list[DetectorEvent]:
        """Return the results since the last call, in order."""
        said, self._out = self._out, []
        return said

    # --- voice -----------------------------------------------------------------------------

    def _listen(self, voice: float) -> None:
        self._run = self._run + 1 if voice >= self.tuning.threshold else 0
        if self._run >= _ONSET:
            self._start(max(self._heard_until, self.now - self._run - _LEFT_PAD))

    def _start(self, start: int) -> None:
        segment = _Segment(start, self.now)
        segment.voiced = self._run
        self._open, self._run = segment, 0
        self._before = ()
        gap = self.tuning.partial - self.tuning.first_partial
        self._asked_at = self.now - round(gap / CHUNK)

    def _follow(self, segment: _Segment, voice: float) -> None:
        segment.levels.append(voice)
        silence = self.now - segment.voice_end
        if voice >= self.tuning.threshold - _HYSTERESIS:
            if silence - 1 >= _chunks(self.tuning.pause) and self._length(segment) >= _LONG:
                self._cut(segment, self.now - _ONSET)
            elif self._length(segment) >= _LONGEST:
                self._cut(segment, segment.quietest())
            else:
                segment.voice_end = self.now
                segment.voiced += 1
        elif silence >= _chunks(self.tuning.end):
            self._close(segment, last=True, end=segment.voice_end + _TAIL)

    def _length(self, segment: _Segment) -> int:
        return self.now - segment.start

    def _cut(self, segment: _Segment, at: int) -> None:
        """Close a long segment; the turn continues in the next one."""
        end = min(at, segment.voice_end + _TAIL)
        self._close(segment, last=False, end=end)
        self._run = _MIN_VOICED
        self._start(max(end, at))

    def _close(self, segment: _Segment, *, last: bool, end: int) -> None:
        end = min(end, self.now)
        voice_end = min(segment.voice_end, end)
        empty = segment.voiced < _MIN_VOICED
        self._closed.append(_Span(segment.start, end, voice_end, last, empty))
        self._heard_until = end
        self._open = None

    # --- decodes ---------------------------------------------------------------------------

    def _final_job(self) -> Job | None:
        if not self._closed:
            return None
        span = self._closed[0]
        return Job("final", span.start, span.end, span.voice_end)

    def _pause_job(self) -> Job | None:
        segment = self._open
        if segment is None or segment.voiced < _MIN_VOICED:
            return None
        silent = self.now - segment.voice_end >= _chunks(self.tuning.pause)
        if not silent or self._asked_pause == segment.voice_end:
            return None
        self._asked_pause = segment.voice_end
        end = min(self.now, segment.voice_end + _TAIL)
        return Job("pause", segment.start, end, segment.voice_end)

    def _partial_job(self, wanted: bool) -> Job | None:
        segment = self._open
        if segment is None or not wanted or segment.voiced < _MIN_VOICED:
            return None
        gap = max(self.tuning.partial, self.tuning.patience * self._took)
        due = self.now - self._asked_at >= _chunks(gap)
        if not due or self.now - segment.voice_end >= _DIP:
            return None
        return Job("partial", segment.start, self.now, segment.voice_end)

    def _is_ready_for_head(self) -> bool:
        if not self._closed or self._ready is None:
            return False
        head, (job, _) = self._closed[0], self._ready
        return (head.start, head.voice_end) == (job.start, job.voice_end)

    def _settle(self) -> None:
        """Finish closed segments whose words are already known."""
        while self._closed and self._job is None:
            if self._closed[0].empty:
                self._finish(self._closed.popleft(), ())
            elif self._ready is not None and self._is_ready_for_head():
                self._finish(self._closed.popleft(), self._ready[1])
            else:
                break

    # --- turns -----------------------------------------------------------------------------

    def _show(self, job: Job, words: tuple[Word, ...]) -> None:
        sure = agreed(self._before, words)
        self._before = words
        segment = self._open
        paused = job.kind == "pause" and segment is not None and not self._closed
        paused = paused and segment is not None and segment.voice_end == job.voice_end
        unsure = tuple(
            # the share of the last two decodes with this word, instead of a probability
            msgspec.structs.replace(word, confidence=1.0 if place < sure else 0.5, final=False)
            for place, word in enumerate(words)
        )
        text = self._parts + unsure
        if unsure and (paused or _texts(text) != _texts(self._shown)):
            self._begin(text)
            self._shown = text
            self._out.append(PartialTurn(self._order, text, paused))

    def _finish(self, span: _Span, words: tuple[Word, ...]) -> None:
        self._ready = None
        self._parts += words
        if not span.last:
            return
        # an empty decode must not remove words already sent
        said = self._parts or self._shown
        if said:
            self._begin(said)
            final = tuple(msgspec.structs.replace(word, final=True) for word in said)
            self._out.append(TurnOver(self._order, final))
            self._order += 1
        self._parts, self._shown = (), ()

    def _begin(self, words: tuple[Word, ...]) -> None:
        if not self._shown:
            self._out.append(TurnBegan(words[0].start))


def _texts(words: tuple[Word, ...]) -> list[str]:
    return [word.text for word in words]


def _chunks(seconds: float) -> int:
    return ceil(round(seconds / CHUNK, 6))
