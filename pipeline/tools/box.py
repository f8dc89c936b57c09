"""Every tool that a prompt offers: made from the settings, and carried out. A door."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pipeline.errors import SettingsError
from pipeline.settings import Prompt, ToolSettings
from pipeline.toolbox import Tool, ToolRun, failure
from pipeline.tools.arguments import NOTHING
from pipeline.tools.http import HttpTool
from pipeline.tools.kit import Offer, PromptKit
from pipeline.tools.python import PythonTool

logger = logging.getLogger(__name__)


class Carrier(Protocol):
    """One tool that can be carried out here."""

    async def run(self, call: ToolRun) -> Any: ...


class Box:
    """The tools of all prompts. Satisfies ``toolbox.Runner``."""

    def __init__(
        self,
        prompts: Mapping[str, Prompt],
        tools: Mapping[str, ToolSettings],
        secret: Callable[[str], str],
    ) -> None:
        """``secret`` finds what ``env:NAME`` means. Raises SettingsError for what cannot be."""
        self._tools = tools
        self._secret = secret
        self._offers: dict[str, Offer] = {}
        self._carriers: dict[str, Carrier] = {}
        self.kits = {
            name: PromptKit(name, [self._offer(name, tool) for tool in prompt.tools], choice)
            for name, prompt in prompts.items()
            if prompt.tools and (choice := prompt.tool_choice)
        }

    async def run(self, call: ToolRun) -> Any:
        """Return what the tool says; whatever it raises becomes a result that says so."""
        try:
            return await self._carriers[call.tool.name].run(call)
        except Exception as error:  # noqa: BLE001 - somebody else's code: the model is told
            fault, about = type(error).__name__, {"said": str(error)}  # may quote its arguments
            logger.warning("tool %s failed: %s", call.tool.name, fault, extra=about)
            return failure(f"{call.tool.name} failed: {type(error).__name__}: {error}"[:500])

    async def aclose(self) -> None:
        for carrier in self._carriers.values():
            if isinstance(carrier, HttpTool):
                await carrier.aclose()

    def _offer(self, prompt: str, listed: str) -> Offer:
        settings = self._tools.get(listed)
        if settings is None and ":" not in listed:
            known = ", ".join(self._tools) or "none"
            raise SettingsError(
                f"prompts.{prompt}.tools: no [tools.{listed}]; there is {known};"
                " a Python function is module:function"
            )
        name = listed if settings is not None else listed.rpartition(":")[2].replace(".", "_")
        if name in self._offers and settings is None and name in self._tools:
            raise SettingsError(f"prompts.{prompt}.tools: two tools are called {name}")
        if name not in self._offers:
            self._offers[name] = self._made(name, settings or ToolSettings(function=listed))
        return self._offers[name]

    def _made(self, name: str, settings: ToolSettings) -> Offer:
        tool = Tool(
            name=name,
            deadline=settings.deadline,
            side_effects=settings.side_effects,
            by_client=settings.kind == "client",
        )
        description, schema = settings.description, settings.schema
        if settings.kind == "python":
            function = PythonTool(settings.function)
            self._carriers[name] = function
            description, schema = description or function.description, schema or function.schema
        elif settings.kind == "http":
            headers = {key: self._secret(source) for key, source in settings.headers.items()}
            self._carriers[name] = HttpTool(settings.url, headers)
        return Offer(tool, description, schema or NOTHING)
