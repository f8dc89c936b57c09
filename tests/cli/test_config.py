"""``pipeline config``."""

import json
from pathlib import Path

import jsonschema_rs
import pytest

from pipeline.cli.config import config

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
