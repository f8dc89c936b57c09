"""Toolset: creates the tools of all prompts from the settings, and runs their calls."""

import logging
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any, Protocol

import anyio

from pipeline.config.settings import McpSettings, Prompt, ToolSettings
from pipeline.errors import SettingsError
from pipeline.interfaces.tools import Tool, ToolRun, failure
from pipeline.runtime.tasks import plain_errors
from pipeline.tools.arguments import NO_PARAMETERS
from pipeline.tools.http import HttpTool
from pipeline.tools.mcp import INSTALL, ListedTool, McpServer
from pipeline.tools.prompt_tools import PromptTools, ToolDescription
from pipeline.tools.python import PythonTool

MCP = "mcp:"  #: prefix of a server's name in a prompt's tools
LONGEST_NAME = 64  #: characters of a tool's name that models accept

logger = logging.getLogger(__name__)


class RunnableTool(Protocol):
    """One tool that this process can run."""

    async def run(self, call: ToolRun) -> Any: ...


class McpTool:
    """A tool of an MCP server."""

    def __init__(self, server: McpServer, name: str) -> None:
        self._server = server
        self._name = name

    async def run(self, call: ToolRun) -> Any:
        return await self._server.call(self._name, call)


class Toolset:
    """Tools of all prompts; implements ``interfaces.tools.Runner``."""

    def __init__(
        self,
        prompts: Mapping[str, Prompt],
        tools: Mapping[str, ToolSettings],
        secret: Callable[[str], str],
        servers: Mapping[str, McpSettings] | None = None,
    ) -> None:
        """``secret`` resolves ``env:NAME``. Raises SettingsError for invalid tools."""
        self._tools = tools
        self._secret = secret
        self._configured = servers or {}
        self._servers: dict[str, McpServer] = {}
        self._offers: dict[str, ToolDescription] = {}
        self._runners: dict[str, RunnableTool] = {}
        self._sources: dict[str, str] = {}  # by tool name
        self._prompts = {name: prompt for name, prompt in prompts.items() if prompt.tools}
        self._offered_tools: dict[str, PromptTools] = {}
        for name, prompt in self._prompts.items():
            own = [self._offer(name, tool) for tool in prompt.tools if not _is_mcp(tool)]
            if len(own) == len(prompt.tools):  # else its MCP servers must list their tools first
                self._offered_tools[name] = PromptTools(name, own, prompt.tool_choice)
            for listed in filter(_is_mcp, prompt.tools):
                self._server_of(name, listed)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Mapping[str, PromptTools]]:
        """Connect to every MCP server; yield the tools of each prompt that offers any.

        Raises ToolsError for a server that cannot be reached, SettingsError for an unknown tool
        or for two tools with the same name.
        """
        async with plain_errors(), anyio.create_task_group() as tasks:
            try:
                async with plain_errors(), anyio.create_task_group() as starting:
                    for server in self._servers.values():
                        starting.start_soon(tasks.start, server.stay_connected)
                for name, prompt in self._prompts.items():
                    if name not in self._offered_tools:
                        offers = [o for tool in prompt.tools for o in self._offered(name, tool)]
                        unique = {offer.tool.name: offer for offer in offers}
                        self._offered_tools[name] = PromptTools(
                            name, [*unique.values()], prompt.tool_choice
                        )
                yield self._offered_tools
            finally:
                tasks.cancel_scope.cancel()
                for runner in self._runners.values():
                    if isinstance(runner, HttpTool):
                        await runner.aclose()

    async def run(self, call: ToolRun) -> Any:
        """Return the tool's result; an exception becomes a result with the error."""
        try:
            return await self._runners[call.tool.name].run(call)
        except Exception as error:  # noqa: BLE001 - user code: the model receives the error
            fault, about = type(error).__name__, {"said": str(error)}  # may quote its arguments
            logger.warning("tool %s failed: %s", call.tool.name, fault, extra=about)
            return failure(f"{call.tool.name} failed: {type(error).__name__}: {error}"[:500])

    @property
    def servers(self) -> Mapping[str, int]:
        """Number of tools of each MCP server that a prompt names."""
        return {name: len(server.tools) for name, server in self._servers.items()}

    # --- tools of MCP servers ------------------------------------------------------------------

    def _server_of(self, prompt: str, listed: str) -> tuple[McpServer, str]:
        """Return the server of ``mcp:NAME/TOOL`` and the tool's name, empty for all tools."""
        name, _, tool = listed.removeprefix(MCP).partition("/")
        settings = self._configured.get(name)
        if settings is None:
            known = ", ".join(self._configured) or "none"
            raise SettingsError(f"prompts.{prompt}.tools: no [mcp.{name}]; there is {known}")
        if name not in self._servers:
            if find_spec("mcp") is None:
                raise SettingsError(f"prompts.{prompt}.tools: {listed} needs: {INSTALL}")
            headers = {key: self._secret(source) for key, source in settings.headers.items()}
            env = {key: self._secret(source) for key, source in settings.env.items()}
            self._servers[name] = McpServer(name, settings, headers, env)
        return self._servers[name], tool

    def _offered(self, prompt: str, listed: str) -> list[ToolDescription]:
        if not _is_mcp(listed):
            return [self._offer(prompt, listed)]
        server, wanted = self._server_of(prompt, listed)
        found = [tool for tool in server.tools if wanted in ("", tool.name)]
        if not found:
            known = ", ".join(tool.name for tool in server.tools) or "none"
            raise SettingsError(f"prompts.{prompt}.tools: {listed}: no such tool; there is {known}")
        return [self._of_server(prompt, server, tool) for tool in found]

    def _of_server(self, prompt: str, server: McpServer, listed: ListedTool) -> ToolDescription:
        name = re.sub(r"[^A-Za-z0-9_-]", "_", listed.name)[:LONGEST_NAME]
        source = f"{server.name}/{listed.name}"
        if self._sources.setdefault(name, source) != source:
            raise SettingsError(
                f"prompts.{prompt}.tools: two tools are called {name}; to list only some tools of"
                f" an MCP server, write {MCP}{server.name}/TOOL"
            )
        if name not in self._offers:
            effects = server.settings.side_effects
            tool = Tool(
                name=name,
                deadline=server.settings.deadline,
                side_effects=effects == "always"
                or (effects == "by_hint" and not listed.reads_only),
            )
            self._runners[name] = McpTool(server, listed.name)
            self._offers[name] = ToolDescription(
                tool, listed.description, listed.schema or NO_PARAMETERS
            )
        return self._offers[name]

    # --- tools from the settings ---------------------------------------------------------------

    def _offer(self, prompt: str, listed: str) -> ToolDescription:
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
            self._sources[name] = listed
            try:
                self._offers[name] = self._create(name, settings or ToolSettings(function=listed))
            except SettingsError as error:
                raise SettingsError(f"prompts.{prompt}.tools: {error}") from error
        return self._offers[name]

    def _create(self, name: str, settings: ToolSettings) -> ToolDescription:
        tool = Tool(
            name=name,
            deadline=settings.deadline,
            side_effects=settings.side_effects,
            by_client=settings.kind == "client",
        )
        description, schema = settings.description, settings.schema
        if settings.kind == "python":
            function = PythonTool(settings.function)
            self._runners[name] = function
            description, schema = description or function.description, schema or function.schema
        elif settings.kind == "http":
            headers = {key: self._secret(source) for key, source in settings.headers.items()}
            self._runners[name] = HttpTool(settings.url, headers)
        return ToolDescription(tool, description, schema or NO_PARAMETERS)


def _is_mcp(listed: str) -> bool:
    return listed.startswith(MCP)
