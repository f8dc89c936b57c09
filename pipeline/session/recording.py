"""Audio recording of sessions to files, where ``journal.record`` is set."""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from pipeline.audio.pcm import Format, mulaw_to_pcm
from pipeline.config.settings import JournalSettings
from pipeline.protocol.events import ErrorDetail, ErrorEvent
from pipeline.recordings.recorder import Recorder, RecordingRetention, recording
from pipeline.recordings.wav import WavFormat
from pipeline.runtime.supervision import Supervisor
from pipeline.session.session import Session


@asynccontextmanager
async def recorder_of(
    settings: JournalSettings,
    clock: Callable[[], float],
    supervisor: Supervisor | None = None,
) -> AsyncGenerator[Recorder | None]:
    """Run the recorder, if recording is on. ``clock`` returns Unix seconds.

    Raises ``RecordingError`` when the directory cannot be used.
    """
    if not settings.record:
        yield None
        return
    keeping = RecordingRetention(seconds=settings.keep_days * 86400, size=settings.record_bytes)
    async with recording(folder_of(settings), keeping, clock, supervisor) as recorder:
        yield recorder


def folder_of(settings: JournalSettings) -> Path:
    """Return the directory of the recordings."""
    return Path(settings.record).expanduser()


@contextmanager
def recorded(session: Session, audio: Format, recorder: Recorder | None) -> Generator[None]:
    """Record ``session`` for the length of the block; a failure is published as an error event."""
    if recorder is None:
        yield
        return

    publisher = session.publisher

    def report(why: str) -> None:
        detail = ErrorDetail(type="recording_error", message=why)
        publisher.publish(ErrorEvent(error=detail))

    decode = mulaw_to_pcm if audio.encoding == "pcm_mulaw" else None
    wav = WavFormat(audio.sample_rate, audio.channels)
    sink = session.audio_sink = recorder.open(session.id, wav, decode, report)
    try:
        yield
    finally:
        sink.close()
