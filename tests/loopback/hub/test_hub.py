"""The hub over real sockets: sources, subscribers, and misbehaving clients."""

import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import anyio
import anyio.to_thread
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State
from websockets.typing import Origin

from pipeline.config.settings import ServeSettings
from pipeline.errors import NoCapacity, ServeError
from pipeline.hub.peers import MAX_ERRORS
from pipeline.hub.server import MAX_CONTROL, Hub, serve
from pipeline.ingest.raw import RawAdapter
from pipeline.protocol.close_codes import CloseCode
from pipeline.protocol.events import (
    ErrorEvent,
    Heartbeat,
    ResponseDelta,
    ServerEvent,
    SpeechStartedEvent,
    UnknownEvent,
    decode_event,
)
from tests.support.fake_service import FakeService, FakeSession
from tests.support.stalled_reader import stalled_websocket


@asynccontextmanager
async def serving(fake: FakeService, port: int = 0, **settings: Any) -> AsyncGenerator[Hub]:
    async with serve(
        fake, ServeSettings(port=port, reattach=0, **settings), adapters={"raw": RawAdapter}
    ) as hub:
        yield hub


def dial(hub: Hub, path: str) -> connect_websocket:
    return connect_websocket(hub.url + path, compression=None, proxy=None, close_timeout=1)


async def take(subscriber: ClientConnection, count: int) -> list[bytes]:
    with anyio.fail_after(5):
        return [await subscriber.recv(decode=False) for _ in range(count)]


async def closed(subscriber: ClientConnection) -> tuple[int, str]:
    """Read to the end; return the close code and reason."""
    with anyio.fail_after(5):
        while subscriber.state is not State.CLOSED:
            with suppress(ConnectionClosed):
                await subscriber.recv()
    return subscriber.close_code or 0, subscriber.close_reason or ""


async def joined(session: FakeSession, count: int) -> None:
    with anyio.fail_after(5):
        while session.topic.subscribers < count:
            await anyio.wait_all_tasks_blocked()


def deltas(*texts: str) -> Sequence[ResponseDelta]:
    return [ResponseDelta(response_id="r1", delta=text) for text in texts]


def stored(session: FakeSession) -> list[bytes]:
    return [frame.data for frame in session.log.read(0, 10_000)]


def event(text: bytes) -> ServerEvent | UnknownEvent:
    return decode_event(text)


# --- subscribers ---


async def test_a_late_joiner_gets_the_same_bytes_in_order() -> None:
    fake = FakeService()
    session = fake.session("s1")
    async with serving(fake) as hub, dial(hub, "/v1/events?session_id=s1&after_seq=0") as early:
        session.publish(*deltas(*map(str, range(300))))
        first = await take(early, 300)
        async with dial(hub, "/v1/events?session_id=s1&after_seq=0") as late:
            assert await take(late, 300) == first == stored(session)
            session.publish(*deltas("now"))
            assert await take(late, 1) == await take(early, 1)


async def test_a_subscriber_comes_back_where_it_was() -> None:
    fake = FakeService()
    session = fake.session("s1")
    async with serving(fake) as hub:
        async with dial(hub, "/v1/events?session_id=s1&after_seq=0") as subscriber:
            session.publish(*deltas("a", "b"))
            await take(subscriber, 2)
        session.publish(*deltas("c", "d"))
        async with dial(hub, "/v1/events?session_id=s1&after_seq=2") as subscriber:
            session.publish(*deltas("e"))
            assert await take(subscriber, 3) == stored(session)[2:]


async def test_without_a_number_a_heartbeat_says_where_it_begins() -> None:
    fake = FakeService()
    session = fake.session("s1")
    session.publish(*deltas("a", "b"))
    async with serving(fake) as hub, dial(hub, "/v1/events?session_id=s1") as subscriber:
        (beat,) = await take(subscriber, 1)
        assert event(beat) == Heartbeat(session_id="s1", epoch=1, head=2)
        session.publish(*deltas("c"))
        assert await take(subscriber, 1) == stored(session)[2:]


