"""Records sessions beside the event loop: frames go to one thread, which writes them."""

import logging
from asyncio import get_running_loop
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event as ThreadEvent
from typing import NamedTuple, TypeVar

import anyio
import anyio.to_thread
from msgspec import Struct

from pipeline.errors import RecordingError
from pipeline.recordings import files
from pipeline.recordings.files import RecordingFile, StoredRecording
from pipeline.recordings.wav import Shape
from pipeline.runtime.tasks import plain_errors

GATHER = 0.25  #: seconds of frames that are written together: what a crash costs at most
MOST = 32 << 20  #: bytes of all sessions that may wait for the disk: 1000 s of one at 16 kHz
TIDY = 3600.0  #: seconds between removals of old recordings

T = TypeVar("T")
Decode = Callable[[bytes], bytes]  #: makes 16-bit samples of a frame
Tell = Callable[[str], object]  #: is told why a recording stopped

logger = logging.getLogger(__name__)


class RecordingRetention(Struct, frozen=True, kw_only=True):
    """How much is kept."""

    seconds: float  #: since the last sample of a recording
    size: int  #: bytes of all of them


class RecordingTrack:
    """What a session gives its audio to; after a failure it takes it for nothing."""

    def __init__(
        self, recorder: "Recorder", session_id: str, shape: Shape, decode: Decode | None, tell: Tell
    ) -> None:
        self.session_id = session_id
        self.shape = shape
        self.decode = decode
        self.failed = False
        self._recorder = recorder
        self._tell = tell

    def write(self, frame: bytes) -> None:
        """Take the next frame; never waits."""
        if not self.failed:
            self._recorder.put(self, frame)

    def close(self) -> None:
        """That was all."""
        self._recorder.put(self, b"")

    def fail(self, why: str) -> None:
        """Stop, and say why, once."""
        if not self.failed:
            self.failed = True
            logger.error("the recording of session %s stops, the session goes on: %s",
                         self.session_id, why)  # fmt: skip
            self._tell(f"the audio is not recorded from here on: {why}")


class _Errand(NamedTuple):
    """Something to be done between two writes."""

    step: Callable[[], object]
    then: Callable[[RecordingError | None], object]  # is called on the event loop


