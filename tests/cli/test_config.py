"""``pipeline config``."""

import json
from pathlib import Path

import jsonschema_rs
import pytest

from pipeline.cli.config import config, without_headers

pytestmark = pytest.mark.anyio


async def test_the_settings_in_effect_match_the_schema_and_hide_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[llm]\nengine = "http://user:canary@localhost:9/v1"\n', "utf-8")
    monkeypatch.setenv("PIPELINE_SERVE__PORT", "9000")
    await config("show", config=file)
    text = capsys.readouterr().out
    assert "canary" not in text
    shown = json.loads(text)
    assert shown["serve"]["port"] == 9000
    await config("schema")
    schema = json.loads(capsys.readouterr().out)
    assert list(jsonschema_rs.validator_for(schema).iter_errors(shown)) == []


async def test_a_header_in_a_field_that_is_passed_on_is_hidden_unless_it_is_a_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        """
        [llm]
        headers = { "x-key" = "env:PROXY_KEY" }
        [prompts.reply]
        system = "Answer."
        [prompts.reply.extra]
        tools = [{ type = "mcp", headers = { Authorization = "Bearer canary" } }]
        """,
        "utf-8",
    )
    await config("show", config=file)
    text = capsys.readouterr().out
    assert "canary" not in text
    settings = json.loads(text)
    assert settings["llm"]["headers"] == {"x-key": "env:PROXY_KEY"}
    (tool,) = settings["prompts"]["reply"]["extra"]["tools"]
    assert tool == {"type": "mcp", "headers": {"Authorization": "(hidden)"}}


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ("env:NAME", "env:NAME"),
        ("file:/run/key", "file:/run/key"),
        ("", ""),
        ("Bearer x", "(hidden)"),
        (7, "(hidden)"),
        (["x", "env:A"], ["(hidden)", "env:A"]),
        ({"a": "x"}, {"a": "(hidden)"}),
    ],
)
def test_values_of_headers_are_hidden_at_any_depth(value: object, printed: object) -> None:
    for name in ("headers", "Headers", "extra_headers"):
        tree = {"a": [{name: {"x": value}}], "b": "Bearer x"}
        assert without_headers(tree) == {"a": [{name: {"x": printed}}], "b": "Bearer x"}