async def test_a_filter_holds_back_and_the_next_frame_covers() -> None:
    fake = FakeService()
    session = fake.session("s1")
    async with serving(fake) as hub:
        path = "/v1/events?session_id=s1&after_seq=0&events=speech.*"
        async with dial(hub, path) as subscriber:
            await anyio.wait_all_tasks_blocked()
            session.publish(*deltas("a", "b"), SpeechStartedEvent())
            got = event((await take(subscriber, 1))[0])
            assert isinstance(got, SpeechStartedEvent)
            assert (got.from_seq, got.seq) == (1, 3)


async def test_one_socket_follows_several_sessions() -> None:
    fake = FakeService()
    one, two = fake.session("s1"), fake.session("s2")
    async with serving(fake) as hub, dial(hub, "/v1/events") as subscriber:
        for name in ("s1", "s2"):
            await subscriber.send(f'{{"type":"session.subscribe","session_id":"{name}"}}')
        await take(subscriber, 2)
        one.publish(*deltas("a"))
        two.publish(*deltas("b"))
        assert await take(subscriber, 2) == stored(one) + stored(two)


async def test_a_star_follows_old_and_new_sessions() -> None:
    fake = FakeService()
    old = fake.session("old")
    old.publish(*deltas("before"))
    async with serving(fake) as hub, dial(hub, "/v1/events?session_id=*") as subscriber:
        await take(subscriber, 1)
        old.publish(*deltas("after"))
        new = fake.session("new")
        new.publish(*deltas("first"))
        assert await take(subscriber, 2) == stored(old)[1:] + stored(new)


async def test_an_unknown_session_is_refused_for_good() -> None:
    async with serving(FakeService()) as hub, dial(hub, "/v1/events?session_id=no") as subscriber:
        assert (await closed(subscriber))[0] == CloseCode.NO_SESSION


@pytest.mark.parametrize(
    "message",
    [
        "garbage",
        "[]",
        b"\xff\x00",
        '{"type":"session.subscribe"}',
        '{"type":"session.subscribe","session_id":"s1","after_seq":-1}',
        '{"type":"session.subscribe","session_id":"*","after_seq":3}',
        '{"type":"session.subscribe","session_id":"s1","more":1}',
        '{"type":"session.start"}',
        '{"type":"unheard.of"}',
        "[" * 2000,
    ],
)
async def test_garbage_is_answered_and_the_socket_lives(message: str | bytes) -> None:
    fake = FakeService()
    fake.session("s1")
    async with serving(fake) as hub, dial(hub, "/v1/events") as subscriber:
        await subscriber.send(message)
        assert isinstance(event((await take(subscriber, 1))[0]), ErrorEvent)
        await subscriber.send('{"type":"session.subscribe","session_id":"s1"}')
        assert isinstance(event((await take(subscriber, 1))[0]), Heartbeat)


async def test_garbage_without_end_is_cut_short() -> None:
    async with serving(FakeService()) as hub, dial(hub, "/v1/events") as subscriber:
        for _ in range(MAX_ERRORS):
            await subscriber.send("x")
        assert (await closed(subscriber))[0] == CloseCode.BAD_REQUEST


async def test_a_long_command_is_refused() -> None:
    async with serving(FakeService()) as hub, dial(hub, "/v1/events") as subscriber:
        await subscriber.send("x" * (MAX_CONTROL + 1))
        assert (await closed(subscriber))[0] == 1009


# --- sources ---


async def test_a_source_gets_its_events_on_the_same_socket() -> None:
    fake = FakeService()
    async with serving(fake) as hub, dial(hub, "/v1/ingest/raw") as source:
        await source.send('{"type":"session.start","session_id":"mine"}')
        await source.send(b"\0" * 1600)
        await source.send('{"type":"turn.create","text":"hello"}')
        await source.send('{"type":"session.end"}')
        got = await take(source, 3)
        assert await closed(source) == (1000, "the session has ended")
    (session,) = fake.opened
    assert got == stored(session)
    assert (session.id, session.heard, session.cut) == ("mine", 1600, False)


