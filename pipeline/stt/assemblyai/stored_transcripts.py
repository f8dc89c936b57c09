"""The door to AssemblyAI's stored transcripts: its SDK, imported when a recording is sent there."""

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

GOODBYE = 1.0  #: seconds to close connections
MOST_MISSES = 5  #: looks in a row that may fail before a transcript is given up
LONGEST_REASON = 300  #: characters of what a server says that are passed on


class Uploading(Struct, frozen=True):
    """The recording is on its way."""

    sent: int  #: bytes
    size: int  #: bytes


class Waiting(Struct, frozen=True):
    """The recording is there, and being transcribed."""

    transcript_id: str
    status: str  #: queued, processing, completed


Tell = Callable[[Uploading | Waiting], None]


class Transcripts:
    """AssemblyAI's API for whole recordings. It is reached when ``store`` is called."""

    def __init__(self, settings: StoredSettings, url: str, key: str | None) -> None:
        self.host = urlsplit(url).netloc.rpartition("@")[2]
        self._settings = settings
        self._url = url.rstrip("/")
        self._key = key

    def __repr__(self) -> str:
        return f"<Transcripts at {self.host}>"

    async def store(self, path: Path, tell: Tell) -> str:
        """Have a recording transcribed and return the transcript's id, once it can be asked about.

        ``tell`` hears how far it is, of an upload from a worker thread. Raises ``InputError``,
        ``SettingsError``, or a ``TranscriptError``.
        """
        async with self._transcriber() as transcriber:
            with _Counted(path, tell) as file, self._translated(f"uploading {path}"):
                address = await transcriber.upload_file(file)
            with self._translated(f"transcribing {path}"):
                submitted = await transcriber.submit(address)
            return await self._ready(transcriber, submitted.id or "", tell)

    async def _ready(self, transcriber: "AsyncTranscriber", key: str, tell: Tell) -> str:
        """Look at the transcript from time to time until there is nothing left to wait for."""
        with anyio.move_on_after(self._settings.timeout):
            misses = 0
            while True:
                try:
                    if await self._look(transcriber, key, tell):
                        return key
                    misses = 0
                except _Miss as miss:
                    misses += 1
                    if misses == MOST_MISSES:
                        raise TranscriptError(str(miss)) from miss
                await anyio.sleep(self._settings.poll)
        raise TranscriptError(
            f"transcript {key} was not ready after {self._settings.timeout:g} s (stored.timeout);"
            f" it may still become so: ask with --transcript-id {key}"
        )

    async def _look(self, transcriber: "AsyncTranscriber", key: str, tell: Tell) -> bool:
        from assemblyai.prerecorded.v2.async_api import get_transcript

        with self._translated(f"looking at transcript {key}"):
            found = await get_transcript(transcriber.client.http_client, key)
        status = found.status.value
        if status == "error":
            raise TranscriptFailed(f"no transcript: {found.error or 'no reason was given'}")
        tell(Waiting(key, status))
        return status == "completed"

    @asynccontextmanager
    async def _transcriber(self) -> AsyncGenerator["AsyncTranscriber"]:
        """Give the SDK's client, its own environment variables and defaults kept out."""
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
            with anyio.move_on_after(GOODBYE, shield=True):
                await client.aclose()

    @contextmanager
    def _translated(self, doing: str) -> Generator[None]:
        """Let the library's errors out as ours; a ``_Miss`` where another try may do."""
        from assemblyai.types import AssemblyAIError

        try:
            yield
        except AssemblyAIError as error:
            raise self._refused(doing, error.status_code, str(error)) from error
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
            raise _Miss(f"{doing}: {self.host} is out of reach: {why}") from error
        except (ValueError, KeyError) as error:  # an answer of another shape, or none of JSON
            raise TranscriptError(
                f"{doing}: {self.host} did not answer like AssemblyAI's API; is stored.url right?"
            ) from error

    def _refused(self, doing: str, status: int | None, said: str) -> TranscriptError:
        reason = " ".join(said.rpartition(": ")[2].split())[:LONGEST_REASON]
        if status == 401:
            known = "refused the key" if self._key else "wants a key, and there is none"
            return TranscriptError(f"{doing}: {self.host} {known}: {reason}; see llm.key")
        kind = _Miss if status == 429 or (status or 0) >= 500 else TranscriptError
        return kind(f"{doing}: {self.host} said no ({status}): {reason}")


class _Miss(TranscriptError):
    """It may go better another time."""


class _Counted(FileIO):
    """A file that says how far it has been read."""

    def __init__(self, path: Path, report: Tell) -> None:
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