class Recorder:
    """Tapes over one directory and its writer thread; ``recording`` makes one."""

    def __init__(
        self, folder: Path, keeping: RecordingRetention, clock: Callable[[], float]
    ) -> None:
        """``clock`` returns Unix seconds."""
        self.waiting = 0  #: bytes that are not written yet
        self._folder = folder
        self._keeping = keeping
        self._clock = clock
        self._loop = get_running_loop()
        self._put: SimpleQueue[tuple[RecordingTrack, bytes] | _Errand | None] = SimpleQueue()
        self._stopping = ThreadEvent()
        # Of the writer thread:
        self._reels: dict[
            RecordingTrack, RecordingFile | None
        ] = {}  # None: what comes now would be out of place
        self._tidied = -TIDY

    # --- on the event loop ---

    def open(
        self, session_id: str, shape: Shape, decode: Decode | None, tell: Tell
    ) -> RecordingTrack:
        """Begin a recording: with its first frame there is a file.

        ``decode`` makes 16-bit samples of frames that are none; ``tell`` is told if it stops.
        """
        return RecordingTrack(self, session_id, shape, decode, tell)

    def put(self, tape: RecordingTrack, frame: bytes) -> None:
        if self.waiting + len(frame) > MOST:
            tape.fail(f"the disk is too slow: {self.waiting >> 20} MiB wait for it")
            return
        self.waiting += len(frame)
        self._put.put((tape, frame))

    async def find(self, session_id: str) -> StoredRecording | None:
        """Return the newest recording of a session, with all that was taken until now.

        Raises ``RecordingError``.
        """
        return await self._between(lambda: files.find(self._folder, session_id))

    async def erase(self, session_id: str) -> bool:
        """Remove all recordings of a session that has ended; return whether there were any.

        Raises ``RecordingError``.
        """
        return await self._between(lambda: self._erase(session_id)) > 0

    def forget(self, session_id: str) -> None:
        """Likewise, but nobody waits for it."""
        self._put.put(_Errand(lambda: self._erase(session_id), _only_log))

    async def _between(self, step: Callable[[], T]) -> T:
        """Return what ``step`` does behind all that was put. Raises its ``RecordingError``."""
        results: list[T] = []
        failures: list[RecordingError] = []
        done = anyio.Event()

        def then(failure: RecordingError | None) -> None:
            if failure is not None:
                failures.append(failure)
            done.set()

        self._put.put(_Errand(lambda: results.append(step()), then))
        await done.wait()
        if failures:
            raise failures[0]
        return results[0]

    def _written(self, size: int) -> None:
        self.waiting -= size

    # --- on the writer thread ---

    def work(self) -> None:
        """Write what is put until stopped."""
        more = True
        while more:
            if self._clock() - self._tidied > TIDY:
                self._tidied = self._clock()
                self._carry_out(_Errand(self._tidy, _only_log))
            more = self._take_some()
        for tape in list(self._reels):
            self._end(tape)

    def _take_some(self) -> bool:
        """Wait for something, gather for a moment and write it; return whether to go on."""
        try:
            first = self._put.get(timeout=TIDY)
        except Empty:
            return True
        self._stopping.wait(GATHER)
        frames: dict[RecordingTrack, list[bytes]] = {}
        task = first
        while task is not None:
            if isinstance(task, _Errand):  # behind what was put before it
                self._write(frames)
                frames = {}
                self._carry_out(task)
            else:
                frames.setdefault(task[0], []).append(task[1])
            try:
                task = self._put.get_nowait()
            except Empty:
                self._write(frames)
                return True
        self._write(frames)
        return False

    def _write(self, frames: dict[RecordingTrack, list[bytes]]) -> None:
        for tape, parts in frames.items():
            data = b"".join(parts)
            try:
                self._append(tape, data)
            except (OSError, RecordingError) as error:
                self._end(tape)
                self._reels[tape] = None
                self._loop.call_soon_threadsafe(tape.fail, _why(error))
            if not parts[-1]:  # that was all
                self._end(tape)
            self._loop.call_soon_threadsafe(self._written, len(data))

    def _append(self, tape: RecordingTrack, data: bytes) -> None:
        if data and tape not in self._reels:
            self._reels[tape] = RecordingFile(
                self._folder, tape.session_id, tape.shape, self._clock()
            )
        reel = self._reels.get(tape)
        if reel is not None:
            reel.write(data if tape.decode is None else tape.decode(data))

    def _end(self, tape: RecordingTrack) -> None:
        reel = self._reels.pop(tape, None)
        if reel is not None:
            reel.close()

    def _carry_out(self, errand: _Errand) -> None:
        failure: RecordingError | None = None
        try:
            errand.step()
        except RecordingError as error:
            failure = error
        self._loop.call_soon_threadsafe(errand.then, failure)

    def _erase(self, session_id: str) -> int:
        return files.erase(self._folder, session_id, self._in_use)

    def _tidy(self) -> None:
        before = self._clock() - self._keeping.seconds
        files.tidy(self._folder, before=before, most=self._keeping.size, in_use=self._in_use)

    @property
    def _in_use(self) -> set[str]:
        return {reel.name for reel in self._reels.values() if reel is not None}

    def stop(self) -> None:
        self._stopping.set()
        self._put.put(None)


def _why(error: OSError | RecordingError) -> str:
    return str(error) if isinstance(error, RecordingError) else error.strerror or str(error)


def _only_log(error: RecordingError | None) -> None:
    if error is not None:
        logger.warning("%s", error)


@asynccontextmanager
async def recording(
    folder: Path, keeping: RecordingRetention, clock: Callable[[], float]
) -> AsyncGenerator[Recorder]:
    """Record into ``folder`` while the block lasts; what waits is written when it is left.

    ``clock`` returns Unix seconds. Raises ``RecordingError`` when it cannot be written to.
    """
    await anyio.to_thread.run_sync(files.prepare, folder)
    recorder = Recorder(folder, keeping, clock)
    async with plain_errors(), anyio.create_task_group() as tasks:
        tasks.start_soon(_work, recorder)
        try:
            yield recorder
        finally:
            recorder.stop()


async def _work(recorder: Recorder) -> None:
    with anyio.CancelScope(shield=True):  # ended by ``stop``
        await anyio.to_thread.run_sync(recorder.work, limiter=anyio.CapacityLimiter(1))
