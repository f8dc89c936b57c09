"""The table of policies: complete, documented, and the only place that knows their names."""

import ast
from pathlib import Path
from typing import get_args

import pytest

import pipeline
from pipeline.config.settings import Policy
from pipeline.responses import policies
from pipeline.responses.policies import IN_STREAM_POLICY, POLICIES

NAMES = get_args(Policy)
ROOT = Path(pipeline.__file__).parent


def documented() -> dict[str, list[str]]:
    """Return the cells of the table in the module's docstring, by their row's first cell."""
    lines = (policies.__doc__ or "").splitlines()
    first, header, *_ = (at for at, line in enumerate(lines) if line.startswith("===="))
    last = max(at for at, line in enumerate(lines) if line.startswith("===="))
    edges = [at for at in range(len(lines[first])) if f" {lines[first]}"[at : at + 2] == " ="]
    spans = list(zip(edges, [*edges[1:], None], strict=True))
    rows = [lines[first + 1], *lines[header + 1 : last]]
    return {row[: edges[1]].strip(): [row[a:b].strip() for a, b in spans[1:]] for row in rows}


def test_every_policy_of_the_settings_has_one_row() -> None:
    assert tuple(POLICIES) == NAMES


def test_the_documented_table_names_every_policy_in_order() -> None:
    assert tuple(documented()[""]) == NAMES


@pytest.mark.parametrize(
    ("row", "field", "words"),
    [
        ("turns that wait for a response", "merges_waiting", ("one by one", "merge")),
        ("an unanswered turn is sent again", "merges_unanswered", ("no", "yes")),
        ("a back-channel meets a response", "ignores_back_channels", ("answer", "skip")),
        ("adoption cancels the live response", "replaces_live", ("no", "yes")),
        ("gateway retries beside this service", "gateway_retries", ("no", "yes")),
        ("runs in-stream", "in_stream", ("no", "yes")),
        ("live responses at once", "concurrent", ("1", "parallel")),
    ],
)
def test_the_documented_table_says_what_the_rules_say(
    row: str, field: str, words: tuple[str, str]
) -> None:
    assert documented()[row] == [words[getattr(rules, field)] for rules in POLICIES.values()]


def test_a_prompt_made_for_in_stream_gets_a_policy_that_runs_there() -> None:
    assert POLICIES[IN_STREAM_POLICY].in_stream


def test_no_module_compares_a_policy_by_its_name() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted(ROOT.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare | ast.MatchValue) and _names_a_policy(node)
    ]
    assert found == []


def _names_a_policy(node: ast.Compare | ast.MatchValue) -> bool:
    sides = [node.value] if isinstance(node, ast.MatchValue) else [node.left, *node.comparators]
    parts = [part for side in sides for part in ast.walk(side)]
    return any(isinstance(part, ast.Constant) and part.value in NAMES for part in parts)
