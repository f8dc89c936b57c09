"""House rules that import contracts cannot express: purity, names, wording, secrets, layout."""

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


QUESTION = re.compile(r"(What|Whether|Who|How|Which|Where)\b")
PERSON = re.compile(r"\b(some|no|any)(body)\b|\bwho(ever)\b", re.IGNORECASE)
TEXTS = {".py", ".js", ".mjs", ".ts", ".html", ".css", ".toml", ".txt", ".jsonl", ".sh", ".md"}


def test_a_modules_first_sentence_names_what_it_is() -> None:
    """A noun phrase with the field's standard term, not a question that the module answers."""
    assert [name for name in MODULES if QUESTION.match(introduction(name))] == []


def test_texts_name_a_client_subscriber_source_or_caller_and_no_person() -> None:
    rooms = ("pipeline", "samples", "scripts", "tests")
    files = (
        path
        for room in rooms
        for path in (ROOT / room).rglob("*")
        if path.suffix in TEXTS or (room == "scripts" and path.is_file() and not path.suffix)
    )
    assert [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if PERSON.search(line)
    ] == []


#: the vendor's own names of its messages; the modules beside it write ``wire.Word``
WIRE = "pipeline.stt.assemblyai.wire"
WIRE_NAMES = {"Heartbeat", "Message", "Reply", "SpeechStarted", "Word"}


def test_a_class_name_is_defined_once() -> None:
    defined: dict[str, list[str]] = {}
    for name, module in MODULES.items():
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef) and (name != WIRE or node.name not in WIRE_NAMES):
                defined.setdefault(node.name, []).append(name)
    assert {name: places for name, places in defined.items() if len(places) > 1} == {}
    assert WIRE_NAMES - defined.keys() == set(), "defined once: take it off the list"


TESTS = ROOT / "tests"
NO_BEHAVIOUR = {"interfaces"}  # values and interfaces: tested where they are used


def folders(place: Path) -> set[str]:
    """Return the folders below ``place`` with a test in them, as paths within it."""
    return {str(path.parent.relative_to(place)) for path in place.rglob("test_*.py")} - {"."}


def test_tests_stand_in_folders_with_the_names_of_rooms() -> None:
    loopback = folders(TESTS / "loopback")
    virtual = {name for name in folders(TESTS) if name.split("/")[0] != "loopback"}
    assert [name for name in virtual | loopback if not (ROOT / "pipeline" / name).is_dir()] == []
    rooms = {path.parent.name for path in (ROOT / "pipeline").glob("*/__init__.py")}
    assert rooms - {name.split("/")[0] for name in virtual | loopback} == NO_BEHAVIOUR


SECRET = re.compile(r"(^|_)(secret|token|password|signature|digest|bearer|key)($|_)")
#: of the comparisons with such a word in them, those that hold no secret
NO_SECRETS = {
    "pipeline.hub.auth.signed_tokens: token.count('.') == 2",
    "pipeline.journal.archive: page[0] == key",
    "pipeline.journal.durable: each.key != session.key",
    "pipeline.journal.durable: known.key != session.key",
    "pipeline.simulator.scenario: key != servers[0]",
    "pipeline.app.plan: settings.llm.key == LlmSettings().key",  # where it is to be found
    "pipeline.app.stt_clients: settings.llm.key != LlmSettings().key",
    "pipeline.app.plan: settings.key != SttSettings().key",
}


def words(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        match part:
            case ast.Name(id=word) | ast.Attribute(attr=word):
                yield word
            case _:
                pass


def test_no_secret_is_compared_in_a_time_that_tells_how_much_of_it_is_right() -> None:
    found = {
        f"{name}: {ast.unparse(node)}"
        for name, module in MODULES.items()
        for node in ast.walk(module)
        if isinstance(node, ast.Compare)
        and any(isinstance(how, (ast.Eq, ast.NotEq)) for how in node.ops)
        and any(SECRET.search(word) for word in words(node))
    }
    assert found == NO_SECRETS


def test_nothing_that_comes_in_can_become_code() -> None:
    loads_code = {"pickle", "marshal", "shelve", "yaml", "dill", "code"}
    assert {
        name: origin
        for name in MODULES
        for origin in imported(name)
        if origin.split(".")[0] in loads_code
    } == {}
    assert [
        f"{name}:{node.lineno}"
        for name, module in MODULES.items()
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("eval", "exec", "compile", "__import__")
    ] == []
