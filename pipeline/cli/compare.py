"""``pipeline compare``: comparison of several settings over one recording."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import anyio
from msgspec.structs import replace

from pipeline.app.app import feed
from pipeline.app.plan import plan, prompts_of
from pipeline.app.startup import open_app
from pipeline.audio.sources import FileSource
from pipeline.cli.flags import choose_prompts, engine_overrides, paced
from pipeline.cli.variants import Variant, check_names, settings_of_prompts, variants_of
from pipeline.cli.views.comparison import (
    TIMES,
    Tally,
    VariantResult,
    as_json,
    lines,
    middle_and_high,
)
from pipeline.cli.views.output import progress
from pipeline.cli.views.wording import duration
from pipeline.config.loading import load, with_policy
from pipeline.config.settings import Policy, Prompt, Settings
from pipeline.errors import PipelineError, SettingsError
from pipeline.protocol.commands import StartCommand
from pipeline.protocol.events import Frame, decode_event
from pipeline.responses.in_stream_prompt import adapted


async def compare(
    file: str,
    /,
    *,
    variant: list[str] | None = None,
    models: list[str] | None = None,
    stt: str | None = None,
    llm: str | None = None,
    prompt: list[str] | None = None,
    policy: Policy | None = None,
    model: str | None = None,
    speed: float = 1.0,
    json: bool = False,
    config: Path | None = None,
) -> int:
    """Run a recording with several settings, one after the other, and show the differences.

    Without --variant and --models it compares client-side requests, by --llm and the settings,
    with in-stream replies, which AssemblyAI's speech-to-text requests from the model itself.

    Parameters
    ----------
    file
        The recording, in any common format.
    variant
        A variant, as "NAME: llm.model=a, prompts.reply.policy=queue": settings by their
        names in pipeline.toml, which override all others. Repeatable.
    models
        Models to compare, separated by commas: one variant each.
    stt
        Speech-to-text of every variant: auto, assemblyai, local, or a ws:// or wss:// address.
    llm
        Language model of every variant: as for run.
    prompt
        Name of a prompt in the settings, or a text with spaces as a new prompt. Repeatable.
    policy
        Effect of a later turn on a running response.
    model
        Name of the language model on its server.
    speed
        Seconds of the recording per second; 0 is as fast as speech-to-text accepts it.
    json
        Print each variant as a JSON object, one per line, as soon as it has run.
    config
        The settings file, instead of pipeline.toml in the working directory.
    """
    if not 0 <= speed < float("inf"):
        raise SettingsError(f"--speed: expected a number of at least 0; got {speed}")
    overrides: dict[str, object] = {
        **engine_overrides(stt, llm, model),
        "journal.store": "memory",
        "journal.record": "",
    }
    base = load(config, os.environ, overrides)
    prompts = choose_prompts(prompts_of(base, os.environ), prompt or [], policy=policy, model=model)
    if policy is None:
        prompts = paced(prompts, speed, with_policy(config, os.environ))
    chosen = variants_of(variant or [], models or [])
    prepared = [_settings_of(each, overrides, prompts, config) for each in chosen]
    await (await FileSource.open(file)).aclose()  # an unreadable file fails before the first run
    runs: list[VariantResult] = []
    for number, (name, note, settings) in enumerate(prepared, 1):
        progress(f"{number} of {len(prepared)}: {name}{note}")
        run = await _run_variant(name, settings, file, speed)
        progress(f"  {_outcome(run)}")
        runs.append(run)
        if json:
            sys.stdout.write(as_json(run).decode() + "\n")
            sys.stdout.flush()
    if not json:
        for line in lines(runs, several_prompts=len(prompts) > 1):
            sys.stdout.write(f"{line}\n")
    return 0 if all(run.is_flawless for run in runs) else 1


def _settings_of(
    variant: Variant,
    overrides: Mapping[str, object],
    prompts: Mapping[str, Prompt],
    config: Path | None,
) -> tuple[str, str, Settings]:
    """Return a variant's name, a note on it, and its settings with the chosen prompts."""
    check_names(variant, prompts)
    model = variant.model or variant.changes.get("llm.model")
    if model is not None:
        prompts = {name: replace(prompt, model=model) for name, prompt in prompts.items()}
    every = {**overrides, **settings_of_prompts(prompts), **variant.changes}
    settings = load(config, os.environ, every)
    mine = {name: settings.prompts[name] for name in prompts}
    note = ""
    if settings.llm.engine == "in-stream":
        fitted = {name: adapted(prompt) for name, prompt in mine.items()}
        mine = {name: prompt for name, (prompt, _) in fitted.items()}
        note = "; ".join(
            f"{name} has {changed} there" for name, (_, changed) in fitted.items() if changed
        )
    return variant.name, f" ({note})" if note else "", replace(settings, prompts=mine)


async def _run_variant(name: str, settings: Settings, file: str, speed: float) -> VariantResult:
    """Run one variant to its end; an error becomes part of its result."""
    tally = Tally(name)
    try:
        await _play(settings, file, speed, tally)
    except PipelineError as error:
        tally.run.failed = "; ".join(str(error).splitlines())
    return tally.run


async def _play(settings: Settings, file: str, speed: float, tally: Tally) -> None:
    def take(frame: Frame) -> None:
        tally.feed(decode_event(frame.data))

    planned = plan(settings, os.environ)
    source = await FileSource.open(file)
    try:
        async with (
            open_app(settings, planned, on_progress=progress, on_frame=take) as app,
            app.open(StartCommand(), source=source.name, real_time=speed == 1) as session,
        ):
            await feed(session, source, speed=speed)
    finally:
        with anyio.move_on_after(settings.stt.close_timeout, shield=True):
            await source.aclose()


def _outcome(run: VariantResult) -> str:
    """Return a short summary of one variant."""
    if run.failed is not None:
        return f"failed: {run.failed}"
    found = middle_and_high(run, TIMES["e2e"])
    middle = "" if found is None else f", e2e p50 {duration(found[0])}"
    return f"{len(run.turns)} turns, {len(run.answers)} answers{middle}"
