"""Reads pipeline.toml, the environment and flags into ``Settings``; finds keys. A door."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
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

_SHAPE = msgspec.inspect.type_info(Settings)


class Secret:
    """A key; whatever prints it prints stars."""

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

    ``path`` must exist when given; without it ``pipeline.toml`` is read if it is there.
    ``overrides`` maps dotted paths to values; text is read as the setting wants it. Raises
    ``SettingsError`` naming everything that does not fit.
    """
    tree: Tree = {}
    wrong: list[str] = []
    for source, layer in _layers(path, env or {}, overrides or {}):
        wrong += [f"{source}: {problem}" for problem in validation.problems(_SHAPE, layer)]
        tree = validation.merge(tree, layer)
    if wrong:
        raise SettingsError("\n".join(wrong))
    return msgspec.convert(tree, Settings)


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
    kind = validation.kind_at(_SHAPE, path)
    tree: Tree = {}
    if kind is not None and isinstance(value, str):
        value = validation.read_text(kind, value)
    validation.place(tree, path, value)
    return tree


def secrets_in(settings: Settings, env: Mapping[str, str]) -> Iterator[Secret]:
    """Yield what the settings lead to by ``env:NAME`` or ``file:PATH``: never to be shown."""
    for text in _texts(msgspec.to_builtins(settings)):
        if text.startswith(("env:", "file:")):
            with suppress(SettingsError):  # whoever needs it says that it cannot be read
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
    """Return the key ``source`` leads to: ``env:NAME``, ``file:PATH``; none where it is empty.

    Raises ``SettingsError`` when a named file cannot be read.
    """
    scheme, _, name = source.partition(":")
    if scheme == "file":
        try:
            found = Path(name).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"no key could be read from {name}: {error}") from error
    else:
        found = env.get(name, "")
    return Secret(found.strip()) if found.strip() else None
