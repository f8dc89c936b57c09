"""The audio of sessions on its way to a file, where the settings ask for that."""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from pipeline.audio.pcm import Format, mulaw_to_pcm
from pipeline.config.settings import JournalSettings
from pipeline.protocol.events import ErrorDetail, ErrorEvent
from pipeline.recordings.recorder import Recorder, RecordingRetention, recording
from pipeline.recordings.wav import WavFormat
from pipeline.session.session import Session


@asynccontextmanager
async def recorder_of(
    settings: JournalSettings, clock: Callable[[], float]
) -> AsyncGenerator[Recorder | None]:
    """Run what records, or nothing. ``clock`` returns Unix seconds.

    Raises ``RecordingError`` when the directory cannot be used.
    """
    if not settings.record:
        yield None
        return
    keeping = RecordingRetention(seconds=settings.keep_days * 86400, size=settings.record_bytes)
    async with recording(folder_of(settings), keeping, clock) as recorder:
        yield recorder


def folder_of(settings: JournalSettings) -> Path:
    """Return where recordings are."""
    return Path(settings.record).expanduser()


@contextmanager
def recorded(session: Session, audio: Format, recorder: Recorder | None) -> Generator[None]:
    """Record ``session`` while the block lasts; should that fail, an event of it says so."""
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
