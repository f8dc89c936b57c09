"""Answers to a source in its own format: order, end, and deadlines."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from pipeline.config.settings import ServeSettings
from pipeline.hub.server import Hub, serve
from pipeline.ingest.formats import ADAPTERS
from pipeline.protocol.commands import StartCommand
from pipeline.protocol.events import ResponseCreated, ResponseDelta
from tests.support.fake_service import FakeService, FakeSession

SETUP = '{"type":"setup","sessionId":"VX1"}'


@asynccontextmanager
async def call(
    fake: FakeService,
) -> AsyncGenerator[tuple[Hub, ClientConnection, FakeSession]]:
    settings = ServeSettings(port=0, reattach=0)
    async with serve(fake, settings, adapters=ADAPTERS) as hub:
        address = f"{hub.url}/v1/relay/twilio"
        async with connect(address, proxy=None, compression=None, close_timeout=1) as socket:
            await socket.send(SETUP)
            with anyio.fail_after(15):
                while not fake.opened or not fake.opened[0].topic.subscribers:
                    await anyio.wait_all_tasks_blocked()
                yield hub, socket, fake.opened[0]


def response(name: str, texts: Sequence[str]) -> list[ResponseCreated | ResponseDelta]:
    created = ResponseCreated(
        response_id=name, prompt="reply", turns=(1,), model="m", speculative=False
    )
    return [created, *[ResponseDelta(response_id=name, delta=text) for text in texts]]


async def received(socket: ClientConnection) -> list[dict[str, object]]:
    got: list[dict[str, object]] = []
    with suppress(ConnectionClosed):
        while True:
            got.append(json.loads(await socket.recv()))
    return got


async def test_every_token_goes_back_in_order_and_the_end_is_sent() -> None:
    texts = [str(n) for n in range(900)]  # the fake keeps 1,000 events
    async with call(FakeService()) as (_, socket, session):
        session.publish(*response("r1", texts))
        session.end("source_ended")
        got = await received(socket)
        assert socket.close_code == 1000
    assert [message.get("token") for message in got[:-1]] == texts
    assert got[-1] == {"type": "end"}


async def test_what_was_published_before_it_listened_is_not_missed() -> None:
    class EarlyHouse(FakeService):
        @asynccontextmanager
        async def _open(self, start: StartCommand, source: str) -> AsyncGenerator[FakeSession]:
            async with super()._open(start, source) as session:
                session.publish(*response("r0", ["early"]))
                yield session

    async with call(EarlyHouse()) as (_, socket, session):
        assert json.loads(await socket.recv())["token"] == "early"
        session.end("source_ended")
        assert [message["type"] for message in await received(socket)] == ["end"]
    assert session.topic.subscribers == 0


async def test_a_peer_that_stops_reading_is_cut_and_its_session_ended() -> None:
    fake = FakeService()
    async with call(fake) as (_, socket, session):
        socket.transport.pause_reading()
        began = anyio.current_time()
        session.publish(*response("r1", ["x" * 100_000] * 100))
        await session.topic.ended.wait()
        assert 1 < anyio.current_time() - began < 5
        socket.transport.resume_reading()


async def test_a_draining_server_ends_calls_politely() -> None:
    async with call(FakeService()) as (hub, socket, session):
        assert await hub.drain(5)
        assert session.topic.ended.is_set()
        assert [message["type"] for message in await received(socket)] == ["end"]
        assert socket.close_code == 1000


@pytest.mark.parametrize("messages", [[], ['{"type":"prompt","voicePrompt":"Hi"}']])
async def test_a_call_that_does_not_begin_opens_no_session(messages: Sequence[str]) -> None:
    fake = FakeService()
    async with serve(fake, ServeSettings(port=0, reattach=0), adapters=ADAPTERS) as hub:
        async with connect(f"{hub.url}/v1/relay/twilio", proxy=None) as socket:
            for message in messages:
                await socket.send(message)
            if messages:
                assert await received(socket) == []
                assert (socket.close_code, socket.close_reason) == (
                    4400,
                    "prompt came before setup",
                )
        assert fake.opened == []
