"""Faults around the gateway: providers that fail and clients that leave; no slot stays taken."""

import socket
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest

from pipeline.interfaces.request_log import Selection
from tests.support.gateway_server import Stand, gateway
from tests.support.waiting import until

BODY = b'{"model":"small","stream":true,"messages":[{"role":"user","content":"Hello"}]}'
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
CLIENTS = 300


def slots(stand: Stand) -> int:
    return sum(target.gateway.slots.held for target in stand.running.llm.gateway.targets)  # type: ignore[attr-defined]


def come_and_go(port: int, *, wait: bool) -> None:
    """Ask in groups of 20, and leave: at once, or with the first bytes of the answer."""
    for _ in range(CLIENTS // 20):
        socks = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(20)]
        for sock in socks:
            sock.sendall(REQUEST)
        for sock in socks:
            if wait:
                sock.recv(64)
            sock.close()


@pytest.mark.parametrize("wait", [False, True], ids=["at once", "in the answer"])
async def test_clients_that_leave_leave_no_slot_taken_and_one_record_each(wait: bool) -> None:
    slow = {"llm": "reply", "text": "a b c", "token_ms": 60_000, "times": 0}
    async with gateway(slow) as stand:
        with anyio.fail_after(50):
            await anyio.to_thread.run_sync(lambda: come_and_go(stand.hub.port, wait=wait))
            await until(lambda: stand.sim.llm.connections_open <= 20)
            await until(lambda: slots(stand) == 0)
        calls = stand.running.calls.select(Selection())
        assert {call.outcome for call in calls} <= {"cancelled"}
        assert len({call.response_id for call in calls}) == len(calls) <= CLIENTS
        async with stand.client() as client:  # the next one is served
            stream: Any = await client.chat.completions.create(
                model="small", messages=[{"role": "user", "content": "Hello"}], stream=True
            )
            async for _ in stream:
                break
            await stream.close()


STREAM_FAULTS: list[dict[str, Any]] = [
    {"llm": "reply", "text": "a b c", "cut": {"after_tokens": 1, "by": "rst"}},
    {"llm": "reply", "text": "a b c", "cut": {"after_tokens": 1, "by": "hang"}},
    {"llm": "reply", "text": "a", "error_event": {"message": "overloaded"}},
]
FAULTS: list[dict[str, Any]] = [
    {"llm": "reply", "text": "a b c", "cut": {"after_bytes": 10}},
    {"llm": "reply", "text": "a b c", "finish_reason": None, "done": False},
    {"llm": "raw", "body": "data: {nonsense\n\n"},
    {"llm": "raw", "body": "<html>busy</html>", "content_type": "text/html"},
    {"llm": "raw", "body": ""},
    {"llm": "raw", "body": "data: []\n\ndata: [DONE]\n\n"},
    {"llm": "error", "status": 429, "retry_after_s": 30},
    {"llm": "error", "status": 503},
    {"llm": "drop"},
]


@pytest.mark.parametrize(
    ("fault", "stream"),
    [
        *((fault, True) for fault in STREAM_FAULTS),
        *((fault, stream) for fault in FAULTS for stream in (False, True)),
    ],
    ids=str,
)
async def test_a_provider_failure_is_reported_and_leaves_no_slot_taken(
    fault: dict[str, Any], stream: bool
) -> None:
    async with gateway({**fault, "times": 0}, llm={"stall_timeout": 0.3}) as stand:
        for _ in range(3):
            assert await failed(stand, stream=stream)
        assert slots(stand) == 0
        assert all(
            call.outcome in ("failed", "incomplete")
            for call in stand.running.calls.select(Selection())
        )


async def failed(stand: Stand, *, stream: bool) -> bool:
    """Send one request; return whether the failure shows."""
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.post(
            f"{stand.url}/chat/completions",
            json={
                "model": "small",
                "stream": stream,
                "messages": [{"role": "user", "content": "Hello"}],
            },
        )
    return response.status_code >= 429 or '"error"' in response.text


async def test_answers_are_never_mixed_up() -> None:
    async with gateway({"llm": "server"}) as stand, stand.client() as client:
        wrong: list[str] = []

        async def ask(n: int) -> None:
            text = f"number {n}"
            answer = await client.chat.completions.create(
                model="small", messages=[{"role": "user", "content": text}]
            )
            if f"number {n}" not in (answer.choices[0].message.content or "").split(": ")[-1]:
                wrong.append(text)

        with anyio.fail_after(40):
            async with anyio.create_task_group() as tasks:
                for n in range(100):
                    tasks.start_soon(ask, n)
        assert wrong == []
