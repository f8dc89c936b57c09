"""``pipeline config``: the settings in effect, and their JSON Schema."""

import os
import sys
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from pipeline.config import loading
from pipeline.config.settings import Settings
from pipeline.runtime.hosts import shown

HIDDEN = "(hidden)"
#: tables, also of the fields that are passed on unchecked, whose values may be secrets
HEADERS = ("headers", "extra_headers")


async def config(what: Literal["show", "schema"], /, *, config: Path | None = None) -> None:
    """Print the settings of file and environment, or the schema that they must match, as JSON.

    Parameters
    ----------
    what
        show: every setting in effect; keys and headers are shown by their source only. schema: a
        JSON Schema of pipeline.toml, for editors.
    config
        The settings file, instead of pipeline.toml in the working directory.
    """
    if what == "schema":
        found = msgspec.json.encode(msgspec.json.schema(Settings))
    else:
        settings = msgspec.to_builtins(loading.load(config, os.environ), enc_hook=str)
        found = msgspec.json.encode(without_headers(settings))
    text = msgspec.json.format(found, indent=2).decode()
    lines = text.splitlines() if what == "schema" else map(shown, text.splitlines())
    sys.stdout.write("\n".join(lines) + "\n")


def without_headers(tree: object) -> object:
    """Return ``tree`` with each header's value hidden that is no ``env:`` or ``file:`` source."""
    if isinstance(tree, dict):
        return {
            name: _hidden(value) if name.lower() in HEADERS else without_headers(value)
            for name, value in cast("dict[str, Any]", tree).items()
        }
    if isinstance(tree, list | tuple):
        return [without_headers(item) for item in cast("list[object]", tree)]
    return tree


def _hidden(tree: object) -> object:
    match tree:
        case dict():
            fields = cast("dict[str, object]", tree)
            return {name: _hidden(value) for name, value in fields.items()}
        case list() | tuple():
            return [_hidden(item) for item in cast("list[object]", tree)]
        case str() if not tree or tree.startswith(("env:", "file:")):
            return tree
        case _:
            return HIDDEN
