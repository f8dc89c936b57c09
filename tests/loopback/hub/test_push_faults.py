"""The fault matrix of the push side, F1 to F5: broken subscribers, with the oracle at the end."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from weakref import WeakSet

import anyio
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket

from pipeline.client.connect import connect
from pipeline.config.settings import ServeSettings
from pipeline.hub import liveness
from pipeline.hub.server import Hub, serve
from pipeline.hub.socket import WatchedConnection
from pipeline.protocol.events import (
    RequestInfo,
    ResponseCreated,
    ResponseDelta,
    ResponseDone,
    Times,
    TokenUsage,
    TurnCompleted,
)
from tests.support.fake_service import FakeService, FakeSession
from tests.support.faultproxy import FaultProxy, fault_proxy
from tests.support.oracle import hold, parse
from tests.support.stalled_reader import small_buffer_socket, stalled_websocket
from tests.support.waiting import until

PATH = "/v1/events?session_id=s1&after_seq="


class Stage:
    """One session, the hub, and a proxy that breaks what goes through it."""

    def __init__(self, session: FakeSession, hub: Hub, proxy: FaultProxy) -> None:
        self.session = session
        self.hub = hub
        self.proxy = proxy

    async def respond(self, name: str, tokens: int, pause: float = 0.002, size: int = 1) -> None:
        """One response, token by token."""
        created = ResponseCreated(
            response_id=name, prompt="reply", turns=(1,), model="m", speculative=False
        )
        self.session.publish(created)
        text = ""
        for n in range(tokens):
            text += (delta := f"{n} " + "x" * size)
            self.session.publish(ResponseDelta(response_id=name, delta=delta))
            await anyio.sleep(pause)
        self.session.publish(done(name, text))

    def check(self, texts: list[bytes]) -> None:
        """Hold ``texts``, all that one subscriber got, against what was said."""
        hold(texts, [frame.data for frame in self.session.log.read(0, 1_000_000)])


def done(name: str, text: str) -> ResponseDone:
    return ResponseDone(
        response_id=name,
        status="completed",
        text=text,
        usage=TokenUsage(input_tokens=0, output_tokens=0, estimated=False),
        times=Times(),
        request=RequestInfo(id=None, model="m", region=None),
    )


@asynccontextmanager
async def stage(keep: int = 100_000) -> AsyncGenerator[Stage]:
    fake = FakeService()
    session = fake.session("s1", keep=keep)
    async with (
        serve(fake, ServeSettings(port=0), adapters={}) as hub,
        fault_proxy(("127.0.0.1", hub.port)) as proxy,
    ):
        with anyio.fail_after(30):
            yield Stage(session, hub, proxy)


async def take_all(subscriber: ClientConnection, head: int) -> list[bytes]:
    """Return what comes up to the event ``head``."""
    texts: list[bytes] = []
    while not texts or parse(texts[-1]).get("seq", 0) < head:
        texts.append(await subscriber.recv(decode=False))
    return texts


def connections(hub: Hub) -> WeakSet[object]:
    """Return what the server holds of its clients; it empties as they are forgotten."""
    return WeakSet(transport.get_protocol() for transport in hub.transports)


def have_answered(hub: Hub) -> bool:
    """Whether every client is known to answer pings."""
    connections = [transport.get_protocol() for transport in hub.transports]
    return all(isinstance(each, WatchedConnection) and each.pongs for each in connections)


async def joined(stage: Stage, count: int) -> None:
    await until(lambda: stage.session.topic.subscribers == count)


async def test_f1_reset_in_mid_response_a_subscriber_comes_back_and_has_the_whole_text() -> None:
    texts: list[bytes] = []
    async with stage() as s, anyio.create_task_group() as tasks:

        async def follow() -> None:
            url = f"ws://127.0.0.1:{s.proxy.port}"
            async with connect(url, "s1", after_seq=0) as events:
                async for _ in events:
                    texts.append(events.raw)  # noqa: PERF401 - looked at while it grows

        tasks.start_soon(follow)
        tasks.start_soon(s.respond, "r1", 500)
        for _ in range(3):
            await anyio.sleep(0.3)
            await s.proxy.kill_all(by="rst")
        await until(lambda: any(b'"response.done"' in text for text in texts))
        s.session.end("source_ended")
        await joined(s, 0)
        s.check(texts)
    assert s.proxy.accepted == 4


@pytest.mark.usefixtures("without_garbage_collection")
@pytest.mark.parametrize("sending", [True, False], ids=["while sending", "in silence"])
async def test_f2_half_open_subscribers_are_cut_and_leave_no_memory_behind(
    sending: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not sending:  # in real time: 12 s, see tests/hub/test_liveness.py
        monkeypatch.setattr(liveness, "IDLE_PING_INTERVAL", 0.6)
        monkeypatch.setattr(liveness, "IDLE_PONG_TIMEOUT", 0.5)
    async with stage() as s:
        peers = [
            await connect_websocket(f"ws://127.0.0.1:{s.proxy.port}{PATH}0", proxy=None)
            for _ in range(20)
        ]
        await joined(s, 20)
        await until(lambda: have_answered(s.hub))
        half_open = connections(s.hub)
        assert len(half_open) == 20
        s.proxy.blackhole()
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            if sending:
                tasks.start_soon(s.respond, "r1", 2000, 0.002, 300)
            await joined(s, 0)
            assert anyio.current_time() - began < (5 if sending else 2.5)
            tasks.cancel_scope.cancel()
        await until(lambda: not s.hub.transports)
        await until(lambda: not half_open)
        s.proxy.heal()
        for peer in peers:
            peer.transport.abort()


async def test_f3_who_never_reads_a_thousand_events_a_second_is_cut_in_5_s_unnoticed() -> None:
    async with (
        stage() as s,
        connect_websocket(f"{s.hub.url}{PATH}0", proxy=None, max_queue=None) as neighbour,
    ):
        with stalled_websocket(s.hub.url, f"{PATH}0"):
            await joined(s, 2)
            began = anyio.current_time()
            late: list[float] = []
            texts: list[bytes] = []
            took = 0.0
            n = 0
            while s.session.topic.subscribers == 2 or n < 1000:
                sent = anyio.current_time()
                s.session.publish(ResponseDelta(response_id="r1", delta=f"{n} " + "x" * 200))
                texts.append(await neighbour.recv(decode=False))
                late.append(anyio.current_time() - sent)
                if s.session.topic.subscribers == 2:
                    took = sent - began
                n += 1
                await anyio.sleep(0.001)
        assert took < 5
        assert sorted(late)[len(late) * 99 // 100] < 0.01
        s.check(texts)


async def test_f3_who_pauses_gets_it_merged_and_nothing_is_lost() -> None:
    texts: list[bytes] = []
    async with stage() as s:
        sock = small_buffer_socket(s.hub.url, 1 << 15)
        url = f"{s.hub.url}{PATH}0"
        async with connect_websocket(url, sock=sock, max_queue=1, max_size=1 << 24) as sleepy:
            await joined(s, 1)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(s.respond, "r1", 600, 0.001, 800)
                await anyio.sleep(1.2)
                texts += await take_all(sleepy, 602)
        s.check(texts)
        assert any(b'"from_seq":' in text for text in texts)


async def test_f4_one_byte_at_a_time_200_ms_late_still_everything_comes_in_order() -> None:
    async with stage() as s:
        s.proxy.slice_bytes, s.proxy.latency = 1, 0.2
        url = f"ws://127.0.0.1:{s.proxy.port}{PATH}0"
        texts: list[bytes] = []
        async with connect_websocket(url, proxy=None) as subscriber:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(s.respond, "r1", 40, 0.01)
                texts += await take_all(subscriber, 42)
            s.check(texts)


async def test_f5_who_resumes_behind_what_is_kept_gets_the_state_and_then_lives_on() -> None:
    async with stage(keep=50) as s:
        s.session.publish(TurnCompleted(turn=1, text="Count.", end_of_turn_delay=None))
        await s.respond("r1", 100, 0)
        await s.respond("r2", 100, 0)
        async with connect_websocket(f"{s.hub.url}{PATH}1", proxy=None) as subscriber:
            first = parse(await subscriber.recv(decode=False))
            s.session.publish(TurnCompleted(turn=2, text="Again.", end_of_turn_delay=None))
            then = parse(await subscriber.recv(decode=False))
    assert (first["type"], first["reason"]) == ("session.resync", "expired")
    assert (first["from_seq"], first["seq"], then["seq"]) == (2, 205, 206)
    state = first["state"]
    assert [turn["text"] for turn in state["turns"]] == ["Count."]
    whole = "".join(f"{n} x" for n in range(100))
    assert [(r["response_id"], r["status"], r["text"]) for r in state["responses"]] == [
        ("r1", "completed", whole),
        ("r2", "completed", whole),
    ]


async def close(subscriber: ClientConnection) -> None:
    await subscriber.close()


async def abort(subscriber: ClientConnection) -> None:
    subscriber.transport.abort()


async def be_sent_away(subscriber: ClientConnection) -> None:
    await subscriber.send("x" * (1 << 20))  # more than a command may have
    await subscriber.wait_closed()


async def talk_nonsense(subscriber: ClientConnection) -> None:
    subscriber.transport.write(b"\xff" * 10)
    await subscriber.wait_closed()


@pytest.mark.usefixtures("without_garbage_collection")
@pytest.mark.parametrize("leave", [talk_nonsense, close, abort, be_sent_away])
async def test_who_left_is_forgotten_at_once(
    leave: Callable[[ClientConnection], Awaitable[None]],
) -> None:
    async with stage() as s:
        subscriber = await connect_websocket(f"{s.hub.url}{PATH}0", proxy=None)
        await joined(s, 1)
        here = connections(s.hub)
        assert len(here) == 1
        await leave(subscriber)
        await until(lambda: not here)
