"""Run over a stored transcript: upload with progress, then one request per prompt."""

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import anyio
from msgspec.structs import replace

from pipeline.app.plan import Plan, plan
from pipeline.app.startup import open_app
from pipeline.app.stt_clients import transcripts
from pipeline.audio.sources import FileSource
from pipeline.cli.storage import keeping_requests
from pipeline.cli.views.output import printer, printing, progress
from pipeline.cli.views.wording import duration
from pipeline.config.engine_choice import EngineChoice
from pipeline.config.settings import Prompt, Settings
from pipeline.errors import SettingsError
from pipeline.protocol.commands import ResponseCreateCommand, StartCommand
from pipeline.responses.prompt import uses_turn_tag
from pipeline.stt.assemblyai.stored_transcripts import Uploading, Waiting

#: placeholder for the id of a future transcript, so that all else is checked before the upload
PENDING_TRANSCRIPT = "not-yet"

NO_STT = EngineChoice("none", "the prompts run over a stored transcript")


def plan_over_transcript(settings: Settings) -> Plan:
    """Plan the language model for prompts over a stored transcript."""
    planned = plan(settings, os.environ)
    for name, prompt in planned.prompts.items():
        if uses_turn_tag(prompt):
            raise SettingsError(
                f"prompts.{name}: {{{{turn}}}} needs live turns, and a stored transcript has none:"
                " remove it, or choose other prompts with --prompt"
            )
    return replace(planned, stt=NO_STT)


async def run_over_transcript(
    settings: Settings, planned: Plan, file: str | None, *, json: bool
) -> int:
    """Run each prompt once over the stored transcript; over that of ``file``, if given."""
    if file is not None:
        transcript = await _transcript_of(Path(file), settings, planned)
        settings = replace(settings, prompts=with_transcript(settings.prompts, transcript))
        planned = plan_over_transcript(settings)
    ids = ", ".join(dict.fromkeys(prompt.transcript_id for prompt in planned.prompts.values()))
    async with (
        printing(printer(json=json)) as put,
        keeping_requests(settings.journal) as requests,
        open_app(settings, planned, on_progress=progress, on_frame=put, requests=requests) as app,
        app.open(StartCommand(audio=None), source=f"transcript {ids}") as session,
    ):
        await session.command(ResponseCreateCommand())
        await session.finish()
    return 1 if session.failed_responses else 0


def with_transcript(prompts: Mapping[str, Prompt], transcript: str) -> dict[str, Prompt]:
    return {name: replace(prompt, transcript_id=transcript) for name, prompt in prompts.items()}


async def _transcript_of(path: Path, settings: Settings, planned: Plan) -> str:
    source = await FileSource.open(str(path))  # only readable recordings are uploaded
    seconds = source.duration
    await source.aclose()
    began = anyio.current_time()
    with _progress_view(path.name) as view:
        transcript = await transcripts(settings, planned).store(path, view.show)
    length = "" if seconds is None else f" of {duration(seconds * 1000)} of audio"
    progress(
        f"transcript {transcript}{length} after {duration((anyio.current_time() - began) * 1000)};"
        f" to use it again: --transcript-id {transcript}"
    )
    return transcript


# --- progress --------------------------------------------------------------------------------


class _View(Protocol):
    def show(self, step: Uploading | Waiting) -> None: ...


@contextmanager
def _progress_view(name: str) -> Generator[_View]:
    """Show the progress on standard error: a bar on a terminal, else lines."""
    if not sys.stderr.isatty():
        yield _Lines(name)
        return
    from rich.console import Console  # slow to import: only for a terminal
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"uploading {name}", total=None)

        class Bar:
            def show(self, step: Uploading | Waiting) -> None:
                match step:
                    case Uploading(sent, size):
                        bar.update(task, completed=sent, total=size)
                    case Waiting(_, status):
                        said = "being transcribed" if status == "processing" else status
                        bar.update(task, total=None, description=f"{name} {said}")

        yield Bar()


class _Lines:
    def __init__(self, name: str) -> None:
        self._name = name
        self._last = ""

    def show(self, step: Uploading | Waiting) -> None:
        match step:
            case Uploading(_, size):
                self._print(f"uploading {self._name} ({size / 1e6:.1f} MB)")
            case Waiting(transcript_id, status):
                self._print(f"transcript {transcript_id}: {status}")

    def _print(self, line: str) -> None:
        if line != self._last:
            self._last = line
            progress(line)
