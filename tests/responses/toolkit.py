"""Two tools for the scheduler's tests: one that may be cancelled, one with side effects."""

from pipeline.config.settings import Prompt
from pipeline.interfaces.llm import ToolCallDelta
from pipeline.interfaces.tools import Tool
from pipeline.tools.prompt_tools import PromptTools, ToolDescription

NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
NAMES = ("look", "book", "ask")


def kit(prompt: Prompt | None = None) -> PromptTools:
    choice = prompt.tool_choice if prompt else "auto"
    tools = [
        Tool(name=name, deadline=5.0, side_effects=name == "book", by_client=name == "ask")
        for name in NAMES
    ]
    return PromptTools(
        "reply", [ToolDescription(tool, f"To {tool.name}.", NUMBER) for tool in tools], choice
    )


def call(
    index: int, name: str, arguments: str = '{"n":1}', id_: str | None = None
) -> ToolCallDelta:
    return ToolCallDelta(index, f"c{index}" if id_ is None else id_, name, arguments)
