"""Other people's clients and a proxy of theirs, in front of the embedded language model."""

import json
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL
from typing import Any, cast

import anyio
import assemblyai
import httpx
import openai
import pytest
from anyio.abc import Process
from assemblyai.llm_gateway.v1.async_client import AsyncLLMGateway

from pipeline.protocol.events import ResponseDelta, ResponseDone
from tests.support import simulate
from tests.support.commandline import RECORDING, pipeline
from tests.support.engines import Running

pytestmark = [pytest.mark.engines, pytest.mark.timeout(180)]

#: made by scripts/test: LiteLLM holds packages below the versions of ours
LITELLM = Path(__file__).parents[3] / ".venvs" / "litellm"
PATIENCE = 90.0  #: seconds; importing LiteLLM alone takes some
MASTER_KEY = "sk-0123456789abcdef0123456789abcdef"

CAPITAL = [
    {"role": "system", "content": "Reply in one short sentence."},
    {"role": "user", "content": "What is the capital of France?"},
]
ORDER = [{"role": "user", "content": "Where is my order 4711?"}]
PARAMETERS = {
    "type": "object",
    "properties": {"order_id": {"type": "integer"}},
    "required": ["order_id"],
}
FUNCTION = {"name": "order_status", "description": "Look up an order.", "parameters": PARAMETERS}
TOOLS = [{"type": "function", "function": FUNCTION}]
CHOICE = {"type": "function", "function": {"name": "order_status"}}
BRIEF: dict[str, Any] = {"temperature": 0, "max_tokens": 40}

#: what each client is made to do: complete, stream, call a tool
SdkReply = tuple[str, list[str], str]


async def through_openai(engines: Running) -> SdkReply:
    async with openai.AsyncOpenAI(base_url=engines.llm_url, api_key="any", max_retries=0) as client:
        create = cast("Any", client.chat.completions.create)
        return await _three(create, engines.llm_model)


async def through_assemblyai(engines: Running) -> SdkReply:
    settings = assemblyai.Settings(
        api_key="any", llm_gateway_base_url=engines.llm_url.removesuffix("/v1")
    )
    async with (
        assemblyai.AsyncClient(settings=settings) as owner,
        AsyncLLMGateway(client=owner) as client,
    ):
        create = cast("Any", client.chat.completions.create)
        return await _three(create, engines.llm_model)


async def _three(create: Any, model: str) -> SdkReply:
    whole = await create(model=model, messages=CAPITAL, **BRIEF)
    stream = await create(model=model, messages=CAPITAL, stream=True, **BRIEF)
    pieces = [choice.delta.content async for chunk in stream for choice in chunk.choices]
    called = await create(model=model, messages=ORDER, tools=TOOLS, tool_choice=CHOICE, **BRIEF)
    call = called.choices[0].message.tool_calls[0]
    return whole.choices[0].message.content, [p for p in pieces if p], call.function.arguments


ASK = """
import json, sys, litellm
asked = json.load(sys.stdin)
def ask(**more):
    return litellm.completion(model="openai/" + asked["model"], api_base=asked["url"],
                              api_key="any", num_retries=0, **asked["brief"], **more)
whole = ask(messages=asked["capital"]).choices[0].message.content
pieces = [chunk.choices[0].delta.content for chunk in ask(messages=asked["capital"], stream=True)]
called = ask(messages=asked["order"], tools=asked["tools"], tool_choice=asked["choice"])
call = called.choices[0].message.tool_calls[0]
print(json.dumps([whole, [p for p in pieces if p], call.function.arguments]))
"""


async def through_litellm(engines: Running) -> SdkReply:
    asked = {
        "url": engines.llm_url,
        "model": engines.llm_model,
        "brief": BRIEF,
        "capital": CAPITAL,
        "order": ORDER,
        "tools": TOOLS,
        "choice": CHOICE,
    }
    with anyio.fail_after(PATIENCE):
        ran = await anyio.run_process(
            [_litellm("python"), "-W", "ignore", "-c", ASK],
            input=json.dumps(asked).encode(),
            env=_surroundings(),
        )
    whole, pieces, arguments = json.loads(ran.stdout.splitlines()[-1])
    return whole, pieces, arguments


def _litellm(program: str) -> str:
    if not (LITELLM / ".ready").exists():
        pytest.skip("LiteLLM is not installed: scripts/test makes .venvs/litellm")
    return str(LITELLM / "bin" / program)


def _surroundings() -> dict[str, str]:
    """LiteLLM is to fetch nothing: its list of prices comes with it."""
    return os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": MASTER_KEY}


@pytest.mark.parametrize("sdk", [through_openai, through_assemblyai, through_litellm])
async def test_an_sdk_completes_streams_and_calls_a_tool(engines: Running, sdk: Any) -> None:
    whole, pieces, arguments = await sdk(engines)
    assert "Paris" in whole
    assert len(pieces) > 3
    assert "".join(pieces) == whole
    assert json.loads(arguments) == {"order_id": 4711}


@asynccontextmanager
async def proxy(engines: Running, folder: Path) -> AsyncGenerator[str]:
    """A real LiteLLM proxy that asks the embedded model under another name."""
    parameters = {
        "model": f"openai/{engines.llm_model}",
        "api_base": engines.llm_url,
        "api_key": "any",
    }
    config = {"model_list": [{"model_name": "small", "litellm_params": parameters}]}
    (folder / "litellm.yaml").write_text(json.dumps(config))  # JSON is YAML
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [_litellm("litellm"), "--config", "litellm.yaml", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--telemetry", "False"]
    with (folder / "litellm.log").open("wb") as log:
        process = await anyio.open_process(
            command, stdin=DEVNULL, stdout=log, stderr=log, cwd=folder, env=_surroundings()
        )
        try:
            with anyio.fail_after(PATIENCE):
                await _alive(f"http://127.0.0.1:{port}/health/liveliness", process)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()
            with anyio.CancelScope(shield=True):
                await process.aclose()


async def _alive(url: str, process: Process) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        while process.returncode is None:
            try:
                if (await client.get(url)).status_code == 200:
                    return
            except httpx.TransportError:
                pass  # it does not listen yet
            await anyio.sleep(0.1)
    raise AssertionError("the proxy ended")


async def test_a_run_is_answered_through_a_real_litellm_proxy(
    engines: Running, tmp_path: Path
) -> None:
    speech: list[dict[str, Any]] = [
        {"stt": "connection"},
        {"stt": "end", "at_ms": 500, "text": "Tell me about Paris."},
    ]
    journal, key = tmp_path / "journal.db", "env:LITELLM_MASTER_KEY"
    env = {"PIPELINE_LLM__KEY": key, "LITELLM_MASTER_KEY": MASTER_KEY}
    async with proxy(engines, tmp_path) as url, simulate(speech) as sim:
        words = ("--stt", sim.stt_url, "--llm", url, "--model", "small", "--speed", 0)
        ran = await pipeline("run", RECORDING, *words, "--json", "--journal", journal, env=env)
        models = await pipeline("models", "--llm", url, env=env)
    deltas = [event for event in ran.events if isinstance(event, ResponseDelta)]
    (done,) = (event for event in ran.events if isinstance(event, ResponseDone))
    assert done.status in ("completed", "incomplete")  # the small model may run to its limit
    assert done.error is None
    assert len(deltas) > 3
    assert "".join(delta.delta for delta in deltas) == done.text
    assert "small" in models.out
    logged = await pipeline("requests", "--json", "--journal", journal)
    assert json.loads(logged.out)["status"] == 200
    assert MASTER_KEY not in logged.out
