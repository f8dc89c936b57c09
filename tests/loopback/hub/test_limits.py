"""The hub's limits over real sockets: sizes, crowds and floods, at the edge and past it."""

import json
import resource
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pipeline.config.settings import ServeSettings
from pipeline.hub import peers
from pipeline.hub.auth.grants import Grant
from pipeline.hub.auth.tokens import Access
from pipeline.hub.server import MAX_COMMAND, MAX_CONTROL, MAX_MESSAGE, Hub, serve
from pipeline.ingest.raw import RawAdapter
from pipeline.protocol.close_codes import CloseCode
from pipeline.protocol.events import ResponseDelta
from pipeline.stt.pacing import TokenBucket
from tests.loopback.hub.test_attacks import in_thread, open_websocket, resident_bytes
from tests.support import many_connections
from tests.support.fake_service import FakeService, FakeSession

ACCESS = Access(
    {
        "one": Grant(holder="one"),
        "two": Grant(holder="two"),
        "ears": Grant(frozenset({"subscribe"}), holder="ears"),
    }
)


@asynccontextmanager
async def serving(
    fake: FakeService | None = None, access: Access | None = None, **settings: Any
) -> AsyncGenerator[Hub]:
    async with serve(
        fake or FakeService(),
        ServeSettings(port=0, **settings),
        adapters={"raw": RawAdapter},
        access=access,
    ) as hub:
        yield hub


def dial(hub: Hub, path: str = "/v1/events", token: str = "", **headers: str) -> connect_websocket:
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return connect_websocket(hub.url + path, additional_headers=headers, proxy=None)


async def code_of(connection: ClientConnection) -> int | None:
    with anyio.fail_after(10):
        await connection.wait_closed()
    return connection.close_code


def padded(size: int) -> str:
    """A command that is refused, but read, of just so many bytes."""
    return json.dumps({"type": "turn.commit", "x": ""})[:-2] + "x" * (size - 32) + '"}'


@pytest.mark.parametrize(
    ("path", "token", "most", "ends"),
    [
        ("/v1/events", "ears", MAX_COMMAND, 1000),
        ("/v1/events", "one", MAX_CONTROL, 1000),
        ("/v1/ingest/raw", "one", MAX_MESSAGE, 4400),
    ],
)
@pytest.mark.parametrize("fragments", [1, 40])
async def test_a_message_may_be_so_long_and_not_a_byte_longer(
    path: str, token: str, most: int, ends: int, fragments: int
) -> None:
    async with serving(access=ACCESS) as hub:
        for size, code in ((most, ends), (most + 1, 1009)):
            text = padded(size)
            assert len(text) == size
            step = -(-size // fragments)
            async with dial(hub, path, token=token) as connection:
                pieces = [text[at : at + step] for at in range(0, size, step)]
                await connection.send(pieces[0] if fragments == 1 else pieces)
                if code == ends:
                    assert '"error"' in str(await connection.recv())
                    await connection.close()
                assert await code_of(connection) == code


@pytest.mark.parametrize("path", ["/v1/events", "/v1/ingest/raw"])
async def test_who_does_not_say_what_it_wants_is_closed_and_may_come_back(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "FIRST_MESSAGE_TIMEOUT", 0.1)
    async with serving() as hub, dial(hub, path) as connection:
        assert await code_of(connection) == CloseCode.IDLE
        assert connection.close_reason == "no message in 0.1 s"


async def test_one_token_has_so_many_websockets_and_another_still_comes_in() -> None:
    async with serving(access=ACCESS, max_per_token=2) as hub:
        async with dial(hub, token="one"), dial(hub, token="one"):
            with pytest.raises(InvalidStatus) as refused:
                await dial(hub, token="one")
            assert refused.value.response.status_code == 429
            assert b"serve.max_per_token" in (refused.value.response.body or b"")
            async with dial(hub, token="two"):
                pass
        async with dial(hub, token="one"):
            pass


async def test_behind_a_proxy_the_address_that_it_writes_is_counted_and_else_none_is() -> None:
    async with serving(max_per_address=2, trusted_proxies=("127.0.0.1",)) as hub:
        they = {"X-Forwarded-For": "1.2.3.4, 203.0.113.7"}
        async with dial(hub, **they), dial(hub, **they):
            for spoofed in ("203.0.113.7", "9.9.9.9, 203.0.113.7"):
                with pytest.raises(InvalidStatus, match="429"):
                    await dial(hub, **{"X-Forwarded-For": spoofed})
            async with dial(hub, **{"X-Forwarded-For": "203.0.113.8"}):
                pass
    async with serving(max_per_address=1) as hub:
        they = {"X-Forwarded-For": "203.0.113.7"}
        async with dial(hub, **they), dial(hub, **they):
            pass


async def test_one_token_has_so_many_sessions_at_once() -> None:
    fake = FakeService()
    start = '{"type":"session.start"}'
    async with serving(fake, ACCESS, max_sessions_per_token=2) as hub:
        inside = [await dial(hub, "/v1/ingest/raw", "one") for _ in range(2)]
        for connection in inside:
            await connection.send(start)
            await connection.recv()
        for _ in range(20):
            async with dial(hub, "/v1/ingest/raw", "one") as connection:
                await connection.send(start)
                error = json.loads(await connection.recv())["error"]
                assert (error["code"], "serve.max_sessions_per_token" in error["message"]) == (
                    4429,
                    True,
                )
                assert await code_of(connection) == 4429
        assert len(fake.opened) == 2
        await inside[0].send('{"type":"session.end"}')
        assert await code_of(inside[0]) == 1000
        for token in ("one", "two"):
            async with dial(hub, "/v1/ingest/raw", token) as connection:
                await connection.send(start)
                assert json.loads(await connection.recv())["type"] == "session.created"
        await inside[1].close()


@pytest.mark.parametrize("path", ["/v1/events", "/v1/ingest/raw"])
async def test_a_flood_of_commands_ends_the_connection(path: str) -> None:
    fake = FakeService()
    fake.session("s1")
    follow = '{"type":"session.subscribe","session_id":"s1"}'
    turn = '{"type":"turn.create","text":"spend!"}'
    async with serving(fake, commands_per_second=10) as hub, dial(hub, path) as connection:
        if "ingest" in path:
            await connection.send('{"type":"session.start"}')
        with suppress(ConnectionClosed):
            for _ in range(500):
                await connection.send(follow if path == "/v1/events" else turn)
        with suppress(ConnectionClosed):
            async for _ in connection:
                pass
        assert connection.close_code == 4429
    assert sum(session.turns for session in fake.opened) <= 80  # four seconds' worth, and some


@pytest.mark.parametrize("busy_with", ["pings", "refusals"])
async def test_a_subscriber_that_reads_its_replies_stays_connected(busy_with: str) -> None:
    """A part of the replies is always under way: that is no sign that it does not read."""
    fake = FakeService()
    fake.session("s1")
    async with serving(fake) as hub, dial(hub) as connection:
        with anyio.move_on_after(3.5):  # longer than a stalled peer stays connected
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read_all, connection)
                while True:
                    if busy_with == "pings":
                        await connection.ping()
                    else:
                        await connection.send('{"type":"session.subscribe","session_id":"none"}')
                    await anyio.sleep(0.025)  # a steady load in real time
        assert connection.close_code is None


