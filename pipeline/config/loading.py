"""Settings loader: pipeline.toml, environment and flags into ``Settings``; reads keys."""

import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, combinations, pairwise
from pathlib import Path
from typing import cast

import msgspec

from pipeline.config import validation
from pipeline.config.settings import Settings
from pipeline.config.validation import Tree
from pipeline.errors import SettingsError

#: read from the working directory when no other file is named
DEFAULT_FILE = Path("pipeline.toml")

#: PIPELINE_SERVE__PORT=9000 is serve.port
PREFIX = "PIPELINE_"

_SCHEMA = msgspec.inspect.type_info(Settings)


class Secret:
    """A key whose printed form is masked."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__


def load(
    path: Path | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """Return the settings: ``overrides`` win over ``env``, ``env`` over the file.

    ``path`` must exist when given; without it ``pipeline.toml`` is read if it exists.
    ``overrides`` maps dotted paths to values; text is converted to the setting's type. Raises
    ``SettingsError`` with every invalid setting.
    """
    tree, errors = _merged(path, env or {}, overrides or {})
    errors += _misspelled(env or {}, set(_texts(tree)))
    if errors:
        raise SettingsError("\n".join(errors))
    return msgspec.convert(tree, Settings)


def with_policy(path: Path | None, env: Mapping[str, str]) -> frozenset[str]:
    """Return the prompts whose policy the settings name, rather than leave to the default."""
    prompts = _merged(path, env, {})[0].get("prompts", {})
    return frozenset(name for name, prompt in prompts.items() if "policy" in prompt)


def _merged(
    path: Path | None, env: Mapping[str, str], overrides: Mapping[str, object]
) -> tuple[Tree, list[str]]:
    """Return the merged layers, and the errors in them."""
    tree: Tree = {}
    errors: list[str] = []
    for source, layer in _layers(path, env, overrides):
        errors += [f"{source}: {problem}" for problem in validation.problems(_SCHEMA, layer)]
        tree = validation.merge(tree, layer)
    return tree, errors


def _misspelled(env: Mapping[str, str], used: Collection[str]) -> Iterator[str]:
    """Yield an error for each variable that would be a setting with two underscores for one.

    A variable that a setting refers to by ``env:NAME`` has a use of its own.
    """
    for name in sorted(env):
        if name.startswith(PREFIX) and "__" not in name and f"env:{name}" not in used:
            path = _meant(name.removeprefix(PREFIX).lower().split("_"))
            if path:
                right = PREFIX + "__".join(path).upper()
                yield f"environment {name}: no such setting; did you mean {right}?"


def _meant(words: Sequence[str]) -> list[str]:
    """Return the path of the setting that ``words`` make, if there is one."""
    cuts = range(1, len(words))
    for ends in chain.from_iterable(combinations(cuts, depth) for depth in (1, 2, 3)):
        bounds = [0, *ends, len(words)]
        path = ["_".join(words[start:end]) for start, end in pairwise(bounds)]
        kind = validation.kind_at(_SCHEMA, path)
        if kind is not None and not isinstance(kind, msgspec.inspect.StructType):
            return path
    return []


def _layers(
    path: Path | None, env: Mapping[str, str], overrides: Mapping[str, object]
) -> Iterable[tuple[str, Tree]]:
    if path is not None or DEFAULT_FILE.is_file():
        file = path or DEFAULT_FILE
        yield str(file), _read_file(file)
    for name, text in sorted(env.items()):
        if name.startswith(PREFIX) and "__" in name:
            yield f"environment {name}", _one(name.removeprefix(PREFIX).lower().split("__"), text)
    for dotted, value in overrides.items():
        yield "command line", _one(dotted.split("."), value)


def _read_file(path: Path) -> Tree:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}") from error


def _one(path: list[str], value: object) -> Tree:
    kind = validation.kind_at(_SCHEMA, path)
    tree: Tree = {}
    if kind is not None and isinstance(value, str):
        value = validation.read_text(kind, value)
    validation.set_at(tree, path, value)
    return tree


def secrets_in(settings: Settings, env: Mapping[str, str]) -> Iterator[Secret]:
    """Yield the secrets that the settings refer to by ``env:NAME`` or ``file:PATH``."""
    for text in _texts(msgspec.to_builtins(settings)):
        if text.startswith(("env:", "file:")):
            with suppress(SettingsError):  # reported where the key is needed
                found = find_key(text, env)
                if found is not None:
                    yield found


def _texts(tree: object) -> Iterator[str]:
    match tree:
        case str():
            yield tree
        case dict():
            for value in cast("dict[str, object]", tree).values():
                yield from _texts(value)
        case list() | tuple():
            for value in cast("Sequence[object]", tree):
                yield from _texts(value)
        case _:
            pass


def find_key(source: str, env: Mapping[str, str]) -> Secret | None:
    """Return the key that ``source`` refers to: ``env:NAME``, ``file:PATH``; none if empty.

    Raises ``SettingsError`` when a named file cannot be read.
    """
    scheme, _, name = source.partition(":")
    if scheme == "file":
        try:
            found = Path(name).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read a key from {name}: {error}") from error
    else:
        found = env.get(name, "")
    return Secret(found.strip()) if found.strip() else None