async def test_a_source_that_vanishes_ends_its_session_properly() -> None:
    fake = FakeService()
    async with serving(fake) as hub:
        source = await dial(hub, "/v1/ingest/raw")
        await source.send('{"type":"session.start"}')
        await take(source, 1)
        source.transport.abort()
        with anyio.fail_after(5):
            await fake.opened[0].topic.ended.wait()
    assert not fake.opened[0].cut
    assert b'"source_ended"' in stored(fake.opened[0])[-1]


async def test_a_session_that_ends_by_itself_closes_its_source() -> None:
    fake = FakeService()
    async with serving(fake) as hub, dial(hub, "/v1/ingest/raw") as source:
        await source.send('{"type":"session.start"}')
        await take(source, 1)
        fake.opened[0].end("error")
        assert b"session.ended" in (await take(source, 1))[0]
        assert (await closed(source))[0] == 1000


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (b"\0\0", "before session.start"),
        ('{"type":"turn.commit"}', "first message"),
        ('{"type":"session.start","audio":{"sample_rate":1}}', "sample_rate"),
        ('{"type":"session.start","audio":{"channels":0}}', "channels"),
        ('{"type":"session.start","audio":{"encoding":"mp3"}}', "mp3"),
        ('{"type":"session.start","session_id":"../x"}', "session_id"),
        ("{", "not a command"),
    ],
)
async def test_a_bad_beginning_is_refused_with_its_reason(message: str | bytes, what: str) -> None:
    fake = FakeService()
    async with serving(fake) as hub, dial(hub, "/v1/ingest/raw") as source:
        await source.send(message)
        error = event((await take(source, 1))[0])
        assert isinstance(error, ErrorEvent)
        assert what in error.error.message
        assert (await closed(source))[0] == CloseCode.BAD_REQUEST
    assert not fake.opened


async def test_the_house_chooses_the_close_code_of_a_refusal() -> None:
    fake = FakeService()
    fake.refuse = NoCapacity("200 sessions are open")
    async with serving(fake) as hub, dial(hub, "/v1/ingest/raw") as source:
        await source.send('{"type":"session.start"}')
        assert await closed(source) == (4429, "200 sessions are open")


async def test_a_refused_command_does_not_end_the_session() -> None:
    async with serving(FakeService()) as hub, dial(hub, "/v1/ingest/raw") as source:
        await source.send('{"type":"session.start"}')
        await source.send('{"type":"response.cancel"}')
        await source.send("garbage")
        await source.send('{"type":"turn.create","text":"still here"}')
        texts = b"".join(await take(source, 4))
        assert texts.count(b'"type":"error"') == 2
        assert b"still here" in texts


async def test_draining_ends_sources_and_refuses_new_ones() -> None:
    fake = FakeService()
    async with serving(fake) as hub, dial(hub, "/v1/ingest/raw") as source:
        await source.send('{"type":"session.start"}')
        await take(source, 1)
        assert await hub.drain(5)
        assert (await closed(source))[0] == 1000
        with pytest.raises(InvalidStatus, match="503"):
            await dial(hub, "/v1/ingest/raw")
        async with dial(hub, "/v1/events"):
            pass  # who wants to see the end may
        assert (await get(hub, "/readyz"))[0] == 503
        assert (await get(hub, "/healthz"))[0] == 200
    assert not fake.opened[0].cut


# --- plain requests ---