async def read_all(connection: ClientConnection) -> None:
    async for _ in connection:
        pass


async def test_requests_for_unknown_sessions_leave_nothing_behind() -> None:
    fake = FakeService()
    async with serving(fake, commands_per_second=100_000) as hub, dial(hub) as connection:
        before = resident_bytes()
        for number in range(3000):
            name = f"{number}-".ljust(4000, "x")
            await connection.send(f'{{"type":"session.subscribe","session_id":"{name}"}}')
            assert json.loads(await connection.recv())["error"]["code"] == 4404
        assert resident_bytes() - before < 6 << 20


class LiveAudio(FakeSession):
    """Takes audio as speech-to-text lets it in: a second at once, then 1.25 times real time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pace = TokenBucket(1.25, 1.0)

    async def audio(self, data: bytes) -> None:
        await anyio.sleep(self.pace.take(len(data) / 32_000, anyio.current_time()))
        await super().audio(data)


class LiveHouse(FakeService):
    def session(self, session_id: str, *, keep: int = 1000) -> FakeSession:
        session = LiveAudio(self.topics, session_id, keep=keep)
        self.opened.append(session)
        return session


async def test_audio_faster_than_speech_waits_at_the_source_and_not_in_our_memory() -> None:
    fake = LiveHouse()
    async with serving(fake) as hub, dial(hub, "/v1/ingest/raw") as connection:
        await connection.send('{"type":"session.start"}')
        await connection.recv()
        before, sent = resident_bytes(), 0
        with anyio.move_on_after(2):
            while True:
                await connection.send(bytes(32_000))  # a second of audio
                sent += 1
        heard = fake.opened[0].heard / 32_000
        assert heard < 1 + 1.25 * 2 + 1
        assert resident_bytes() - before < 32 << 20
        assert sent < 300  # the rest is in the buffers of both sides' kernels
        connection.transport.abort()


async def test_ten_thousand_connections_leave_the_server_as_it_was() -> None:
    fake = FakeService()
    session = fake.session("s1")
    at_once = min(600, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 3)
    async with serving(fake, max_subscribers=200, requests_per_second=100_000) as hub:
        async with dial(hub, "/v1/events?session_id=s1&after_seq=0") as inside:
            before = resident_bytes()
            with anyio.fail_after(40):
                await anyio.run_process(
                    [
                        sys.executable,
                        many_connections.__file__,
                        str(hub.port),
                        "10000",
                        str(at_once),
                    ]
                )
            assert resident_bytes() - before < 48 << 20
            session.publish(ResponseDelta(response_id="r1", delta="still here"))
            with anyio.fail_after(5):
                while "still here" not in str(await inside.recv()):
                    pass
        with anyio.fail_after(10):
            while len(hub.transports):  # noqa: ASYNC110 - the kernel tells of each end by itself
                await anyio.sleep(0.01)
        sock, answer = await in_thread(lambda: open_websocket(hub, "/v1/events"))
        sock.close()
        assert answer.startswith(b"HTTP/1.1 101")


async def test_a_deep_message_is_refused_and_the_next_one_read() -> None:
    fake = FakeService()
    deep = '{"type":"tool.result","call_id":"c","result":%s}' % ("[" * 3000 + "]" * 3000)
    async with serving(fake) as hub:
        for path in ("/v1/events", "/v1/ingest/raw"):
            async with dial(hub, path) as connection:
                if "ingest" in path:
                    await connection.send('{"type":"session.start"}')
                    await connection.recv()
                for _ in range(2):
                    await connection.send(deep)
                    error = json.loads(await connection.recv())["error"]
                    assert error["message"].startswith("not a command")
