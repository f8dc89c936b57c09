"""Recorder of session audio: frames go to one writer thread, beside the event loop."""

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
from pipeline.recordings.wav import WavFormat
from pipeline.runtime.supervision import Supervisor
from pipeline.runtime.tasks import plain_errors

BATCH_TIME = 0.25  #: seconds of frames that are written together; a crash loses at most these
MAX_WAITING = 32 << 20  #: bytes waiting for the disk, all sessions: 1000 s of one at 16 kHz
CLEANUP_INTERVAL = 3600.0  #: seconds between removals of old recordings

T = TypeVar("T")
Decode = Callable[[bytes], bytes]  #: converts a frame to 16-bit samples
OnFailure = Callable[[str], object]  #: called with the reason when a recording stops

logger = logging.getLogger(__name__)


class RecordingRetention(Struct, frozen=True, kw_only=True):
    """Limits on stored recordings."""

    seconds: float  #: since the last sample of a recording
    size: int  #: bytes of all of them


class RecordingTrack:
    """Audio input of one recording; after a failure it ignores further frames."""

    def __init__(
        self,
        recorder: "Recorder",
        session_id: str,
        wav_format: WavFormat,
        decode: Decode | None,
        on_failure: OnFailure,
    ) -> None:
        self.session_id = session_id
        self.wav_format = wav_format
        self.decode = decode
        self.failed = False
        self._recorder = recorder
        self._on_failure = on_failure

    def write(self, frame: bytes) -> None:
        """Queue the next frame; never waits."""
        if not self.failed:
            self._recorder.put(self, frame)

    def close(self) -> None:
        """End the recording."""
        self._recorder.put(self, b"")

    def fail(self, why: str) -> None:
        """Stop and report the reason, once."""
        if not self.failed:
            self.failed = True
            logger.error("the recording of session %s stops, the session goes on: %s",
                         self.session_id, why)  # fmt: skip
            self._on_failure(f"the audio is no longer recorded: {why}")


class _WriterJob(NamedTuple):
    """Function to run on the writer thread between two writes."""

    step: Callable[[], object]
    then: Callable[[RecordingError | None], object]  # called on the event loop


