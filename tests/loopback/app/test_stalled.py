"""A session whose events cannot be stored, over real sockets: its sources get 4013, not 1011."""

from contextlib import suppress
from typing import Any

import anyio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from pipeline.journal.log import SessionLog
from pipeline.protocol.close_codes import CloseCode
from pipeline.protocol.events import Frame
from tests.support.service import SUPERSEDE, service
from tests.support.serving import begin, until


async def closed(socket: ClientConnection) -> tuple[int, str]:
    with anyio.fail_after(5), suppress(ConnectionClosed):
        while True:
            await socket.recv()
    return socket.close_code or 0, socket.close_reason or ""


def live(app: Any, session_id: str) -> Any:
    return app._live[session_id][0]


def store_nothing(log: SessionLog, frame: Frame) -> None: ...


async def test_its_source_is_closed_with_the_reason_and_no_other_is() -> None:
    async with (
        service(SUPERSEDE) as (url, _, app),
        connect(f"{url}/v1/ingest/raw", proxy=None) as noisy,
        connect(f"{url}/v1/ingest/raw", proxy=None) as quiet,
    ):
        await begin(noisy, "noisy", audio={})
        await begin(quiet, "quiet", audio={})
        live(app, "noisy").stall("disk full")
        assert await closed(noisy) == (CloseCode.LATER, "disk full")
        await quiet.send('{"type":"turn.create","text":"And a taxi."}')
        assert await until(quiet, "response.done", holding="completed")


async def test_a_source_that_took_the_session_over_is_closed_too() -> None:
    async with (
        service(SUPERSEDE) as (url, _, app),
        connect(f"{url}/v1/ingest/raw", proxy=None) as first,
    ):
        await begin(first, "call", audio={})
        async with connect(f"{url}/v1/ingest/raw", proxy=None) as second:
            await begin(second, "call", audio={}, resume=True)
            assert (await closed(first))[0] == CloseCode.TAKEN
            session = live(app, "call")
            session.topic.log.store_with(store_nothing)
            session.stall("disk full")
            assert (await closed(second))[0] == CloseCode.LATER
