"""Drain of a running server: last answers are sent, new clients refused, sockets closed."""

import json
import signal
from typing import Any

import anyio
import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.serving import Served, begin, serving, speak, until

LINES: list[dict[str, Any]] = [
    {"stt": "end", "at_ms": 100, "text": "Tell me something."},
    {"llm": "reply", "text": "one two three four five six seven eight", "token_ms": 150},
]
ENDLESS: list[dict[str, Any]] = [
    {"stt": "end", "at_ms": 100, "text": "Tell me everything."},
    {"llm": "reply", "text": " ".join(["more"] * 5000), "token_ms": 20},
]
FOLLOW = "/v1/events?session_id=call-1&after_seq=0"


async def get(served: Served, path: str) -> tuple[int, str]:
    answer = await served.request(path)
    return answer.status_code, answer.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_the_last_answer_is_finished_while_new_clients_are_refused(
    number: signal.Signals,
) -> None:
    async with (
        serving(LINES) as served,
        connect(f"{served.url}/v1/ingest/raw", proxy=None) as source,
        connect(f"{served.url}/v1/ingest/raw", proxy=None) as silent,
    ):
        await begin(source, "call-1")
        await speak(source, 0.3)
        await until(source, "response.output_text.delta")
        async with connect(served.url + FOLLOW, proxy=None) as subscriber:
            assert await get(served, "/readyz") == (200, "ready\n")
            served.process.send(number)
            await not_ready(served)
            assert (await get(served, "/healthz"))[0] == 200
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"{served.url}/v1/ingest/raw", proxy=None)
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers["Retry-After"] == "1"
            await silent.send('{"type":"session.start"}')  # connected before, and as late
            assert json.loads(await silent.recv())["error"]["code"] == 4013
            [*_, done] = await until(subscriber, "response.done")
            assert (done["status"], done["text"].split()[-1]) == ("completed", "eight")
            [*_, ended] = await until(subscriber, "session.ended")
            assert ended["reason"] == "shutdown"
            with pytest.raises(ConnectionClosed):
                await subscriber.recv()
            assert subscriber.close_code == 1012
        assert await served.process.stop(signal.SIGCONT) == 128 + number
        assert served.sim.stt.connections[0].control[-1][1] == {"type": "Terminate"}


async def not_ready(served: Served) -> None:
    """Ask until it says that it is not, which it does at once; a signal takes its moment."""
    for _ in range(50):
        status, text = await get(served, "/readyz")
        if status == 503:
            assert text.startswith("draining")
            return
        await anyio.sleep(0.01)
    raise AssertionError("it still takes new sessions")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_cuts_the_last_answers_short(second: signal.Signals) -> None:
    async with (
        serving(ENDLESS, env={"PIPELINE_SERVE__DRAIN": "60"}) as served,
        connect(f"{served.url}/v1/ingest/raw", proxy=None, close_timeout=0.1) as source,
    ):
        await begin(source, "call-1")
        await speak(source, 0.3)
        await until(source, "response.output_text.delta")
        async with connect(served.url + FOLLOW, proxy=None) as subscriber:
            served.process.send(signal.SIGTERM)
            await not_ready(served)
            await anyio.sleep(0.3)
            assert (await get(served, "/healthz"))[0] == 200  # it waits
            began = anyio.current_time()
            served.process.send(second)
            [*_, done] = await until(subscriber, "response.done")
            assert (done["status"], done["reason"]) == ("cancelled", "shutdown")
            assert await served.process.stop(signal.SIGCONT) == 143
            assert anyio.current_time() - began < 5
        assert served.sim.stt.connections[0].control[-1][1] == {"type": "Terminate"}


async def test_without_sessions_it_stops_at_once() -> None:
    async with serving() as served, connect(f"{served.url}/v1/events", proxy=None) as idle:
        began = anyio.current_time()
        assert await served.process.stop(signal.SIGTERM) == 143
        assert anyio.current_time() - began < 3
        with pytest.raises(ConnectionClosed):
            await idle.recv()
        assert idle.close_code == 1012
        with pytest.raises(httpx.ConnectError):
            await get(served, "/healthz")
