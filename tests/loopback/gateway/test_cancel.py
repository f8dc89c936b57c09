"""Cancellation of calls at every relevant moment; slots and spare connections."""

import asyncio
import random
import socket
from typing import cast

import anyio
import anyio.lowlevel
import httpx
import pytest

from pipeline.config.settings import LlmSettings
from pipeline.errors import GatewayBusy
from pipeline.gateway.attempts import Target
from pipeline.gateway.call_log import CallLog
from pipeline.gateway.client import GatewayClient
from pipeline.gateway.fallback import FallbackGateway
from pipeline.gateway.http.connection import HttpConnection
from pipeline.gateway.http.transport import Origin, WarmTransport, origin_of
from pipeline.interfaces.llm import CompletionRequest, Message, Reply
from pipeline.interfaces.request_log import CallRecord
from tests.loopback.gateway.raw_server import (
    CHUNKED,
    HELLO,
    REQUEST,
    WHOLE,
    Peer,
    a_spare,
    ask,
    chunk,
    event,
    never_accepting,
    saying,
    serving,
    talking,
    text,
)

# --- leaving early ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [b"", CHUNKED, CHUNKED + chunk(event("hel")), CHUNKED + chunk(event("hel"))[:20]],
    ids=["before the head", "after the head", "in the body", "in a line"],
)
async def test_leaving_closes_the_connection_at_once(said: bytes) -> None:
    async with talking(saying(said)) as (client, server):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks, client.open(REQUEST) as reply:

                async def watch() -> None:
                    while await reply.receive():
                        pass

                tasks.start_soon(watch)
                await server.asked.wait()
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        began = anyio.current_time()
        await server.all_gone()
        assert anyio.current_time() - began < 0.5
        assert client.slots.held == 0


