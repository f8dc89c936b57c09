"""Choice of an engine, and the reason given."""

import pytest

from pipeline.config.engine_choice import EngineChoice, choose
from pipeline.errors import SettingsError

KEY = "env:ASSEMBLYAI_API_KEY"


def test_auto_is_local_without_a_key() -> None:
    assert choose("stt", "auto", KEY, has_key=False) == EngineChoice(
        "local", "no ASSEMBLYAI_API_KEY, so local"
    )


def test_auto_is_assemblyai_with_a_key() -> None:
    assert choose("stt", "auto", KEY, has_key=True) == EngineChoice(
        "assemblyai", "ASSEMBLYAI_API_KEY is set, so assemblyai"
    )


def test_local_when_chosen_is_local_with_or_without_a_key() -> None:
    assert choose("llm", "local", KEY, has_key=True).name == "local"


def test_an_address_is_a_custom_engine() -> None:
    choice = choose("llm", "http://127.0.0.1:1/v1", KEY, has_key=False)
    assert (choice.name, choice.address) == ("custom", "http://127.0.0.1:1/v1")


def test_assemblyai_without_a_key_is_refused_with_both_remedies() -> None:
    with pytest.raises(SettingsError, match="set ASSEMBLYAI_API_KEY, or use --stt local"):
        choose("stt", "assemblyai", KEY, has_key=False)
