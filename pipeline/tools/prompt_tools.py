"""Tools of one prompt: adds them to requests and parses the arguments of calls. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from pipeline.errors import SettingsError
from pipeline.interfaces.llm import CompletionRequest
from pipeline.interfaces.tools import Arguments, Tool
from pipeline.tools.arguments import ArgumentReader

#: choices that do not force a call
FREE = ("auto", "none")


class ToolDescription(Struct, frozen=True):
    """One tool with the description and schema for the model."""

    tool: Tool
    description: str
    schema: dict[str, Any]


class PromptTools:
    """Tools that one prompt offers; implements ``interfaces.tools.OfferedTools``."""

    def __init__(self, prompt: str, offers: Sequence[ToolDescription], choice: str) -> None:
        """Raises SettingsError for an invalid schema, or a choice that is not offered."""
        self._tools = {offer.tool.name: offer.tool for offer in offers}
        self._readers = {o.tool.name: ArgumentReader(o.tool.name, o.schema) for o in offers}
        if choice not in (*FREE, "required", *self._tools):
            known = ", ".join((*FREE, "required", *self._tools))
            raise SettingsError(f"prompts.{prompt}.tool_choice: {choice!r} is not one of {known}")
        self._choice = choice
        self._body: Mapping[str, Any] = {"tools": [_definition(offer) for offer in offers]}

    def offer(self, request: CompletionRequest, *, again: bool = False) -> CompletionRequest:
        # after results no call is forced, or the loop would not end; ``auto`` is the default
        choice = "auto" if again and self._choice not in FREE else self._choice
        extra = {**request.extra, **self._body}
        extra.pop("tool_choice", None)
        if choice != "auto":
            extra["tool_choice"] = _choice(choice)
        return replace(request, extra=extra)

    def find(self, name: str) -> Tool | None:
        return self._tools.get(name)

    def read(self, name: str, text: str) -> Arguments:
        return self._readers[name].read(text)


def _choice(choice: str) -> Any:
    if choice in ("none", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}


def _definition(offer: ToolDescription) -> dict[str, Any]:
    function = {
        "name": offer.tool.name,
        "description": offer.description,
        "parameters": offer.schema,
    }
    return {"type": "function", "function": function}
