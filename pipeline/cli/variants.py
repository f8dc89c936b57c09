"""Variants of ``compare``: named changes of the settings. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from pipeline.config.settings import Prompt
from pipeline.config.validation import suggestion
from pipeline.errors import SettingsError

CHANGE = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*=(.*)", re.DOTALL)
#: separator before the next change; commas inside a value are kept
BETWEEN = re.compile(r",\s*(?=[A-Za-z_][\w-]*\.[\w.-]*\s*=)")


class Variant(Struct, frozen=True):
    """Named variant: settings by their dotted paths."""

    name: str
    changes: Mapping[str, str] = {}
    model: str | None = None  #: for every prompt


BOTH_WAYS = (Variant("client-side"), Variant("in-stream", {"llm.engine": "in-stream"}))


def variants_of(texts: Sequence[str], models: Sequence[str]) -> tuple[Variant, ...]:
    """Return the variants of ``--variant`` and ``--models``; client-side and in-stream by default.

    Raises ``SettingsError``.
    """
    named = [name.strip() for each in models for name in each.split(",") if name.strip()]
    found = (*(Variant(name, model=name) for name in named), *map(parse, texts)) or BOTH_WAYS
    names = [variant.name for variant in found]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"two variants are named {name!r}: give each its own name")
    return found


def parse(text: str) -> Variant:
    """Parse ``NAME: PATH=VALUE, PATH=VALUE``; without a name the changes are the name."""
    head, colon, rest = text.partition(":")
    name, said = (head.strip(), rest) if colon and "=" not in head else ("", text)
    changes: dict[str, str] = {}
    for part in BETWEEN.split(said) if said.strip() else ():
        match = CHANGE.fullmatch(part)
        if match is None:
            raise SettingsError(
                f'--variant: expected "NAME: llm.model=..., prompts.reply.policy=..."; got {text!r}'
            )
        changes[match[1]] = match[2].strip()
    return Variant(name or ", ".join(f"{path}={value}" for path, value in changes.items()), changes)


def check_names(variant: Variant, prompts: Mapping[str, Prompt]) -> None:
    """Refuse changes of a prompt that is not run. Raises ``SettingsError``."""
    for path in variant.changes:
        first, _, rest = path.partition(".")
        name = rest.partition(".")[0]
        if first == "prompts" and name not in prompts:
            raise SettingsError(
                f"--variant {variant.name}: no prompt {name!r}{suggestion(name, prompts)}"
            )


def settings_of_prompts(prompts: Mapping[str, Prompt]) -> dict[str, Any]:
    """Return each setting of ``prompts`` that differs from the default, by its dotted path."""
    usual = Prompt()
    return {
        f"prompts.{name}.{field}": msgspec.to_builtins(getattr(prompt, field))
        for name, prompt in prompts.items()
        for field in Prompt.__struct_fields__
        if field == "system" or getattr(prompt, field) != getattr(usual, field)
    }
