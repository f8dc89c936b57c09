"""Sessions over llama.cpp's own server, with the small model."""

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio
import pytest
from websockets.asyncio.client import ClientConnection, connect

from pipeline.embedded import weights
from tests.support.commandline import running
from tests.support.serving import Event, begin, finish

pytestmark = [pytest.mark.engines, pytest.mark.timeout(420)]

PATIENCE = 200.0  #: seconds for one session; a model computes
ANSWERED = ("completed", "incomplete")  #: the small model may run to its limit of tokens
NOWHERE = "ws://127.0.0.1:9/v3/ws"  #: speech-to-text, which typed turns do not need
CONTEXT = 768  #: tokens of each of the two slots

LLAMA = f"""
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.model_alias = {{"small"}}
params.n_parallel, params.n_ctx = 2, {2 * CONTEXT}
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
params.hostnames, params.port = ["127.0.0.1"], 0
params.verbosity, params.warmup, params.fit_params, params.ui = 0, False, False, False
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""

SETTINGS = """
[llm]
requests_per_minute = 0
late_after = 60.0
json_mode = "{json_mode}"

[prompts.reply]
system = "Reply in one short sentence."
temperature = 0.0
max_tokens = 40

[prompts.city]
system = "Name the capital of Italy."
keyword = "never said"
temperature = 0.0
max_tokens = 40
output = "json"

[prompts.city.json_schema]
type = "object"
properties = {{ city = {{ type = "string", maxLength = 20 }} }}
required = ["city"]
additionalProperties = false
"""


@asynccontextmanager
async def llama_server(folder: Path) -> AsyncGenerator[str]:
    """Run llama.cpp's server over the small model."""
    if not weights.installed():
        pytest.skip("the models are not installed: pipeline local --install")
    command = [sys.executable, "-c", LLAMA, str(weights.gguf_file())]
    with (folder / "llama.log").open("wb") as log:
        process = await anyio.open_process(command, stdin=PIPE, stdout=PIPE, stderr=log)
        try:
            assert process.stdout is not None
            with anyio.fail_after(PATIENCE):
                line = (await process.stdout.receive()).decode().strip()
            yield f"{line}/v1"
        finally:
            process.kill()
            with anyio.CancelScope(shield=True):
                await process.aclose()


async def ended(socket: ClientConnection, text: str = "", **command: Any) -> Event:
    """Send a turn or a command; return the next ``response.done``."""
    await socket.send(json.dumps({"type": "turn.create", "text": text} if text else command))
    return await next_done(socket)


async def next_done(socket: ClientConnection) -> Event:
    async for frame in socket:
        event: Event = json.loads(frame)
        assert event["type"] != "error", event
        if event["type"] == "response.done":
            return event
    raise AssertionError("the session ended")


@asynccontextmanager
async def session(url: str, folder: Path, json_mode: str) -> AsyncGenerator[ClientConnection]:
    """Open a session of a ``pipeline serve`` that asks the server at ``url``."""
    settings = folder / f"{json_mode}.toml"
    settings.write_text(SETTINGS.format(json_mode=json_mode))
    words = ("--port", 0, "--stt", NOWHERE, "--llm", url, "--model", "small")
    async with running("serve", *words, "--config", settings) as process:
        line = await process.line(holding="listening on")
        address = line.partition("listening on ")[2].split(";")[0]
        with anyio.fail_after(PATIENCE):
            async with connect(f"{address}/v1/ingest/raw", proxy=None) as socket:
                await begin(socket, "s", audio=None)
                yield socket


async def test_a_session_runs_over_the_server_of_llama_cpp(tmp_path: Path) -> None:
    async with llama_server(tmp_path) as url, session(url, tmp_path, "json_schema") as socket:
        await answers(socket)
        await answers_in_json(socket)
        await refuses_what_is_too_long(socket)
        for number in range(6):
            again = await ended(socket, f"Say the number {number}.")
            assert again["status"] in ANSWERED, (number, again.get("error"))
            assert again["text"]
        assert (await finish(socket))[-1]["type"] == "session.ended"


async def answers(socket: ClientConnection) -> None:
    said = await ended(socket, "What is the capital of France?")
    assert said["status"] in ANSWERED, said
    assert said["text"]
    assert not said["usage"].get("estimated")


async def answers_in_json(socket: ClientConnection) -> None:
    found = await ended(socket, type="response.create", prompt="city")
    assert found["status"] == "completed", found
    assert isinstance(found["json"]["city"], str)


async def refuses_what_is_too_long(socket: ClientConnection) -> None:
    refused = await ended(socket, "word " * 4 * CONTEXT)
    assert refused["status"] == "failed", refused
    assert "context" in refused["error"]["message"]
