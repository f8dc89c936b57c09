"""Requests that are sent at once, without waiting, over real sockets."""

import anyio
import pytest

from pipeline.errors import GatewayRefused
from pipeline.gateway.attempts import Target
from pipeline.gateway.call_log import CallLog
from pipeline.gateway.fallback import FallbackGateway
from pipeline.gateway.retry import RetryPolicy
from pipeline.interfaces.llm import CompletionRequest, Message
from pipeline.interfaces.request_log import CallRecord
from tests.loopback.gateway.raw_server import (
    REQUEST,
    WHOLE,
    Peer,
    a_spare,
    ask,
    saying,
    talking,
    text,
)


async def test_a_request_with_a_connection_at_hand_leaves_at_once() -> None:
    async with talking(saying(WHOLE)) as (client, server):
        await client.warm()
        reply = client.open(REQUEST)
        reply.begin()
        assert reply.sent
        await server.asked.wait()  # although it is not entered
        async with reply:
            assert await reply.receive()


async def test_one_without_waits_to_be_entered() -> None:
    async with talking(saying(WHOLE)) as (client, server):
        reply = client.open(REQUEST)
        reply.begin()
        assert (reply.sent, client.slots.held) == (False, 0)
        async with reply:
            assert await reply.receive()
        assert len(server.peers) == 1


async def test_one_without_a_place_waits_its_turn() -> None:
    async with talking(saying(WHOLE), connections=1) as (client, _):
        await client.warm()
        async with client.open(REQUEST) as first:
            second = client.open(REQUEST)
            second.begin()
            assert (second.sent, client.slots.held, client.slots.waiting) == (False, 1, 0)
            assert await first.receive()
        assert text(await ask(client))


async def test_a_connection_that_was_closed_meanwhile_is_not_the_end_of_it() -> None:
    async def script(peer: Peer) -> None:
        asked.append(peer)
        if len(asked) == 2:
            peer.reset()  # it had been idle for too long, and the request crossed the reset
        else:
            peer.send(WHOLE)

    asked: list[Peer] = []
    async with talking(script) as (client, server):
        await ask(client)
        await a_spare(client)
        reply = client.open(REQUEST)
        reply.begin()
        assert reply.sent
        async with reply:
            assert await reply.receive()
        assert len(server.peers) == 2


async def test_a_request_that_cannot_be_written_fails_where_it_is_entered() -> None:
    records: list[CallRecord] = []
    async with talking(saying(WHOLE)) as (client, _):
        await client.warm()
        chain = FallbackGateway(
            [Target(client, "here")], RetryPolicy(attempts=1), log=CallLog((records.append,))
        )
        broken = CompletionRequest(model="m", messages=(Message("user", "\ud800"),))
        reply = chain.open(broken)
        reply.begin()
        assert not reply.sent
        with pytest.raises(GatewayRefused, match="cannot be written"):
            async with reply:
                pass
        assert client.slots.held == 0
    assert [record.outcome for record in records] == ["failed"]


async def test_one_begun_and_left_at_once_drops_its_connection() -> None:
    async with talking(saying(b"")) as (client, server):
        await client.warm()
        chain = FallbackGateway([Target(client, "here")])
        reply = chain.open(REQUEST)
        reply.begin()
        assert reply.sent
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with reply:
                await reply.receive()
        await server.all_gone()
        assert client.slots.held == 0
