"""MCP client: lists and calls the tools of a server over one connection, and reconnects it."""

import logging
import math
import os
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO, cast
from urllib.parse import urlsplit

import anyio
import msgspec
from anyio.abc import TaskStatus
from msgspec import Struct

from pipeline.config.settings import McpSettings
from pipeline.errors import SettingsError, ToolsError
from pipeline.interfaces.tools import ToolRun, failure
from pipeline.runtime.hosts import shown

if TYPE_CHECKING:
    from mcp import Client, MCPError
    from mcp.client import Transport
    from mcp.types import CallToolResult

#: seconds until the first reconnect, doubled each time, up to the longest
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
MAX_TOOLS = 500  #: of one server
MAX_PAGES = 20  #: of a listing
MAX_TEXT = 256 * 1024  #: characters of a result that the model receives
MAX_ERROR = 500  #: characters of an error that the model receives
INSTALL = "pip install 'speech-llm-pipeline[mcp]'"
KEY = "idempotency-key"  #: in the call's ``_meta``

logger = logging.getLogger(__name__)


class ListedTool(Struct, frozen=True):
    """Description of one tool by its server."""

    name: str
    description: str
    schema: dict[str, Any]
    reads_only: bool  #: the server's read-only hint


class _McpConnection(Struct, frozen=True):
    """One connection; ``lost`` is set when it is lost."""

    client: "Client"
    lost: anyio.Event


class McpServer:
    """One server. ``stay_connected`` owns the connection, for which calls wait."""

    def __init__(
        self, name: str, settings: McpSettings, headers: Mapping[str, str], env: Mapping[str, str]
    ) -> None:
        """Raises SettingsError unless the settings have either a command or a valid URL."""
        self.name = name
        self.settings = settings
        self.tools: tuple[ListedTool, ...] = ()  #: as listed on the first connection
        self._headers = dict(headers)
        self._env = dict(env)
        self._current: _McpConnection | None = None
        self._is_up = anyio.Event()
        self._last_stderr_line = ""  # of a child process
        where = f"mcp.{name}"
        if bool(settings.command) == bool(settings.url):
            raise SettingsError(f"{where}: set either a command or a url, and not both")
        parts = urlsplit(settings.url)
        if settings.url and not (parts.scheme in ("http", "https") and parts.hostname):
            raise SettingsError(
                f"{where}.url: {shown(settings.url)!r} is not an http:// or https:// address"
            )

    def __repr__(self) -> str:
        return f"<McpServer {self.name}: {len(self.tools)} tools>"

    async def stay_connected(self, *, task_status: TaskStatus[None]) -> None:
        """Connect, and reconnect until cancelled; raises ToolsError if the first attempt fails."""
        wait, begun = FIRST_WAIT, False
        while True:
            try:
                async with self._connected() as connection:
                    if not begun:
                        begun = True
                        task_status.started()
                    wait = FIRST_WAIT
                    await connection.lost.wait()
                reason = "the server closed the connection"
            except Exception as error:  # noqa: BLE001 - the MCP library raises any kind
                reason = _error_text(error)
                if not begun:
                    raise ToolsError(self._unusable(reason)) from None
            logger.warning("mcp.%s is lost: %s; reconnecting in %g s", self.name, reason, wait)
            await anyio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    async def call(self, name: str, call: ToolRun) -> Any:
        """Call the tool ``name`` and return its result; waits for the connection.

        When the connection is lost during the call, a tool without side effects is called once
        more on the next connection.
        """
        from mcp import MCPError  # slow to import: only when a server is configured

        about: Any = {KEY: call.key}  # mypy does not support ``extra_items``
        for last in (call.tool.side_effects, True):
            connection = await self._connection()
            try:
                result = await connection.client.call_tool(name, call.arguments, meta=about)
            except MCPError as error:
                if not _means_lost(error):
                    return failure(f"{name} failed: {error.error.message[:MAX_ERROR]}")
                connection.lost.set()
                if last:
                    break
            else:
                return _value(name, result)
        return failure(f"{name}: the connection was lost; the call may or may not have been done")

    async def _connection(self) -> "_McpConnection":
        while self._current is None or self._current.lost.is_set():
            await self._is_up.wait()
        return self._current

    # --- the connection ------------------------------------------------------------------------

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator["_McpConnection"]:
        from mcp import Client

        lost, limit = anyio.Event(), self.settings.connect_timeout
        # one scope around all of it: contexts entered inside a scope must be left before it
        with anyio.CancelScope(deadline=anyio.current_time() + limit) as scope:
            async with AsyncExitStack() as stack:
                transport = _watched(await self._transport(stack), lost)
                client = await stack.enter_async_context(Client(transport, cache=None))
                if not self.tools:
                    self.tools = await _listing(client)
                scope.deadline = math.inf
                self._current = _McpConnection(client, lost)
                self._is_up.set()
                try:
                    yield self._current
                finally:
                    self._current, self._is_up = None, anyio.Event()
        if scope.cancelled_caught:
            raise TimeoutError(f"no connection within {limit:g} s")

    async def _transport(self, stack: AsyncExitStack) -> "Transport":
        from mcp.client.stdio import StdioServerParameters, stdio_client
        from mcp.client.streamable_http import streamable_http_client
        from mcp.shared._httpx_utils import create_mcp_http_client

        if self.settings.url:
            http = create_mcp_http_client(headers=self._headers)
            await stack.enter_async_context(http)
            return streamable_http_client(self.settings.url, http_client=http)
        command, *arguments = self.settings.command
        child = StdioServerParameters(command=command, args=arguments, env=self._env)
        read_end, write_end = stack.enter_context(_pipe())
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        tasks.start_soon(self._read_stderr, read_end)
        return stdio_client(child, errlog=write_end)

    async def _read_stderr(self, pipe: int) -> None:
        """Read a child's stderr, so that the pipe never fills; store its last line."""
        while True:
            await anyio.wait_readable(pipe)
            text = os.read(pipe, 65_536).decode("utf-8", "replace")
            for line in text.splitlines():
                self._last_stderr_line = line.strip()[:MAX_ERROR] or self._last_stderr_line
                logger.debug("mcp.%s wrote to its stderr", self.name, extra={"said": line})

    def _unusable(self, reason: str) -> str:
        settings = self.settings
        what = f"at {shown(settings.url)}" if settings.url else f"({' '.join(settings.command)})"
        line = self._last_stderr_line
        stderr = f'; last line on stderr: "{line}"' if line else ""
        return f"mcp.{self.name} {what} cannot be used: {reason}{stderr}"


