"""``pipeline gateway``: its ready line, its tokens, its end; and completions beside sessions."""

import json
import os
import signal
from typing import Any, cast

import openai
import pytest

from tests.support import simulate
from tests.support.commandline import pipeline, running
from tests.support.serving import serving

HELLO: Any = [{"role": "user", "content": "Hello"}]


async def test_one_line_says_where_it_answers_and_sdks_find_it_there() -> None:
    async with simulate([{"llm": "reply", "text": "Hi there."}]) as sim:
        words = ("--port", 0, "--llm", sim.llm_url, "--model", "small", "--json")
        async with running("gateway", *words) as process:
            ready = json.loads(await process.line(holding='"url"', of="stdout"))
            assert (ready["model"], ready["engine"]) == ("small", "custom")
            assert ready["pid"] == process.pid
            async with openai.AsyncOpenAI(base_url=ready["url"], api_key="any") as client:
                answer = await client.chat.completions.create(model="default", messages=HELLO)
            assert answer.choices[0].message.content == "Hi there."
            assert sim.llm.requests[0].model == "small"
            logged = await pipeline("requests", ready["url"].replace("http", "ws")[:-3], "--json")
            assert json.loads(logged.out)["response_id"] == cast("Any", answer)._request_id
            assert await process.stop(signal.SIGTERM) == 143


async def test_a_public_address_needs_a_token() -> None:
    ran = await pipeline("gateway", "--host", "0.0.0.0", "--port", 0)
    assert (ran.code, ran.out) == (2, "")
    assert "not listening on 0.0.0.0 without a token" in ran.err


async def test_in_stream_is_no_engine_of_a_gateway() -> None:
    ran = await pipeline("gateway", "--llm", "in-stream", "--port", 0)
    assert ran.code == 2
    assert "in-stream answers speech only" in ran.err


async def test_a_server_with_sessions_answers_completions_too() -> None:
    async with serving([{"llm": "reply", "text": "Hi there."}]) as served:
        url = served.url.replace("ws:", "http:") + "/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="any") as client:
            answer = await client.chat.completions.create(model="scripted", messages=HELLO)
        assert answer.choices[0].message.content == "Hi there."


async def test_what_is_under_way_when_it_is_stopped_comes_to_its_end() -> None:
    slow = {"llm": "reply", "text": "one two", "token_ms": 800}
    async with serving([slow]) as served:
        url = served.url.replace("ws:", "http:") + "/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="any") as client:
            stream = await client.chat.completions.create(
                model="scripted", messages=HELLO, stream=True
            )
            texts: list[str] = []
            async for chunk in stream:
                if not texts:
                    os.kill(served.process.pid, signal.SIGTERM)
                texts += [choice.delta.content or "" for choice in chunk.choices]
        assert "".join(texts) == "one two"


@pytest.mark.engines
@pytest.mark.timeout(180)
async def test_without_a_key_the_embedded_model_answers() -> None:
    async with running("gateway", "--port", 0, "--json") as process:
        ready = json.loads(await process.line(holding='"url"', of="stdout"))
        assert ready["engine"] == "local"
        async with openai.AsyncOpenAI(base_url=ready["url"], api_key="any") as client:
            stream = await client.chat.completions.create(
                model=ready["model"], messages=HELLO, max_tokens=8, stream=True
            )
            pieces = [chunk.choices[0].delta.content async for chunk in stream]
        assert "".join(piece or "" for piece in pieces)
