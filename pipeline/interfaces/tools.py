"""Tools of a model: offers, calls and results. Values only.

``responses`` decides which call runs; ``tools`` runs it. Neither imports the other.
"""

from typing import Any, Protocol

from msgspec import Struct

from pipeline.interfaces.llm import CompletionRequest


class Tool(Struct, frozen=True, kw_only=True):
    """Properties of a tool that decide how its calls are run."""

    name: str
    deadline: float  #: seconds per call
    side_effects: bool = False  #: a running call is never cancelled
    by_client: bool = False  #: a client runs it and sends ``tool.result``


class Arguments(Struct, frozen=True):
    """Decoded arguments of a call, or why they are invalid."""

    value: dict[str, Any] = {}
    error: str | None = None


class ToolRun(Struct, frozen=True, kw_only=True):
    """One call to run."""

    call_id: str  #: unique in its session
    response_id: str
    tool: Tool
    arguments: dict[str, Any]

    @property
    def key(self) -> str:
        """The idempotency key: a tool that sees it twice has already run the call."""
        return f"{self.response_id}.{self.call_id}"


class OfferedTools(Protocol):
    """The tools of one prompt."""

    def offer(self, request: CompletionRequest, *, again: bool = False) -> CompletionRequest:
        """Return ``request`` with the tools; ``again`` after results, when no tool is forced."""
        ...

    def find(self, name: str) -> Tool | None:
        """Return the offered tool of this name."""
        ...

    def read(self, name: str, text: str) -> Arguments:
        """Decode the arguments that a model wrote for an offered tool."""
        ...


class Runner(Protocol):
    """Interface that runs tool calls."""

    async def run(self, call: ToolRun) -> Any:
        """Return the tool's result as a JSON value; ``failure`` if the call failed."""
        ...


def failure(message: str) -> dict[str, Any]:
    """Return the result of a failed call; the model receives it and may correct the call."""
    return {"error": message}
