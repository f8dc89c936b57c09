"""The documents: links, lengths, and what they name."""

import re
from pathlib import Path

import pytest

from pipeline.cli.commands import COMMANDS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCUMENTS = [
    README,
    *(
        path
        for folder in ("pipeline", "samples", "scripts", "tests")
        for path in sorted((ROOT / folder).rglob("*.md"))
    ),
]
ROOMS = sorted(path.parent for path in (ROOT / "pipeline").glob("*/__init__.py"))
HEADS = [
    *ROOMS,
    *(ROOT / name for name in ("pipeline", "tests", "scripts", "samples", "samples/deploy")),
]
LABELS = ("**Purpose**", "**Entry point**", "**Files**", "**May import**", "**One more ")

LONGEST_README = 160  #: lines
LONGEST_HEAD = 10  #: lines, the title and empty lines not counted


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(document: Path) -> str:
    """Return ``document`` without its code."""
    text = re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"(`+).+?\1", "code", text)


def anchors(document: Path) -> set[str]:
    """Return the anchors of the headings of ``document``, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.+?)\s*$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    broken: list[str] = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_readme_is_short() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= LONGEST_README


def head(folder: Path) -> str:
    """Return what the README of ``folder`` says before its first section."""
    return (folder / "README.md").read_text("utf-8").split("\n## ")[0]


@pytest.mark.parametrize("folder", HEADS, ids=name_of)
def test_a_folder_is_introduced_in_ten_lines(folder: Path) -> None:
    title, *lines = [line for line in head(folder).splitlines() if line]
    assert title.startswith("# ")
    assert 1 <= len(lines) <= LONGEST_HEAD
    assert [label for label in LABELS if label not in head(folder)] == []


@pytest.mark.parametrize("room", ROOMS, ids=name_of)
def test_a_room_lists_its_modules(room: Path) -> None:
    listed = re.search(r"\*\*Files\*\*(.*?)\n- ", head(room), re.DOTALL)
    assert listed
    modules = {path.stem for path in room.glob("*.py")} - {"__init__"}
    assert modules - set(re.findall(r"`(\w+)", head(room))) == set()
    below = {path.stem for path in room.rglob("*.py")}
    assert set(re.findall(r"`(\w+)`", listed[1])) - below == set()


def test_the_readme_lists_every_command() -> None:
    rows = re.findall(r"^\| `pipeline (\w+)", README.read_text("utf-8"), re.MULTILINE)
    assert set(rows) == set(COMMANDS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_two_servers_of_one_document_never_share_a_port(document: Path) -> None:
    servers = re.findall(r"^\$ (pipeline .*) &$", document.read_text("utf-8"), re.MULTILINE)
    ports = [
        port for server in servers for port in re.findall(r"port (\d+)", server) or ["the default"]
    ]
    assert len(ports) == len(set(ports))
