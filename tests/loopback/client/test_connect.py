"""The Python subscriber over real sockets: decoded events, and coming back by itself."""

import anyio
import pytest

import pipeline
from pipeline.client.connect import Events, connect
from pipeline.client.resume import Resume
from pipeline.config.settings import ServeSettings
from pipeline.errors import SubscribeError
from pipeline.hub.server import serve
from pipeline.ingest.raw import RawAdapter
from pipeline.protocol.events import ResponseDelta, ServerEvent, UnknownEvent
from tests.support.fake_service import FakeService
from tests.support.faultproxy import fault_proxy

SETTINGS = ServeSettings(port=0)
ADAPTERS = {"raw": RawAdapter}


def delta(text: str) -> ResponseDelta:
    return ResponseDelta(response_id="r1", delta=text)


async def take(events: Events, count: int) -> list[ServerEvent | UnknownEvent]:
    with anyio.fail_after(10):
        return [await anext(events) for _ in range(count)]


def texts(events: list[ServerEvent | UnknownEvent]) -> str:
    return "".join(event.delta for event in events if isinstance(event, ResponseDelta))


async def test_events_come_decoded_and_stop_with_the_session() -> None:
    fake = FakeService()
    session = fake.session("s1")
    session.publish(delta("a"), delta("b"))
    session.end("client")
    async with (
        serve(fake, SETTINGS, adapters=ADAPTERS) as hub,
        connect(hub.url, "s1", after_seq=0) as events,
    ):
        got = [event async for event in events]
        assert events.raw == session.log.read(2, 1)[0].data
    assert [event.seq for event in got if not isinstance(event, UnknownEvent)] == [1, 2, 3]


def test_it_is_what_the_package_offers() -> None:
    assert pipeline.connect is connect
    with pytest.raises(AttributeError, match="conect"):
        getattr(pipeline, "conect")  # noqa: B009 - a name that is not there


async def test_a_server_that_is_not_there_is_an_error_at_once() -> None:
    with pytest.raises(SubscribeError, match="is the server running"):
        async with connect("ws://127.0.0.1:9"):
            pass


async def test_a_refusal_is_an_error_with_its_code() -> None:
    async with (
        serve(FakeService(), SETTINGS, adapters=ADAPTERS) as hub,
        connect(hub.url, "unknown") as events,
    ):
        with pytest.raises(SubscribeError, match="no session 'unknown'") as refused:
            await anext(events)
    assert refused.value.code == 4404


async def test_a_cut_connection_is_taken_up_where_it_broke() -> None:
    fake = FakeService()
    session = fake.session("s1")
    async with (
        serve(fake, SETTINGS, adapters=ADAPTERS) as hub,
        fault_proxy(("127.0.0.1", hub.port)) as proxy,
        connect(f"ws://127.0.0.1:{proxy.port}", "s1", after_seq=0) as events,
    ):
        session.publish(delta("a"))
        got = await take(events, 1)
        await proxy.kill_all()
        session.publish(delta("b"), delta("c"))
        got += await take(events, 2)
    assert texts(got) == "abc"


async def test_a_star_comes_back_to_old_sessions_and_finds_new_ones() -> None:
    fake = FakeService()
    old = fake.session("old")
    old.publish(delta("unheard"))
    async with (
        serve(fake, SETTINGS, adapters=ADAPTERS) as hub,
        fault_proxy(("127.0.0.1", hub.port)) as proxy,
        connect(f"ws://127.0.0.1:{proxy.port}") as events,
    ):
        await anyio.wait_all_tasks_blocked()
        old.publish(delta("a"))
        got = await take(events, 1)
        await proxy.kill_all()
        old.publish(delta("b"))
        fake.session("new").publish(delta("c"))
        got += await take(events, 2)
    assert texts(got) == "abc"


async def test_a_stopped_server_is_waited_for_and_then_given_up() -> None:
    fake = FakeService()
    fake.session("s1")
    async with serve(fake, SETTINGS, adapters=ADAPTERS) as hub:
        events = Events(hub.url, Resume("s1"), patience=0)
        await events.open()
    with pytest.raises(SubscribeError):
        await anext(events)
    await events.close()
