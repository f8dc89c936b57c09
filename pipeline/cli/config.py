"""``pipeline config``: the settings in effect, and their JSON Schema."""

import os
import sys
from pathlib import Path
from typing import Literal

import msgspec

from pipeline.config import loading
from pipeline.config.settings import Settings
from pipeline.runtime.hosts import shown


async def config(what: Literal["show", "schema"], /, *, config: Path | None = None) -> None:
    """Print the settings of file and environment, or the schema that they must match, as JSON.

    Parameters
    ----------
    what
        show: every setting in effect; keys are shown by their source only. schema: a JSON Schema
        of pipeline.toml, for editors.
    config
        The settings file, instead of pipeline.toml in the working directory.
    """
    if what == "schema":
        found = msgspec.json.encode(msgspec.json.schema(Settings))
    else:
        found = msgspec.json.encode(loading.load(config, os.environ), enc_hook=str)
    text = msgspec.json.format(found, indent=2).decode()
    lines = text.splitlines() if what == "schema" else map(shown, text.splitlines())
    sys.stdout.write("\n".join(lines) + "\n")
