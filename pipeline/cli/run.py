"""``pipeline run``: a recording in, its turns and the answers to them out."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
from anyio import to_thread
from cyclopts import Parameter
from msgspec.structs import replace

from pipeline.app.app import App, feed
from pipeline.app.plan import Plan, plan
from pipeline.app.startup import open_app
from pipeline.audio.formats import described
from pipeline.audio.microphone import Microphone, microphones
from pipeline.audio.sources import Source
from pipeline.cli.commands import STANDARD_INPUT
from pipeline.cli.flags import choose_prompts, engine_overrides
from pipeline.cli.interrupt import interrupt_ends
from pipeline.cli.source import AudioSelection, open_source
from pipeline.cli.stored import NOT_YET, ask, planned_over
from pipeline.cli.views.output import Item, printer, printing, progress
from pipeline.cli.views.timeline import Discarded
from pipeline.config.default_prompts import STORED_PROMPTS
from pipeline.config.loading import load
from pipeline.config.settings import Policy, Prompt, Settings
from pipeline.errors import SettingsError
from pipeline.interfaces.request_log import CallReport
from pipeline.protocol.commands import Encoding, StartCommand
from pipeline.session.session import Session

HONEST = (
    "the embedded model is tiny: it shows the loop, not the quality;"
    " llm.engine (--llm URL) replaces it"
)


async def run(
    file: str | None = None,
    /,
    *,
    stt: str | None = None,
    llm: str | None = None,
    prompt: list[str] | None = None,
    policy: Policy | None = None,
    model: str | None = None,
    speed: float = 1.0,
    speculate: Annotated[bool | None, Parameter(negative="--no-speculate")] = None,
    stored: bool = False,
    transcript_id: str | None = None,
    channels: str | None = None,
    speaker: list[str] | None = None,
    sample_rate: int | None = None,
    encoding: Encoding | None = None,
    microphone: bool = False,
    device: str | None = None,
    devices: bool = False,
    json: bool = False,
    journal: str = "memory",
    config: Path | None = None,
) -> int:
    """Play a recording as if it were spoken now, and answer each turn.

    With --stored, or --transcript-id and no file, nothing is played: each prompt is asked once,
    over the whole transcript.

    Parameters
    ----------
    file
        The recording, in any common format; - reads raw PCM from standard input.
    stt
        Speech-to-text: auto, assemblyai, local, or a ws:// or wss:// address.
    llm
        Language model: auto, assemblyai, in-stream, local, or an http:// or https:// address.
    prompt
        Name of a prompt in the settings, or, with a space in it, the text of one. Repeatable.
    policy
        What a later turn does to a running answer: supersede, queue, parallel or conflate.
    model
        Name of the language model, as its server knows it.
    speed
        How many seconds of the recording pass in one; 0 is as fast as it is taken.
    speculate
        Start answering at a pause, before the turn has ended.
    stored
        Have AssemblyAI transcribe and keep the whole recording first, then ask over that.
    transcript_id
        A transcript that AssemblyAI keeps, put in where {{ transcript }} stands in the prompts.
    channels
        mixed, or separate: each channel is one speaker, heard over a connection of its own. Raw
        PCM has one channel; 2 says that it has two, which are mixed, separate that they are not.
    speaker
        Who is on a separate channel, from the first on. Repeatable.
    sample_rate
        Of raw PCM, in hertz: 8000 to 96000, 16000 unless given.
    encoding
        Of raw PCM: pcm_s16le or pcm_mulaw.
    microphone
        Listen to the microphone instead of a file, until Ctrl-C.
    device
        Which microphone: its number, or part of its name.
    devices
        List the microphones, and do nothing else.
    json
        Print each event as a subscriber receives it, one per line.
    journal
        The path of a file that keeps the events; memory unless given, whatever the settings say.
    config
        The settings file, instead of pipeline.toml in the working directory.
    """
    if not 0 <= speed < float("inf"):
        raise SettingsError(f"--speed: expected a number of at least 0; got {speed}")
    if devices:
        return await list_devices()
    if (microphone or device is not None) and (file is not None or stored):
        raise SettingsError("--microphone stands instead of a file; leave one of them out")
    live = microphone or device is not None
    overrides = engine_overrides(stt, llm, model) | {"journal.store": journal, "journal.record": ""}
    settings = load(config, os.environ, overrides)
    whole = not live and _over_stored(file, transcript_id, stored=stored)
    known = settings.prompts or (STORED_PROMPTS if whole else plan(settings, os.environ).prompts)
    settings = replace(
        settings,
        prompts=choose_prompts(
            known,
            prompt or [],
            policy=policy,
            model=model,
            speculate=speculate,
            transcript_id=NOT_YET if stored else transcript_id,
            base=STORED_PROMPTS["summary"] if whole else None,
        ),
    )
    if whole:
        planned = planned_over(settings)
        progress(headlines(planned)[0])
        return await ask(settings, planned, file, json=json)
    planned = plan(settings, os.environ)
    source = await open_source(
        AudioSelection(
            file=file,
            device=device,
            channels=channels,
            sample_rate=sample_rate,
            encoding=encoding,
            speakers=speaker or settings.stt.speakers,
            separate=settings.stt.channels == "separate",
        )
    )
    try:
        for line in headlines(planned, None if live else speed):
            progress(line)
        return await _play(source, settings, planned, speed=0 if live else speed, json=json)
    finally:
        with anyio.move_on_after(settings.stt.close_timeout, shield=True):
            await source.aclose()


def _over_stored(file: str | None, transcript_id: str | None, *, stored: bool) -> bool:
    """Say whether a whole transcript is asked about, and not what is played."""
    if stored and transcript_id is not None:
        raise SettingsError("--stored makes a transcript of the file: leave out --transcript-id")
    if stored and (file is None or file == STANDARD_INPUT):
        raise SettingsError("--stored: a file is needed, to be uploaded")
    if file is None and transcript_id is None:
        raise SettingsError("a file is needed, or --transcript-id; pipeline run --help says more")
    return stored or file is None


async def _play(
    source: Source, settings: Settings, planned: Plan, *, speed: float, json: bool
) -> int:
    async with (
        printing(printer(json=json)) as put,
        open_app(
            settings,
            planned,
            tell=progress,
            on_frame=put,
            observe=(partial(_guesses, put),),
        ) as app,
    ):
        return await _session(app, source, speed)


def _guesses(put: Callable[[Item], None], session_id: str, call: CallReport) -> None:
    """Have the guesses shown that came to nothing."""
    if call.outcome == "discarded":
        put(Discarded(session_id, call.prompt, call.turns, call.reason or "", call.text))


async def _session(app: App, source: Source, speed: float) -> int:
    start = StartCommand(audio=described(source.format))
    async with app.open(start, source=source.name) as session:
        if isinstance(source, Microphone):
            await _listen(session, source)
        else:
            await feed(session, source, speed=speed)
    return 1 if session.failed_responses else 0


async def _listen(session: Session, source: Microphone) -> None:
    """Hear a microphone until Ctrl-C, and then its last turn out."""
    progress(f"listening to {source.name}; Ctrl-C ends it")
    playing = anyio.CancelScope()
    with interrupt_ends(playing.cancel):
        await feed(session, source, speed=0, playing=playing)
    if source.lost or source.overflows:
        progress(
            f"the microphone lost {source.lost:.1f} s because nobody read them in time,"
            f" and overflowed {source.overflows} times"
        )


async def list_devices() -> int:
    """Print what can record."""
    there = await to_thread.run_sync(microphones)
    for line in there or ["no device that records"]:
        progress(line)
    return 0 if there else 1


def headlines(planned: Plan, speed: float | None = None) -> list[str]:
    """Return the first lines: what runs, and why."""
    pace = "" if speed is None else f"  speed {speed:g}x"
    whys = dict.fromkeys((planned.stt.why, planned.llm.why))
    engines = (
        f"stt {planned.stt.address or planned.stt.name}"
        f"  llm {planned.llm.address or planned.llm.name}"
    )
    lines = [f"{engines}  {_policies(planned.prompts)}{pace}  ({'; '.join(whys)})"]
    if planned.llm.name == "local":
        lines.append(HONEST)
    return lines


def _policies(prompts: Mapping[str, Prompt]) -> str:
    if len(prompts) == 1:
        return f"policy {next(iter(prompts.values())).policy}"
    return "policies " + ", ".join(f"{name} {prompt.policy}" for name, prompt in prompts.items())
