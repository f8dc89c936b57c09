"""MCP servers: their tools, carried out over one connection each, made again when it is lost."""

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

if TYPE_CHECKING:
    from mcp import Client, MCPError
    from mcp.client import Transport
    from mcp.types import CallToolResult

#: seconds until a lost server is tried again, doubled each time up to the last one
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
MAX_TOOLS = 500  #: of one server
MAX_PAGES = 20  #: of a listing
MAX_TEXT = 256 * 1024  #: characters of a result that the model is told
SHOWN = 500  #: characters of a refusal that the model is told
INSTALL = "pip install 'speech-llm-pipeline[mcp]'"
KEY = "idempotency-key"  #: in the call's ``_meta``

logger = logging.getLogger(__name__)


class Listed(Struct, frozen=True):
    """One tool, as its server describes it."""

    name: str
    description: str
    schema: dict[str, Any]
    reads_only: bool  #: the server says that it changes nothing


class _Link(Struct, frozen=True):
    """One connection, and whether it is lost."""

    client: "Client"
    lost: anyio.Event


class McpServer:
    """One server. ``keep`` holds the connection; calls wait for it within their deadline."""

    def __init__(
        self, name: str, settings: McpSettings, headers: Mapping[str, str], env: Mapping[str, str]
    ) -> None:
        """Raises SettingsError for what is neither a command nor an address."""
        self.name = name
        self.settings = settings
        self.tools: tuple[Listed, ...] = ()  #: as listed when it was first reached
        self._headers = dict(headers)
        self._env = dict(env)
        self._current: _Link | None = None
        self._up = anyio.Event()
        self._last_words = ""  # of a child process, on its stderr
        where = f"mcp.{name}"
        if bool(settings.command) == bool(settings.url):
            raise SettingsError(f"{where}: it needs a command or a url, and not both")
        parts = urlsplit(settings.url)
        if settings.url and not (parts.scheme in ("http", "https") and parts.hostname):
            raise SettingsError(f"{where}.url: {settings.url!r} is no http:// or https:// address")

    def __repr__(self) -> str:
        return f"<McpServer {self.name}: {len(self.tools)} tools>"

    async def keep(self, *, task_status: TaskStatus[None]) -> None:
        """Be connected until cancelled. Raises ToolsError when the first attempt fails."""
        wait, begun = FIRST_WAIT, False
        while True:
            try:
                async with self._connected() as link:
                    if not begun:
                        begun = True
                        task_status.started()
                    wait = FIRST_WAIT
                    await link.lost.wait()
                why = "it ended the connection"
            except Exception as error:  # noqa: BLE001 - a library's, of any kind
                why = _said(error)
                if not begun:
                    raise ToolsError(self._out_of_reach(why)) from None
            logger.warning("mcp.%s is lost: %s; again in %g s", self.name, why, wait)
            await anyio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    async def call(self, name: str, call: ToolRun) -> Any:
        """Return what the tool ``name`` says. Waits for the connection if there is none.

        A connection that is lost meanwhile is made again, and a tool without side effects is
        called once more.
        """
        from mcp import MCPError  # heavy: only where a server is configured

        about: Any = {KEY: call.key}  # mypy knows no ``extra_items``
        for last in (call.tool.side_effects, True):
            link = await self._link()
            try:
                result = await link.client.call_tool(name, call.arguments, meta=about)
            except MCPError as error:
                if not _means_lost(error):
                    return failure(f"{name} failed: {error.error.message[:SHOWN]}")
                link.lost.set()
                if last:
                    break
            else:
                return _value(name, result)
        return failure(f"{name}: the server was lost, and whether it was done is not known")

    async def _link(self) -> "_Link":
        while self._current is None or self._current.lost.is_set():
            await self._up.wait()
        return self._current

    # --- its connection ------------------------------------------------------------------------

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator["_Link"]:
        from mcp import Client

        lost, patience = anyio.Event(), self.settings.connect_timeout
        # one scope around it all, for what is entered here must be left before a scope is
        with anyio.CancelScope(deadline=anyio.current_time() + patience) as scope:
            async with AsyncExitStack() as stack:
                transport = _watched(await self._transport(stack), lost)
                client = await stack.enter_async_context(Client(transport, cache=None))
                if not self.tools:
                    self.tools = await _listing(client)
                scope.deadline = math.inf
                self._current = _Link(client, lost)
                self._up.set()
                try:
                    yield self._current
                finally:
                    self._current, self._up = None, anyio.Event()
        if scope.cancelled_caught:
            raise TimeoutError(f"no answer within {patience:g} s")

    async def _transport(self, stack: AsyncExitStack) -> "Transport":
        from mcp.client.stdio import StdioServerParameters, stdio_client
        from mcp.client.streamable_http import streamable_http_client
        from mcp.shared._httpx_utils import create_mcp_http_client

        if self.settings.url:
            http = create_mcp_http_client(headers=self._headers)
            await stack.enter_async_context(http)
            return streamable_http_client(self.settings.url, http_client=http)
        command, *words = self.settings.command
        child = StdioServerParameters(command=command, args=words, env=self._env)
        said = stack.enter_context(_pipe())
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        tasks.start_soon(self._listen, said[0])
        return stdio_client(child, errlog=said[1])

    async def _listen(self, pipe: int) -> None:
        """Keep what a child says on its stderr from filling a pipe, and its last line."""
        while True:
            await anyio.wait_readable(pipe)
            text = os.read(pipe, 65_536).decode("utf-8", "replace")
            for line in text.splitlines():
                self._last_words = line.strip()[:SHOWN] or self._last_words
                logger.debug("mcp.%s wrote to its stderr", self.name, extra={"said": line})

    def _out_of_reach(self, why: str) -> str:
        settings = self.settings
        what = f"at {settings.url}" if settings.url else f"({' '.join(settings.command)})"
        words = f'; it said: "{self._last_words}"' if self._last_words else ""
        return f"mcp.{self.name} {what} cannot be used: {why}{words}"


@asynccontextmanager
async def _watched(transport: "Transport", lost: anyio.Event) -> AsyncGenerator[Any]:
    """Give the streams of ``transport``, and set ``lost`` when nothing more comes."""
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
    """Give the two ends of a pipe: a descriptor that does not block, and a file to write to."""
    reads, writes = os.pipe()
    os.set_blocking(reads, False)
    try:
        with os.fdopen(writes, "w") as file:
            yield reads, file
    finally:
        os.close(reads)


async def _listing(client: "Client") -> tuple[Listed, ...]:
    tools: list[Listed] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += (
            Listed(
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

    # a server over HTTP that was started anew does not know the session any more
    return error.code == CONNECTION_CLOSED or error.message == "Session terminated"


def _value(name: str, result: "CallToolResult") -> Any:
    """Return what a model is told of a result: its JSON, else its text."""
    text = "\n".join(_text(block) for block in result.content)[:MAX_TEXT]
    if result.is_error:
        return failure(f"{name} failed: {text[:SHOWN]}")
    if result.structured_content is None:
        return text
    fits = len(msgspec.json.encode(result.structured_content)) <= MAX_TEXT
    return result.structured_content if fits else text


def _text(block: Any) -> str:
    """Return a block's text, or what else it is: a model hears of an image, not of its bytes."""
    return str(block.text) if block.type == "text" else f"[{block.type}]"


def _said(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return str(error) or type(error).__name__