async def test_a_dropped_call_is_closed_before_any_other_task_runs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = GatewayClient(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        async with anyio.create_task_group() as tasks:
            reply = client.open(REQUEST)
            tasks.start_soon(_received, reply)
            await anyio.wait_readable(listener)
            with listener.accept()[0] as peer:
                await anyio.wait_readable(peer)
                assert peer.recv(65_536).startswith(b"POST")
                peer.settimeout(0)
                tasks.cancel_scope.cancel()
                reply.drop()
                assert peer.recv(1) == b""
        assert client.slots.held == 0
        await client.aclose()


async def _received(reply: Reply) -> None:
    async with reply:
        while await reply.receive():
            pass


async def test_a_call_dropped_at_any_moment_was_cancelled_and_did_not_fail() -> None:
    async def talks_on(peer: Peer) -> None:
        peer.send(CHUNKED)
        while not peer.writer.transport.is_closing():
            peer.send(chunk(event("and so on ")))
            await anyio.lowlevel.checkpoint()

    records: list[CallRecord] = []
    moments = random.Random(7)
    async with talking(talks_on) as (client, server):
        chain = FallbackGateway([Target(client, "here")], log=CallLog((records.append,)))
        for _ in range(200):
            async with anyio.create_task_group() as tasks:
                reply = chain.open(REQUEST)
                tasks.start_soon(_received, reply)
                for _ in range(moments.randrange(40)):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
                reply.drop()
        await server.all_gone()
    assert client.slots.held == 0
    assert {record.outcome for record in records} == {"cancelled"}


async def test_a_call_cancelled_while_it_connects_leaves_nothing() -> None:
    with never_accepting() as url:
        client = GatewayClient(url)
        with anyio.move_on_after(0.05) as scope:
            await ask(client)
        assert scope.cancelled_caught
        assert client.slots.held == 0
        await client.aclose()


async def test_a_call_cancelled_while_it_writes_leaves_nothing() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cast("asyncio.Transport", writer.transport).pause_reading()
        await gone.wait()
        writer.transport.abort()

    gone = anyio.Event()
    listener = await asyncio.start_server(deaf, "127.0.0.1", 0, limit=1)
    client = GatewayClient(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1")
    big = CompletionRequest(model="m", messages=(Message("user", "x" * 30_000_000),))
    with anyio.move_on_after(0.2) as scope:
        async with client.open(big):
            pytest.fail("entered before the request was written")
    assert scope.cancelled_caught
    assert client.slots.held == 0
    gone.set()
    listener.close()
    await client.aclose()


async def test_a_call_cancelled_before_it_begins_sends_nothing() -> None:
    async with talking(saying(WHOLE)) as (client, server):
        await client.warm()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await ask(client)
        assert client.transport_idle() == 1
        await ask(client)
        assert len(server.peers[0].requests) == 1


async def test_a_call_that_stops_waiting_for_a_slot_leaves_the_others_in_order() -> None:
    async with talking(saying(CHUNKED), connections=1) as (client, server):
        async with client.open(REQUEST):
            with anyio.move_on_after(0.02) as scope:
                await ask(client)
            assert scope.cancelled_caught
            assert client.slots.waiting == 0
        server.script = saying(WHOLE)
        assert text(await ask(client)) == "hello"


async def test_a_committed_request_takes_the_connection_of_a_speculative_one() -> None:
    async with (
        talking(saying(CHUNKED), connections=1) as (client, server),
        client.open(REQUEST, speculative=True) as guess,
    ):
        await guess.receive()
        server.script = saying(WHOLE)
        assert text(await ask(client)) == "hello"
        with pytest.raises(GatewayBusy, match="speculative"):
            await guess.receive()


async def test_a_speculative_request_is_preempted_while_it_connects() -> None:
    class Slow(WarmTransport):
        async def open(self, origin: Origin) -> HttpConnection:
            if not asked:
                asked.append(origin)
                await connected.wait()
            return await super().open(origin)

    asked: list[Origin] = []
    connected = anyio.Event()
    busy: list[GatewayBusy] = []
    async with serving(saying(WHOLE)) as server:
        client = GatewayClient(server.url, "", LlmSettings(connections=1), Slow())

        async def guess() -> None:
            try:
                async with client.open(REQUEST, speculative=True):
                    pytest.fail("sent although its slot was taken")
            except GatewayBusy as failure:
                busy.append(failure)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(guess)
            await anyio.wait_all_tasks_blocked()
            assert text(await ask(client)) == "hello"
            connected.set()
        assert len(busy) == 1
        assert client.slots.held == 0
        await client.aclose()


async def test_an_adopted_request_keeps_its_connection() -> None:
    async with (
        talking(saying(CHUNKED), connections=1) as (client, server),
        client.open(REQUEST, speculative=True) as guess,
    ):
        guess.commit()
        with anyio.move_on_after(0.02) as scope:
            await ask(client)
        assert scope.cancelled_caught
        server.peers[0].send(HELLO + b"0\r\n\r\n")
        await guess.receive()
        assert text(await guess.receive()) == "hello"


async def test_a_thousand_cancels_leave_every_slot_free() -> None:
    async def script(peer: Peer) -> None:
        peer.send((b"", CHUNKED, CHUNKED + chunk(event("hel")))[len(server.peers) % 3])
        await peer.reader.read()

    async with talking(script, connections=20) as (client, server):

        async def churn(number: int) -> None:
            for turn in range(25):
                with anyio.move_on_after((number * 7 + turn * 3) % 11 / 4000):
                    await ask(client)

        async with anyio.create_task_group() as callers:
            for number in range(40):
                callers.start_soon(churn, number)
        await server.all_gone()
        server.script = saying(WHOLE)
        for _ in range(20):
            assert text(await ask(client)) == "hello"


# --- warm connections ------------------------------------------------------------------------


async def test_a_warm_connection_is_the_next_request_s() -> None:
    async with talking(saying(WHOLE)) as (client, server):
        await client.warm()
        assert client.transport_idle() == 1
        await ask(client)
        assert len(server.peers) == 1


async def test_each_session_that_hears_speech_has_a_spare_of_its_own() -> None:
    async with talking(saying(WHOLE)) as (client, _):
        async with anyio.create_task_group() as sessions:
            for _ in range(3):
                sessions.start_soon(client.warm)
        assert client.transport_idle() == 3
        for _ in range(3):
            await ask(client)
            await client.warm()
        assert client.transport_idle() == 3


async def test_what_a_cancel_costs_is_replaced() -> None:
    async with talking(saying(CHUNKED)) as (client, server), anyio.create_task_group() as tasks:
        tasks.start_soon(client.keep_warm)
        await anyio.wait_all_tasks_blocked()
        async with client.open(REQUEST) as reply:
            await reply.receive()
        await a_spare(client)
        assert len(server.peers) == 2
        tasks.cancel_scope.cancel()


async def test_a_body_that_is_not_read_stops_its_sender() -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(400):
            peer.send(chunk(b"x" * 50_000))
            await peer.writer.drain()
            sent += 50_000
        peer.send(b"0\r\n\r\n")

    async with serving(script) as server:
        transport, url = WarmTransport(), httpx.URL(server.url)
        exchange = await transport.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", origin_of(url))
        await exchange.head()
        await anyio.sleep(0.2)
        assert sent < 19_000_000
        size = 0
        while data := await exchange.read():
            assert len(data) < 1_000_000
            size += len(data)
        assert size == 20_000_000
        exchange.close()
        await transport.aclose()
