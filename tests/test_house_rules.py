"""Rules of the house that the import checker cannot hold by itself."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WORLD = {"anyio", "asyncio", "logging", "os", "random", "secrets", "socket", "threading", "time"}

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
        path.read_text("utf-8")
    )
    for path in sorted((ROOT / "pipeline").rglob("*.py"))
}


def introduction(module: str) -> str:
    return ast.get_docstring(MODULES[module]) or ""


def calls_itself_pure(module: str) -> bool:
    return bool(re.search(r"\b(Pure|Values only)[.;]", introduction(module)))


def imported(module: str) -> Iterator[str]:
    for node in ast.walk(MODULES[module]):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=str(origin)):
                for alias in node.names:
                    inner = f"{origin}.{alias.name}"
                    yield inner if inner in MODULES else origin
            case _:
                pass


@pytest.mark.parametrize("module", [name for name in MODULES if calls_itself_pure(name)])
def test_a_pure_module_touches_nothing_of_the_world(module: str) -> None:
    names = set(imported(module))
    assert {name.split(".")[0] for name in names} & WORLD == set()
    ours = {name for name in names if name.startswith("pipeline.")}
    assert [name for name in ours if not calls_itself_pure(name)] == []


def test_every_module_says_what_it_is() -> None:
    assert [name for name in MODULES if not introduction(name)] == []
