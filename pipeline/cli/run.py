"""``pipeline run``: one session over a recording, standard input or a microphone."""

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
from pipeline.audio.formats import description_of
from pipeline.audio.microphone import Microphone, microphones
from pipeline.audio.sources import FileSource, Source
from pipeline.cli.commands import STANDARD_INPUT
from pipeline.cli.flags import choose_prompts, engine_overrides, given_of, paced
from pipeline.cli.interrupt import on_first_interrupt
from pipeline.cli.source import AudioSelection, open_source
from pipeline.cli.storage import keeping_requests
from pipeline.cli.stored import PENDING_TRANSCRIPT, plan_over_transcript, run_over_transcript
from pipeline.cli.views.output import Item, printer, printing, progress
from pipeline.cli.views.timeline import Discarded
from pipeline.cli.views.wording import duration, position
from pipeline.config.default_prompts import STORED_PROMPTS
from pipeline.config.loading import load, with_policy
from pipeline.config.settings import Policy, Prompt, Settings
from pipeline.errors import SettingsError
from pipeline.interfaces.request_log import CallReport
from pipeline.protocol.commands import Encoding, StartCommand
from pipeline.session.session import Session

LOCAL_NOTE = (
    "the embedded model is tiny: it shows the loop, not the quality;"
    " llm.engine (--llm URL) replaces it"
)


SPEED_NOTE = (
    "not in real time: durations such as after_silence are those of the recording, turns wait for"
    " one another unless a policy is named, and times from speech to answer are not shown"
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
    request_log: Annotated[bool | None, Parameter(negative="--no-request-log")] = None,
    config: Path | None = None,
) -> int:
    """Play a recording in real time, and respond to each turn.

    With --stored, or --transcript-id and no file, nothing is played: each prompt runs once, over
    the whole transcript.

    Parameters
    ----------
    file
        The recording, in any common format, or a pipe; - reads one from standard input, or raw
        PCM.
    stt
        Speech-to-text: auto, assemblyai, local, or a ws:// or wss:// address.
    llm
        Language model: auto, assemblyai, in-stream, local, or an http:// or https:// address.
    prompt
        Name of a prompt in the settings, or a text with spaces as a new prompt. Repeatable.
    policy
        Effect of a later turn on a running response.
    model
        Name of the language model on its server.
    speed
        Seconds of the recording per second; 0 is as fast as speech-to-text accepts it. Other than
        1, turns wait for one another (queue) unless a policy is named.
    speculate
        Start responses at a pause, before the turn has ended.
    stored
        Upload the whole recording to AssemblyAI for transcription first, then run the prompts over
        the transcript.
    transcript_id
        A transcript stored at AssemblyAI, inserted in place of {{ transcript }} in the prompts.
    channels
        mixed, or separate: each channel is one speaker, with its own connection. Raw PCM has one
        channel by default; 2 means two channels to mix, separate two channels to keep separate.
    speaker
        Speaker name of each separate channel, in order. Repeatable.
    sample_rate
        Sample rate of raw PCM, in hertz: 8000 to 96000, 16000 unless given.
    encoding
        Encoding of raw PCM: pcm_s16le or pcm_mulaw.
    microphone
        Record from the microphone instead of a file, until Ctrl-C.
    device
        The microphone: its number, or part of its name.
    devices
        List the microphones and exit.
    json
        Print each event as a subscriber receives it, one per line.
    journal
        Path of a file for the events; memory unless given, independent of the settings.
    request_log
        Keep the request log in the user's state directory, for pipeline requests; it is kept
        unless the settings say otherwise. With --journal it is in that file.
    config
        The settings file, instead of pipeline.toml in the working directory.
    """
    if not 0 <= speed < float("inf"):
        raise SettingsError(f"--speed: expected a number of at least 0; got {speed}")
    if devices:
        return await list_devices()
    if (microphone or device is not None) and (file is not None or stored):
        raise SettingsError("--microphone replaces the file; leave one of them out")
    live = microphone or device is not None
    overrides = engine_overrides(stt, llm, model) | {"journal.store": journal, "journal.record": ""}
    overrides |= given_of({"journal.run_requests": request_log})
    settings = load(config, os.environ, overrides)
    whole = not live and _runs_over_transcript(file, transcript_id, stored=stored)
    known = settings.prompts or (STORED_PROMPTS if whole else plan(settings, os.environ).prompts)
    settings = replace(
        settings,
        prompts=choose_prompts(
            known,
            prompt or [],
            policy=policy,
            model=model,
            speculate=speculate,
            transcript_id=PENDING_TRANSCRIPT if stored else transcript_id,
            base=STORED_PROMPTS["summary"] if whole else None,
        ),
    )
    if whole:
        planned = plan_over_transcript(settings)
        progress(headlines(planned)[0])
        return await run_over_transcript(settings, planned, file, json=json)
    if not live and policy is None:
        named = with_policy(config, os.environ)
        settings = replace(settings, prompts=paced(settings.prompts, speed, named))
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