class Recorder:
    """Recordings in one directory and their writer thread; ``recording`` opens one."""

    def __init__(
        self, folder: Path, retention: RecordingRetention, clock: Callable[[], float]
    ) -> None:
        """``clock`` returns Unix seconds."""
        self.waiting = 0  #: bytes not written yet
        self._folder = folder
        self._retention = retention
        self._clock = clock
        self._loop = get_running_loop()
        self._queue: SimpleQueue[tuple[RecordingTrack, bytes] | _WriterJob | None] = SimpleQueue()
        self.stopping = ThreadEvent()
        # Of the writer thread; None after a failure: later frames would leave a gap.
        self._files: dict[RecordingTrack, RecordingFile | None] = {}
        self._cleaned_up = -CLEANUP_INTERVAL

    # --- on the event loop ---

    def open(
        self, session_id: str, wav_format: WavFormat, decode: Decode | None, on_failure: OnFailure
    ) -> RecordingTrack:
        """Start a recording; its file is created with the first frame.

        ``decode`` converts frames to 16-bit samples where needed; ``on_failure`` is called when
        the recording stops early.
        """
        return RecordingTrack(self, session_id, wav_format, decode, on_failure)

    def put(self, track: RecordingTrack, frame: bytes) -> None:
        if self.waiting + len(frame) > MAX_WAITING:
            track.fail(f"the disk is too slow: {self.waiting >> 20} MiB are waiting to be written")
            return
        self.waiting += len(frame)
        self._queue.put((track, frame))

    async def find(self, session_id: str) -> StoredRecording | None:
        """Return the newest recording of a session, with all frames queued until now.

        Raises ``RecordingError``.
        """
        return await self._run_between(lambda: files.find(self._folder, session_id))

    async def erase(self, session_id: str) -> bool:
        """Delete all recordings of an ended session; return whether there were any.

        Raises ``RecordingError``.
        """
        return await self._run_between(lambda: self._erase(session_id)) > 0

    def erase_later(self, session_id: str) -> None:
        """Delete all recordings of an ended session, without waiting for it."""
        self._queue.put(_WriterJob(lambda: self._erase(session_id), _log_failure))

    async def _run_between(self, step: Callable[[], T]) -> T:
        """Run ``step`` after all queued writes and return its result. Raises its errors."""
        results: list[T] = []
        failures: list[RecordingError] = []
        done = anyio.Event()

        def then(failure: RecordingError | None) -> None:
            if failure is not None:
                failures.append(failure)
            done.set()

        self._queue.put(_WriterJob(lambda: results.append(step()), then))
        await done.wait()
        if failures:
            raise failures[0]
        return results[0]

    def _written(self, size: int) -> None:
        self.waiting -= size

    # --- on the writer thread ---

    def work(self) -> None:
        """Write queued frames until stopped."""
        more = True
        while more:
            if self._clock() - self._cleaned_up > CLEANUP_INTERVAL:
                self._cleaned_up = self._clock()
                self._run_job(_WriterJob(self._remove_old, _log_failure))
            more = self._write_batch()
        for track in list(self._files):
            self._close_track(track)

    def _write_batch(self) -> bool:
        """Wait for frames, collect more for a moment and write them; return whether to continue."""
        try:
            first = self._queue.get(timeout=CLEANUP_INTERVAL)
        except Empty:
            return True
        self.stopping.wait(BATCH_TIME)
        frames: dict[RecordingTrack, list[bytes]] = {}
        task = first
        while task is not None:
            if isinstance(task, _WriterJob):  # after the frames queued before it
                self._write(frames)
                frames = {}
                self._run_job(task)
            else:
                frames.setdefault(task[0], []).append(task[1])
            try:
                task = self._queue.get_nowait()
            except Empty:
                self._write(frames)
                return True
        self._write(frames)
        return False

    def _write(self, frames: dict[RecordingTrack, list[bytes]]) -> None:
        for track, parts in frames.items():
            data = b"".join(parts)
            try:
                self._append(track, data)
            except Exception as error:  # noqa: BLE001 - any: it costs this recording only
                self._close_track(track)
                self._files[track] = None
                self._loop.call_soon_threadsafe(track.fail, _reason(error))
            if not parts[-1]:  # an empty frame ends the recording
                self._close_track(track)
            self._loop.call_soon_threadsafe(self._written, len(data))

    def _append(self, track: RecordingTrack, data: bytes) -> None:
        if data and track not in self._files:
            self._files[track] = RecordingFile(
                self._folder, track.session_id, track.wav_format, self._clock()
            )
        file = self._files.get(track)
        if file is not None:
            file.write(data if track.decode is None else track.decode(data))

    def _close_track(self, track: RecordingTrack) -> None:
        file = self._files.pop(track, None)
        if file is not None:
            file.close()

    def _run_job(self, job: _WriterJob) -> None:
        failure: RecordingError | None = None
        try:
            job.step()
        except RecordingError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - any: its caller waits for an answer
            failure = RecordingError(_reason(error))
        self._loop.call_soon_threadsafe(job.then, failure)

    def _erase(self, session_id: str) -> int:
        return files.erase(self._folder, session_id, self._in_use)

    def _remove_old(self) -> None:
        before = self._clock() - self._retention.seconds
        files.remove_old(
            self._folder, before=before, most=self._retention.size, in_use=self._in_use
        )

    @property
    def _in_use(self) -> set[str]:
        return {file.name for file in self._files.values() if file is not None}

    def stop(self) -> None:
        self.stopping.set()
        self._queue.put(None)


def _reason(error: Exception) -> str:
    match error:
        case RecordingError():
            return str(error)
        case OSError(strerror=str(strerror)):
            return strerror
        case _:
            return f"{type(error).__name__}: {error}"


def _log_failure(error: RecordingError | None) -> None:
    if error is not None:
        logger.warning("%s", error)


@asynccontextmanager
async def recording(
    folder: Path,
    retention: RecordingRetention,
    clock: Callable[[], float],
    supervisor: Supervisor | None = None,
) -> AsyncGenerator[Recorder]:
    """Record into ``folder`` while the block runs; queued frames are written on exit.

    ``clock`` returns Unix seconds. Raises ``RecordingError`` when the folder is not writable.
    """
    await anyio.to_thread.run_sync(files.prepare, folder)
    recorder = Recorder(folder, retention, clock)
    async with plain_errors(), anyio.create_task_group() as tasks:
        supervised = (supervisor or Supervisor()).run_thread
        tasks.start_soon(supervised, "recorder", recorder.work, recorder.stopping)
        try:
            yield recorder
        finally:
            recorder.stop()