@asynccontextmanager
async def _watched(transport: "Transport", lost: anyio.Event) -> AsyncGenerator[Any]:
    """Yield the streams of ``transport``; set ``lost`` when the read stream ends."""
    async with transport as (read, write), anyio.create_task_group() as tasks:
        put, take = anyio.create_memory_object_stream[Any](0)

        async def forward() -> None:
            async with put:
                with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                    async for message in read:
                        await put.send(message)
            lost.set()

        tasks.start_soon(forward)
        try:
            yield take, write
        finally:
            tasks.cancel_scope.cancel()
            take.close()


@contextmanager
def _pipe() -> Generator[tuple[int, TextIO]]:
    """Yield the two ends of a pipe: a non-blocking descriptor to read, and a file to write."""
    reads, writes = os.pipe()
    os.set_blocking(reads, False)
    try:
        with os.fdopen(writes, "w") as file:
            yield reads, file
    finally:
        os.close(reads)


async def _listing(client: "Client") -> tuple[ListedTool, ...]:
    tools: list[ListedTool] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += (
            ListedTool(
                name=tool.name,
                description=tool.description or tool.title or "",
                schema=tool.input_schema,
                reads_only=bool(tool.annotations and tool.annotations.read_only_hint),
            )
            for tool in page.tools
        )
        cursor = page.next_cursor
        if not cursor or len(tools) >= MAX_TOOLS:
            break
    return tuple(tools[:MAX_TOOLS])


def _means_lost(error: "MCPError") -> bool:
    from mcp.types import CONNECTION_CLOSED

    # an HTTP server that has restarted does not know the session
    return error.code == CONNECTION_CLOSED or error.message == "Session terminated"


def _value(name: str, result: "CallToolResult") -> Any:
    """Return a result for the model: its structured content, else its text."""
    text = "\n".join(_text(block) for block in result.content)[:MAX_TEXT]
    if result.is_error:
        return failure(f"{name} failed: {text[:MAX_ERROR]}")
    if result.structured_content is None:
        return text
    fits = len(msgspec.json.encode(result.structured_content)) <= MAX_TEXT
    return result.structured_content if fits else text


def _text(block: Any) -> str:
    """Return a block's text; for another block, such as an image, its type."""
    return str(block.text) if block.type == "text" else f"[{block.type}]"


def _error_text(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return str(error) or type(error).__name__
