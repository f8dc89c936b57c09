"""Tools of real MCP servers in processes of their own, which may die."""

import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from pipeline.config.settings import McpSettings, Prompt, ToolSettings
from pipeline.errors import PipelineError, SettingsError, ToolsError
from pipeline.interfaces.tools import OfferedTools, ToolRun
from pipeline.tools import toolset as toolset_module
from pipeline.tools.toolset import Toolset
from tests.loopback.tools.test_tools import asks_for, of, talk
from tests.support.service import service

SERVER = (sys.executable, "-m", "tests.support.mcp_server")
OVER_STDIO = McpSettings(command=(*SERVER, "stdio"), env={"ORDERS_TOKEN": "env:TOKEN"})


def toolset_with(
    settings: McpSettings = OVER_STDIO,
    *listed: str,
    tools: Mapping[str, ToolSettings] | None = None,
) -> Toolset:
    prompts = {"reply": Prompt(tools=listed or ("mcp:orders",))}
    return Toolset(prompts, tools or {}, lambda source: f"<{source}>", {"orders": settings})


class Caller:
    """Runs calls as the tool loop does."""

    def __init__(self, toolset: Toolset, offered: OfferedTools) -> None:
        self.toolset, self.offered = toolset, offered

    async def __call__(self, name: str, **arguments: Any) -> Any:
        tool = self.offered.find(name)
        assert tool is not None
        run = ToolRun(call_id="c1", response_id="r1", tool=tool, arguments=arguments)
        with anyio.fail_after(tool.deadline):
            return await self.toolset.run(run)


@asynccontextmanager
async def opened(toolset: Toolset) -> AsyncGenerator[Caller]:
    async with toolset.open() as offered:
        yield Caller(toolset, offered["reply"])


async def test_the_tools_of_a_server_are_offered_and_called() -> None:
    async with opened(toolset_with()) as call:
        effects = {
            name: tool.side_effects
            for name in ("order_status", "cancel_order")
            if (tool := call.offered.find(name))
        }
        assert effects == {"order_status": False, "cancel_order": True}  # as it hints
        assert await call("order_status", order=3) == {"order": 3, "status": "shipped"}
        # a name that models do not take is written otherwise; the key reaches the server
        assert await call("cancel_order", order=3) == {"result": "order 3 cancelled, r1.c1"}
        assert await call("secret") == {"result": "<env:TOKEN>"}
        assert "broken failed" in (await call("broken", order=3))["error"]
        assert "integer" in (await call("order_status", order="x"))["error"]


async def test_a_server_that_dies_is_restarted_and_a_call_without_side_effects_is_repeated(
    tmp_path: Path,
) -> None:
    async with opened(toolset_with()) as call:
        assert await call("fatal", marker=str(tmp_path / "died")) == {"result": "alive"}
        lost = await call("last_act")  # which may have been done: not done twice
        assert lost == {
            "error": "last_act: the connection was lost; the call may or may not have been done"
        }
        assert await call("order_status", order=4) == {"order": 4, "status": "shipped"}


async def test_a_server_over_http_may_be_started_anew(free_tcp_port: int) -> None:
    async def started() -> anyio.abc.Process:
        child = await anyio.open_process([*SERVER, "http", str(free_tcp_port)], stderr=None)
        with anyio.fail_after(20):
            while True:
                try:
                    async with await anyio.connect_tcp("127.0.0.1", free_tcp_port):
                        return child
                except OSError:
                    await anyio.sleep(0.05)

    first = await started()
    server = McpSettings(url=f"http://127.0.0.1:{free_tcp_port}/mcp", deadline=20)
    async with opened(toolset_with(server)) as call:
        assert (await call("order_status", order=1))["order"] == 1
        first.send_signal(signal.SIGKILL)
        await first.wait()
        second = await started()
        assert (await call("order_status", order=2))["order"] == 2
    second.terminate()
    await second.wait()


async def test_no_child_is_left_behind() -> None:
    def children() -> set[str]:
        return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())

    before = children()
    async with opened(toolset_with()):
        assert len(children() - before) == 1
    assert children() - before == set()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (McpSettings(command=("no-such-thing",)), r"orders \(no-such-thing\) cannot be used"),
        (McpSettings(command=(*SERVER, "x")), 'last line on stderr: "usage: mcp_server.py'),
        (McpSettings(command=("sleep", "60"), connect_timeout=0.2), r"no connection within 0\.2 s"),
        (McpSettings(command=("yes",), connect_timeout=0.5), "cannot be used"),
        (McpSettings(url="http://127.0.0.1:9/mcp"), "at http://127.0.0.1:9/mcp cannot be used"),
    ],
)
async def test_a_server_that_is_not_there_is_an_error_at_the_start(
    settings: McpSettings, said: str
) -> None:
    with pytest.raises(ToolsError, match=said):
        async with opened(toolset_with(settings)):
            pass


@pytest.mark.parametrize(
    ("toolset", "said"),
    [
        (lambda: toolset_with(OVER_STDIO, "mcp:other"), r"no \[mcp\.other\]; there is orders"),
        (lambda: toolset_with(McpSettings()), "a command or a url"),
        (lambda: toolset_with(McpSettings(url="ftp://x")), "not an http:// or https:// address"),
        (
            lambda: toolset_with(OVER_STDIO, "mcp:orders/nope"),
            "no such tool; there is order_status, ",
        ),
        (
            lambda: toolset_with(
                OVER_STDIO,
                "mcp:orders",
                "order_status",
                tools={"order_status": ToolSettings(kind="client")},
            ),
            "two tools are called order_status",
        ),
    ],
)
async def test_invalid_settings_are_refused_before_any_request(toolset: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        async with opened(toolset()):
            pass


def test_without_the_extra_the_error_names_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nothing(name: str) -> None: ...

    monkeypatch.setattr(toolset_module, "find_spec", nothing)
    with pytest.raises(PipelineError, match=r"pip install 'speech-llm-pipeline\[mcp\]'"):
        toolset_with()


async def test_a_model_calls_a_tool_of_a_server_and_answers_with_its_result() -> None:
    lines = asks_for("order_status", {"order": 5})
    servers = {"orders": McpSettings(command=(*SERVER, "stdio"))}
    async with service(lines, servers=servers, tools=("mcp:orders/order_status",)) as (url, sim, _):
        events = await talk(url)
        (tool,) = sim.llm.requests[0].body["tools"]
    assert tool["function"]["name"] == "order_status"
    assert tool["function"]["parameters"]["required"] == ["order"]
    assert of(events, "response.tool_result")[0]["result"] == {"order": 5, "status": "shipped"}
    assert of(events, "response.done")[0]["text"] == "It was shipped."
