"""Client of AssemblyAI's stored transcripts: its SDK, imported when a recording is uploaded."""

import os
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import httpx
from msgspec import Struct

from pipeline.config.settings import StoredSettings
from pipeline.errors import InputError, SettingsError, TranscriptError, TranscriptFailed

if TYPE_CHECKING:
    from assemblyai import AsyncTranscriber

CLOSE_TIMEOUT = 1.0  #: seconds to close connections
MAX_FAILURES = 5  #: status requests in a row that may fail
LONGEST_REASON = 300  #: characters of a server's message that ours quotes


class Uploading(Struct, frozen=True):
    """Progress of an upload."""

    sent: int  #: bytes
    size: int  #: bytes


class Waiting(Struct, frozen=True):
    """Status of a transcript."""

    transcript_id: str
    status: str  #: queued, processing, completed


Report = Callable[[Uploading | Waiting], None]


class Transcripts:
    """AssemblyAI's API for whole recordings; it connects when ``store`` is called."""

    def __init__(self, settings: StoredSettings, url: str, key: str | None) -> None:
        self.host = urlsplit(url).netloc.rpartition("@")[2]
        self._settings = settings
        self._url = url.rstrip("/")
        self._key = key

    def __repr__(self) -> str:
        return f"<Transcripts at {self.host}>"

    async def store(self, path: Path, report: Report) -> str:
        """Transcribe a recording and return the transcript's id when it is complete.

        ``report`` receives the progress, of an upload from a worker thread. Raises ``InputError``,
        ``SettingsError``, or a ``TranscriptError``.
        """
        async with self._transcriber() as transcriber:
            with _CountingFile(path, report) as file, self._translated(f"uploading {path}"):
                address = await transcriber.upload_file(file)
            with self._translated(f"transcribing {path}"):
                submitted = await transcriber.submit(address)
            return await self._ready(transcriber, submitted.id or "", report)

    async def _ready(self, transcriber: "AsyncTranscriber", key: str, report: Report) -> str:
        """Request the status until the transcript is complete; return its id."""
        with anyio.move_on_after(self._settings.timeout):
            failures = 0
            while True:
                try:
                    if await self._is_complete(transcriber, key, report):
                        return key
                    failures = 0
                except _Retryable as failure:
                    failures += 1
                    if failures == MAX_FAILURES:
                        raise TranscriptError(str(failure)) from failure
                await anyio.sleep(self._settings.poll)
        raise TranscriptError(
            f"transcript {key} was not ready after {self._settings.timeout:g} s (stored.timeout);"
            f" it may be ready later: use it with --transcript-id {key}"
        )

    async def _is_complete(self, transcriber: "AsyncTranscriber", key: str, report: Report) -> bool:
        from assemblyai.prerecorded.v2.async_api import get_transcript

        with self._translated(f"looking at transcript {key}"):
            found = await get_transcript(transcriber.client.http_client, key)
        status = found.status.value
        if status == "error":
            raise TranscriptFailed(f"no transcript: {found.error or 'no reason was given'}")
        report(Waiting(key, status))
        return status == "completed"

    @asynccontextmanager
    async def _transcriber(self) -> AsyncGenerator["AsyncTranscriber"]:
        """Open the SDK's client, without its environment variables and defaults."""
        try:
            import assemblyai as sdk
        except ImportError as missing:
            raise TranscriptError(
                f"storing a recording needs AssemblyAI's SDK ({missing.name} is missing):"
                " pip install 'speech-llm-pipeline[stored]'"
            ) from missing
        try:
            models = list(self._settings.speech_models) or None
            config = sdk.TranscriptionConfig(speech_models=models, **self._settings.parameters)
        except (TypeError, ValueError) as wrong:
            raise SettingsError(f"stored.parameters: {wrong}") from wrong
        settings = sdk.Settings(api_key=self._key, base_url=self._url)
        client = sdk.AsyncClient(settings=settings, api_key_required=False)
        try:
            yield sdk.AsyncTranscriber(client=client, config=config)
        finally:
            with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await client.aclose()

    @contextmanager
    def _translated(self, doing: str) -> Generator[None]:
        """Translate the library's errors; ``_Retryable`` where another attempt may succeed."""
        from assemblyai.types import AssemblyAIError

        try:
            yield
        except AssemblyAIError as error:
            raise self._refused(doing, error.status_code, str(error)) from error
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
            raise _Retryable(f"{doing}: {self.host} is out of reach: {why}") from error
        except (ValueError, KeyError) as error:  # a response of another shape, or not JSON
            raise TranscriptError(
                f"{doing}: {self.host} did not answer like AssemblyAI's API; is stored.url right?"
            ) from error

    def _refused(self, doing: str, status: int | None, text: str) -> TranscriptError:
        reason = " ".join(text.rpartition(": ")[2].split())[:LONGEST_REASON]
        if status == 401:
            problem = "refused the key" if self._key else "requires a key, and there is none"
            return TranscriptError(f"{doing}: {self.host} {problem}: {reason}; see llm.key")
        kind = _Retryable if status == 429 or (status or 0) >= 500 else TranscriptError
        return kind(f"{doing}: {self.host} answered HTTP {status}: {reason}")


class _Retryable(TranscriptError):
    """Failure that another attempt may not meet."""


class _CountingFile(FileIO):
    """File that reports how many bytes have been read."""

    def __init__(self, path: Path, report: Report) -> None:
        try:
            super().__init__(path)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
        self._report = report
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size) or b""
        self._report(Uploading(self.tell(), self._size))
        return data
