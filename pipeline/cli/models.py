"""``pipeline models``: list of the models that the language model's server offers."""

import os
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio
import msgspec
from msgspec.structs import replace

from pipeline.app.llm_clients import LanguageModel
from pipeline.app.plan import plan
from pipeline.cli.flags import engine_overrides
from pipeline.cli.views.output import progress
from pipeline.config.loading import load
from pipeline.config.settings import Settings
from pipeline.embedded.process import Engines, start_engines
from pipeline.errors import EngineError, GatewayError
from pipeline.gateway.call_log import CallLog
from pipeline.gateway.catalog import Catalog, Model

PATIENCE = 15.0  #: seconds for the list
ANY = "any"  #: a custom server needs a model name for requests, not for the list


async def models(
    word: str = "", /, *, llm: str | None = None, json: bool = False, config: Path | None = None
) -> None:
    """List the language models of the engine, with USD per million tokens in and out.

    Parameters
    ----------
    word
        Only models with this in their id.
    llm
        Language model: auto, assemblyai, local, or an http:// or https:// base address.
    json
        Print each model as a JSON object, one per line.
    config
        The settings file, instead of pipeline.toml in the working directory.
    """
    settings = load(config, os.environ, engine_overrides(None, llm, None))
    catalog = await _catalog(settings)
    found = [model for name, model in sorted(catalog.models.items()) if word in name]
    region = settings.llm.region if catalog.is_whole else ""  # a partial list has no regions
    for line in map(as_json, found) if json else table(found, region):
        sys.stdout.write(f"{line}\n")


async def _catalog(settings: Settings) -> Catalog:
    """Request the list from the configured engine; start the embedded one for it."""
    named = replace(settings.llm, model=settings.llm.model or ANY)
    planned = plan(replace(settings, llm=named, prompts={}), os.environ)
    async with _engines(settings, wanted=planned.llm.name == "local") as engines:
        server = LanguageModel(settings, planned, engines, CallLog(), progress)
        try:
            with anyio.fail_after(PATIENCE):
                return await server.catalog()
        except TimeoutError:
            cause = f"no response within {PATIENCE:g} s"
            raise EngineError(f"{server.engine.url} returns no list of models: {cause}") from None
        except GatewayError as error:
            url = server.engine.url
            raise EngineError(f"{url}/models returns no list of models: {error}") from error
        finally:
            await server.aclose()


@asynccontextmanager
async def _engines(settings: Settings, *, wanted: bool) -> AsyncGenerator[Engines | None]:
    if not wanted:
        yield None
        return
    async with start_engines(settings.local, progress) as engines:
        yield engines


def as_json(model: Model) -> str:
    fields = msgspec.to_builtins(replace(model, supported=frozenset()))
    return msgspec.json.encode({**fields, "supported": sorted(model.supported)}).decode()


HEAD = ("model", "regions", "in / out per M", "context", "retires", "supports")


def table(models: Sequence[Model], region: str) -> Iterator[str]:
    """Yield a line per model, with the prices of the region."""
    if not models:
        yield "no models"
        return
    rows = [HEAD, *(_cells(model, region) for model in models)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEAD))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cells(model: Model, region: str) -> tuple[str, ...]:
    price = model.price(region)
    retires = datetime.fromtimestamp(model.retires, UTC).date() if model.retires else ""
    return (
        model.id,
        " ".join(model.regions),
        "" if price is None else f"${price.prompt:g} / ${price.completions:g}",
        "" if model.context_length is None else str(model.context_length),
        str(retires),
        " ".join(sorted(model.supported)),
    )
