"""A recording that is transcribed as a whole first: how far it is, and the run over it."""

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
from pipeline.cli.views.output import printer, printing, progress
from pipeline.cli.views.wording import took
from pipeline.config.engine_choice import EngineChoice
from pipeline.config.settings import Prompt, Settings
from pipeline.errors import SettingsError
from pipeline.protocol.commands import ResponseCreateCommand, StartCommand
from pipeline.responses.prompt import speaks_of_turns
from pipeline.stt.assemblyai.stored_transcripts import Uploading, Waiting

#: stands for the id of a transcript that is still to be made, so that all else is checked before
NOT_YET = "not-yet"

NOTHING_TO_HEAR = EngineChoice("none", "a stored transcript is asked about")


def planned_over(settings: Settings) -> Plan:
    """Decide on the language model for prompts that ask over a stored transcript."""
    planned = plan(settings, os.environ)
    for name, prompt in planned.prompts.items():
        if speaks_of_turns(prompt):
            raise SettingsError(
                f"prompts.{name}: {{{{turn}}}} is what is said live, and over a stored transcript"
                " nothing is: take it out, or choose other prompts with --prompt"
            )
    return replace(planned, stt=NOTHING_TO_HEAR)


async def ask(settings: Settings, planned: Plan, file: str | None, *, json: bool) -> int:
    """Ask each prompt once over the stored transcript; of ``file``, if one is given."""
    if file is not None:
        transcript = await _transcript_of(Path(file), settings, planned)
        settings = replace(settings, prompts=with_transcript(settings.prompts, transcript))
        planned = planned_over(settings)
    ids = ", ".join(dict.fromkeys(prompt.transcript_id for prompt in planned.prompts.values()))
    async with (
        printing(printer(json=json)) as put,
        open_app(settings, planned, tell=progress, on_frame=put) as app,
        app.open(StartCommand(audio=None), source=f"transcript {ids}") as session,
    ):
        await session.command(ResponseCreateCommand())
        await session.finish()
    return 1 if session.failed_responses else 0


def with_transcript(prompts: Mapping[str, Prompt], transcript: str) -> dict[str, Prompt]:
    return {name: replace(prompt, transcript_id=transcript) for name, prompt in prompts.items()}


async def _transcript_of(path: Path, settings: Settings, planned: Plan) -> str:
    source = await FileSource.open(str(path))  # what is no recording is not sent
    seconds = source.duration
    await source.aclose()
    began = anyio.current_time()
    with _shown(path.name) as view:
        transcript = await transcripts(settings, planned).store(path, view.tell)
    length = "" if seconds is None else f" of {took(seconds * 1000)} of audio"
    progress(
        f"transcript {transcript}{length} after {took((anyio.current_time() - began) * 1000)};"
        f" to ask it again: --transcript-id {transcript}"
    )
    return transcript


# --- how far it is ---------------------------------------------------------------------------


class _View(Protocol):
    def tell(self, step: Uploading | Waiting) -> None: ...


@contextmanager
def _shown(name: str) -> Generator[_View]:
    """Give what a person sees of it on standard error: a bar on a terminal, else lines."""
    if not sys.stderr.isatty():
        yield _Lines(name)
        return
    from rich.console import Console  # heavy: only for a terminal
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"uploading {name}", total=None)

        class Bar:
            def tell(self, step: Uploading | Waiting) -> None:
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
        self._said = ""

    def tell(self, step: Uploading | Waiting) -> None:
        match step:
            case Uploading(_, size):
                self._say(f"uploading {self._name} ({size / 1e6:.1f} MB)")
            case Waiting(transcript_id, status):
                self._say(f"transcript {transcript_id}: {status}")

    def _say(self, line: str) -> None:
        if line != self._said:
            self._said = line
            progress(line)
