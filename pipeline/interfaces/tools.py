"""Tools that a model may call: what is offered, what is asked for, what comes back. Values only.

``responses`` decides which call is carried out; ``tools`` carries it out. Neither knows the
other.
"""

from typing import Any, Protocol

from msgspec import Struct

from pipeline.interfaces.llm import CompletionRequest


class Tool(Struct, frozen=True, kw_only=True):
    """One tool, as far as deciding about its calls goes."""

    name: str
    deadline: float  #: seconds that a call may take
    side_effects: bool = False  #: a call that has begun is never called off
    by_client: bool = False  #: a client carries it out and sends ``tool.result``


class Arguments(Struct, frozen=True):
    """The arguments of a call, read: what was meant, or why it is nothing that fits."""

    value: dict[str, Any] = {}
    error: str | None = None


class ToolRun(Struct, frozen=True, kw_only=True):
    """One call that is to be carried out."""

    call_id: str  #: the only one of its session
    response_id: str
    tool: Tool
    arguments: dict[str, Any]

    @property
    def key(self) -> str:
        """The idempotency key: whoever sees it twice has carried the call out already."""
        return f"{self.response_id}.{self.call_id}"


class OfferedTools(Protocol):
    """The tools of one prompt."""

    def offer(self, request: CompletionRequest, *, again: bool = False) -> CompletionRequest:
        """Return ``request`` with the tools; ``again`` behind results, where none is forced."""
        ...

    def find(self, name: str) -> Tool | None:
        """Return the tool that is offered under this name."""
        ...

    def read(self, name: str, text: str) -> Arguments:
        """Read the arguments that a model wrote for a tool that is offered."""
        ...


class Runner(Protocol):
    """Carries calls out."""

    async def run(self, call: ToolRun) -> Any:
        """Return what the tool says, as a JSON value; ``failure`` when it went wrong."""
        ...


def failure(message: str) -> dict[str, Any]:
    """Return the result of a call that went wrong: the model is told, and may mend it."""
    return {"error": message}
