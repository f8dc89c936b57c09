"""Python functions as tools: their schema, their call, and what cannot be one."""

from typing import Any, Literal

import pytest

from pipeline.config.settings import Prompt, ToolSettings
from pipeline.errors import SettingsError
from pipeline.interfaces.tools import Tool, ToolRun
from pipeline.tools.python import PythonTool
from pipeline.tools.signature import signature_of
from pipeline.tools.toolset import Toolset


async def find_train(
    town: str, day: Literal["today", "tomorrow"] = "today", *, idempotency_key: str
) -> dict[str, str]:
    """Find the next train.

    Args:
        town (str): where it goes
    """
    return {"to": town, "day": day, "key": idempotency_key}


def broken(n: int) -> int:
    """Always breaks."""
    raise ValueError(f"no {n}")


def no_hint(n) -> None: ...  # type: ignore[no-untyped-def]


def too_many(*names: str) -> None: ...


def run_of(name: str, **arguments: Any) -> ToolRun:
    tool = Tool(name=name, deadline=1.0)
    return ToolRun(call_id="c1", response_id="r1", tool=tool, arguments=arguments)


def test_the_schema_comes_from_the_signature_and_the_docstring() -> None:
    signature = signature_of("find_train", find_train)

    assert signature.description == "Find the next train."
    assert signature.schema == {
        "type": "object",
        "properties": {
            "town": {"type": "string", "description": "where it goes"},
            "day": {"enum": ["today", "tomorrow"], "default": "today"},
        },
        "required": ["town"],
        "additionalProperties": False,
    }


async def test_a_function_is_called_with_its_arguments_and_its_key() -> None:
    found = await PythonTool(f"{__name__}:find_train").run(run_of("find_train", town="Oslo"))
    assert found == {"to": "Oslo", "day": "today", "key": "r1.c1"}


async def test_what_a_function_raises_is_sent_to_the_model() -> None:
    toolset = Toolset({"reply": Prompt(tools=(f"{__name__}:broken",))}, {}, str)
    assert await toolset.run(run_of("broken", n=3)) == {"error": "broken failed: ValueError: no 3"}


async def test_the_sample_tool_looks_an_order_up() -> None:
    found = await PythonTool("samples.tools:order_status").run(run_of("order_status", order=4711))
    assert found == {"order": 4711, "status": "shipped yesterday"}


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (
            "nowhere:find",
            "no function nowhere:find in this directory or in the installed packages: No module",
        ),
        (f"{__name__}:nothing", "no function"),
        (f"{__name__}:run_of.__doc__", "is not a function"),
        (f"{__name__}:no_hint", "'n' has no type hint"),
        (f"{__name__}:too_many", "cannot have the parameter"),
    ],
)
def test_what_is_no_tool_is_refused(where: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        PythonTool(where)


@pytest.mark.parametrize(
    ("prompt", "table", "said"),
    [
        (Prompt(tools=("lookup",)), ToolSettings(), r"no \[tools.lookup\]; there is other"),
        (Prompt(tools=("other",), tool_choice="none?"), ToolSettings(kind="client"), "tool_choice"),
        (Prompt(tools=("other",)), ToolSettings(kind="http", url="orders"), "not an http://"),
        (
            Prompt(tools=("nowhere:find",)),
            ToolSettings(),
            "prompts.reply.tools: no function nowhere",
        ),
        (Prompt(tools=("other",)), ToolSettings(kind="client", schema={"type": 5}), "its schema"),
    ],
)
def test_settings_that_make_no_tool_are_refused(
    prompt: Prompt, table: ToolSettings, said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        Toolset({"reply": prompt}, {"other": table}, str)