def _runs_over_transcript(file: str | None, transcript_id: str | None, *, stored: bool) -> bool:
    """Return whether the prompts run over a stored transcript instead of played audio."""
    if stored and transcript_id is not None:
        raise SettingsError("--stored transcribes the file: leave out --transcript-id")
    if stored and (file is None or file == STANDARD_INPUT):
        raise SettingsError("--stored: a file to upload is required")
    if file is None and transcript_id is None:
        raise SettingsError("a file or --transcript-id is required; see pipeline run --help")
    return stored or file is None


async def _play(
    source: Source, settings: Settings, planned: Plan, *, speed: float, json: bool
) -> int:
    place = PositionFooter(source, speed)
    async with (
        printing(printer(json=json, footer=place.shown)) as put,
        keeping_requests(settings.journal) as requests,
        open_app(
            settings,
            planned,
            on_progress=progress,
            on_frame=put,
            observe=(partial(_show_discarded, put),),
            requests=requests,
        ) as app,
    ):
        return await _session(app, source, speed, place)


class PositionFooter:
    """Position in the recording that is played, for the live view."""

    def __init__(self, source: Source, speed: float) -> None:
        self._total = source.duration if isinstance(source, FileSource) else None
        self._speed = speed
        self.session: Session | None = None

    def shown(self) -> str:
        """Return the position, the total and the time left; empty without a recording."""
        if self.session is None or self._total is None:
            return ""
        return position(self.session.heard, self._total, self._speed)


def _show_discarded(put: Callable[[Item], None], session_id: str, call: CallReport) -> None:
    """Show discarded speculative responses."""
    if call.outcome == "discarded":
        put(Discarded(session_id, call.prompt, call.turns, call.reason or "", call.text))


async def _session(app: App, source: Source, speed: float, place: PositionFooter) -> int:
    start = StartCommand(audio=description_of(source.format))
    real_time = speed == 1 or isinstance(source, Microphone)
    async with app.open(start, source=source.name, real_time=real_time) as session:
        place.session = session
        if isinstance(source, Microphone):
            await _record(session, source)
        else:
            await feed(session, source, speed=speed)
    for remark in _remarks(session, source):
        progress(f"{source.name}: {remark}")
    failed = session.failed_responses or session.limit_reached
    return 1 if failed or source.failure or session.has_lost_audio else 0


def _remarks(session: Session, source: Source) -> list[str]:
    """Return what the events do not show about the audio that was played."""
    remarks = [*source.remarks, *([source.failure] if source.failure else [])]
    if session.has_lost_audio:
        remarks.append("speech-to-text did not hear all of it; the events say what is missing")
    if not session.turns:
        remarks.append(f"no speech was recognised in {duration(session.heard * 1000)} of audio")
    return remarks


async def _record(session: Session, source: Microphone) -> None:
    """Feed a microphone until Ctrl-C, then wait for the last turn."""
    progress(f"listening to {source.name}; Ctrl-C ends it")
    playing = anyio.CancelScope()
    with on_first_interrupt(playing.cancel):
        await feed(session, source, speed=0, playing=playing)
    if source.lost or source.overflows:
        progress(
            f"the microphone lost {source.lost:.1f} s of audio that was not read in time,"
            f" and overflowed {source.overflows} times"
        )


async def list_devices() -> int:
    """Print the recording devices."""
    there = await to_thread.run_sync(microphones)
    for line in there or ["no recording device"]:
        progress(line)
    return 0 if there else 1


def headlines(planned: Plan, speed: float | None = None) -> list[str]:
    """Return the first lines of output: engines, policies, and the reasons for the choice."""
    pace = "" if speed is None else f"  speed {speed:g}x"
    whys = dict.fromkeys((planned.stt.why, planned.llm.why))
    engines = f"stt {planned.stt.shown}  llm {planned.llm.shown}"
    lines = [f"{engines}  {_policies(planned.prompts)}{pace}  ({'; '.join(whys)})"]
    if speed not in (None, 1):
        lines.append(SPEED_NOTE)
    if planned.llm.name == "local":
        lines.append(LOCAL_NOTE)
    return lines


def _policies(prompts: Mapping[str, Prompt]) -> str:
    if len(prompts) == 1:
        return f"policy {next(iter(prompts.values())).policy}"
    return "policies " + ", ".join(f"{name} {prompt.policy}" for name, prompt in prompts.items())