async def get(hub: Hub, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    def fetch() -> tuple[int, bytes]:
        try:
            with urlopen(
                Request(hub.url.replace("ws:", "http:") + path, headers=headers or {})
            ) as r:
                return r.status, r.read()
        except HTTPError as error:
            with error:
                return error.code, error.read()

    return await anyio.to_thread.run_sync(fetch)


async def test_plain_pages() -> None:
    fake = FakeService()
    fake.session("s1").publish(*deltas("a"))
    async with serving(fake) as hub:
        assert await get(hub, "/healthz") == (200, b"ok\n")
        assert await get(hub, "/readyz") == (200, b"ready\n")
        assert (await get(hub, "/nothing"))[0] == 404
        assert (await get(hub, "/v1/ingest/unheard-of"))[0] == 404
        assert (await get(hub, "/v1/events"))[0] == 426
        status, body = await get(hub, "/v1/sessions")
        assert status == 200
        assert b'"id":"s1"' in body
        assert b'"head":1' in body


async def test_other_names_and_origins_are_refused() -> None:
    async with serving(FakeService()) as hub:
        assert (await get(hub, "/healthz", {"Host": "evil.example"}))[0] == 421
        assert (await get(hub, "/healthz", {"Origin": "https://evil.example"}))[0] == 403
        assert (await get(hub, "/healthz", {"Origin": "null"}))[0] == 403
        assert (await get(hub, "/healthz", {"Origin": "http://localhost:5173"}))[0] == 200
        with pytest.raises(InvalidStatus, match="403"):
            await connect_websocket(
                f"{hub.url}/v1/events", origin=Origin("https://evil.example"), proxy=None
            )


async def test_the_name_that_a_proxy_passes_on_and_the_pages_of_another_site_can_be_let_in() -> (
    None
):
    async with serving(
        FakeService(), hosts=("voice.example",), origins=("https://app.example",)
    ) as hub:
        known = {"Host": "Voice.example", "Origin": "https://app.example"}
        assert (await get(hub, "/healthz", known))[0] == 200
        assert (await get(hub, "/healthz", known | {"Origin": "https://voice.example"}))[0] == 200
        assert (await get(hub, "/healthz", known | {"Host": "evil.example"}))[0] == 421
        for origin in ("https://app.example:8443", "http://app.example", "https://a.app.example"):
            assert (await get(hub, "/healthz", known | {"Origin": origin}))[0] == 403
        page = Origin("https://app.example")
        async with connect_websocket(f"{hub.url}/v1/events", origin=page, proxy=None):
            pass


async def test_a_taken_port_is_named() -> None:
    async with serving(FakeService()) as hub:
        with pytest.raises(ServeError, match=f"port {hub.port} is taken"):
            async with serving(FakeService(), hub.port):
                pass


# --- those that do not read ---


async def test_a_client_that_never_reads_is_cut_and_its_neighbour_notices_nothing() -> None:
    fake = FakeService()
    session = fake.session("s1", keep=100_000)
    async with serving(fake) as hub, dial(hub, "/v1/events?session_id=s1&after_seq=0") as reader:
        with stalled_websocket(hub.url, "/v1/events?session_id=s1&after_seq=0"):
            await joined(session, 2)
            began = anyio.current_time()
            slowest = 0.0
            count = 0
            while session.topic.subscribers == 2:
                sent = anyio.current_time()
                session.publish(*deltas(f"{count:05d}" + "x" * 2000))
                await take(reader, 1)
                slowest = max(slowest, anyio.current_time() - sent)
                count += 1
                await anyio.sleep(0.001)
            took = anyio.current_time() - began
    assert took < 5
    assert slowest < 0.5
    assert count > 100


async def test_stopping_beside_a_stuck_client_takes_bounded_time() -> None:
    fake = FakeService()
    session = fake.session("s1")
    with ExitStack() as sockets:
        async with serving(fake) as hub:
            reader = await dial(hub, "/v1/events?session_id=s1&after_seq=0")
            sockets.enter_context(
                stalled_websocket(hub.url, "/v1/events?session_id=s1&after_seq=0")
            )
            sockets.enter_context(socket.create_connection(("127.0.0.1", hub.port)))
            await joined(session, 2)
            session.publish(*deltas(*("x" * 2000 for _ in range(200))))
            while b'"seq":200,' not in (await take(reader, 1))[0]:  # it may get them merged
                pass
            began = anyio.current_time()
        assert anyio.current_time() - began < 10
        assert (await closed(reader))[0] == CloseCode.RESTART
