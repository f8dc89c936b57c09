"""samples/pipeline.toml, the reference of the settings: complete and correct."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.loading import load
from pipeline.config.settings import McpSettings, Prompt, Settings, ToolSettings, WebhookSettings

SAMPLE = Path(__file__).parents[2] / "samples" / "pipeline.toml"

SECTIONS: dict[str, Any] = {
    name: getattr(Settings(), name)
    for name in Settings.__struct_fields__
    if name not in ("prompts", "tools", "mcp", "webhooks")
}
SECTIONS["tools.NAME"] = ToolSettings()  # the sample has one only as a comment
SECTIONS["mcp.NAME"] = McpSettings()  # only as a comment, too
SECTIONS["webhooks.NAME"] = WebhookSettings()  # only as a comment, too
SECTIONS["prompts.reply"] = Prompt()


def table(name: str) -> dict[str, Any]:
    found: Any = tomllib.loads(SAMPLE.read_text("utf-8"))
    for part in name.split("."):
        found = found.get(part, {}) if name.endswith(".NAME") else found[part]
    return dict(found)


def test_the_sample_equals_the_defaults() -> None:
    assert load(SAMPLE) == Settings(prompts={"reply": Prompt()})


@pytest.mark.parametrize("section", SECTIONS)
def test_the_sample_names_every_setting(section: str) -> None:
    commented = re.findall(r"^# (\w+) = ", SAMPLE.read_text("utf-8"), re.MULTILINE)
    named = set(table(section)) | set(commented)
    assert set(SECTIONS[section].__struct_fields__) - named == set()


@pytest.mark.parametrize("section", SECTIONS)
def test_the_readme_lists_every_setting(section: str) -> None:
    readme = (SAMPLE.parents[1] / "pipeline/config/README.md").read_text("utf-8")
    prefix = section.replace(".reply", ".NAME")
    rows = {f"{prefix}.{name}" for name in SECTIONS[section].__struct_fields__}
    assert {row for row in rows if f"| `{row}` |" not in readme} == set()
