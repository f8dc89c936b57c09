"""F20: the connection of a source breaks; it comes back, and its session goes on."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from pipeline.config.settings import ServeSettings
from pipeline.hub.server import Hub, serve
from pipeline.ingest.formats import ADAPTERS
from pipeline.protocol.close_codes import CloseCode
from tests.support.fake_service import FakeService, FakeSession

START = {"type": "session.start", "session_id": "mine"}
TWILIO = "/v1/ingest/twilio?session_id=mine"


@asynccontextmanager
async def serving(fake: FakeService, reattach: float) -> AsyncGenerator[Hub]:
    settings = ServeSettings(port=0, reattach=reattach)
    async with serve(fake, settings, adapters=ADAPTERS) as hub:
        yield hub


async def dial(hub: Hub, message: object, path: str = "/v1/ingest/raw") -> ClientConnection:
    source = await connect(hub.url + path, proxy=None, compression=None, close_timeout=1)
    await source.send(msgspec.json.encode(message), text=True)
    return source


async def take(source: ClientConnection, count: int) -> list[dict[str, Any]]:
    """Return the next events that have a place in the session, or are errors."""
    taken: list[dict[str, Any]] = []
    with anyio.fail_after(5):
        while len(taken) < count:
            event = msgspec.json.decode(await source.recv())
            if event["type"] not in ("heartbeat", "audio.ack"):
                taken.append(event)
    return taken


async def turn(source: ClientConnection, text: str) -> None:
    await source.send(msgspec.json.encode({"type": "turn.create", "text": text}), text=True)


async def closed(source: ClientConnection) -> tuple[int | None, str | None]:
    with anyio.fail_after(5), suppress(ConnectionClosed):
        while True:
            await source.recv()
    return source.close_code, source.close_reason


async def left_alone(hub: Hub, fake: FakeService) -> None:
    """Wait until the server has noticed that the source is gone."""
    with anyio.fail_after(5):
        while fake.opened[0].topic.subscribers:
            await anyio.wait_all_tasks_blocked()


async def test_f20_a_source_that_was_cut_off_goes_on_with_its_session() -> None:
    fake = FakeService()
    async with serving(fake, 10) as hub:
        first = await dial(hub, START)
        await first.send(bytes(1600))
        await turn(first, "one")
        seen = await take(first, 2)
        first.transport.abort()
        await left_alone(hub, fake)
        second = await dial(hub, START | {"after_seq": seen[-1]["seq"]})
        await second.send(bytes(1600))
        await turn(second, "two")
        seen += await take(second, 3)
        await second.send('{"type":"session.end"}')
        seen += await take(second, 1)
        assert await closed(second) == (1000, "the session has ended")
    (session,) = fake.opened
    assert [event["seq"] for event in seen] == [1, 2, 3, 4, 5, 6]
    assert [event.get("turn") for event in seen] == [None, 1, None, None, 2, None]
    assert [event["type"] for event in seen[2:4]] == ["source.interrupted", "source.resumed"]
    assert 0 < seen[3]["away"] < 5
    assert seen[-1]["type"] == "session.ended"
    assert (session.heard, session.cut) == (3200, False)


async def test_f20_a_source_that_does_not_come_back_in_time_has_its_session_ended_in_order() -> (
    None
):
    fake = FakeService()
    async with serving(fake, 0.2) as hub:
        source = await dial(hub, START)
        await take(source, 1)
        source.transport.abort()
        with anyio.fail_after(5):
            await fake.opened[0].topic.ended.wait()
        late = await dial(hub, START | {"resume": True})
        assert (await closed(late))[0] == CloseCode.NO_SESSION
    last = [frame.data for frame in fake.opened[0].log.read(0, 10)][-1]
    assert b'"source_ended"' in last
    assert not fake.opened[0].cut


async def test_f20_a_call_goes_on_by_its_session_id_and_is_not_answered_twice() -> None:
    start = {
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": "MZ1",
        "start": {"mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}},
    }
    fake = FakeService()
    async with serving(fake, 10) as hub:
        first = await dial(hub, start, TWILIO)
        while not fake.opened or not fake.opened[0].topic.subscribers:
            await anyio.wait_all_tasks_blocked()
        first.transport.abort()
        await left_alone(hub, fake)
        second = await dial(hub, start | {"streamSid": "MZ2"}, TWILIO)
        await second.send('{"event":"stop","sequenceNumber":"2"}')
        assert (await closed(second))[0] == 1000
    assert [session.id for session in fake.opened] == ["mine"]


async def test_a_source_that_hangs_is_taken_over_by_one_that_says_resume() -> None:
    fake = FakeService()
    async with serving(fake, 10) as hub:
        hanging = await dial(hub, START)
        await take(hanging, 1)
        other = await dial(hub, START | {"resume": False, "audio": None})
        await take(other, 1)  # an error: the session has a source
        assert (await closed(other))[0] == CloseCode.TAKEN
        owner = await dial(hub, START | {"resume": True})
        await take(owner, 1)
        assert await closed(hanging) == (CloseCode.TAKEN, "another source feeds this session")
        await turn(owner, "still here")
        assert (await take(owner, 1))[0]["text"] == "still here"
        await owner.close()
    assert len(fake.opened) == 1


async def test_session_end_ends_the_session_at_once() -> None:
    fake = FakeService()
    async with serving(fake, 100) as hub:
        source = await dial(hub, START)
        await take(source, 1)
        await source.close()
        with anyio.fail_after(5):
            await fake.opened[0].topic.ended.wait()


async def test_other_audio_is_no_way_to_go_on() -> None:
    fake = FakeService()
    async with serving(fake, 10) as hub:
        first = await dial(hub, START)
        await take(first, 1)
        first.transport.abort()
        await left_alone(hub, fake)
        other = await dial(hub, START | {"audio": {"sample_rate": 8000}})
        (error,) = await take(other, 1)
        assert "pcm_s16le, 16000 Hz" in error["error"]["message"]
        assert (await closed(other))[0] == CloseCode.BAD_REQUEST


@pytest.mark.parametrize("fed", [True, False])
async def test_draining_ends_a_session_of_any_source(fed: bool) -> None:
    fake = FakeService()
    async with serving(fake, 100) as hub:
        source = await dial(hub, START)
        await take(source, 1)
        source.transport.abort()
        await left_alone(hub, fake)
        if fed:
            source = await dial(hub, START)
            await take(source, 1)
        assert await hub.drain(5)
    assert fake.opened[0].topic.ended.is_set()
    assert not fake.opened[0].cut


async def test_a_source_learns_from_where_to_send_its_audio_again() -> None:
    fake = FakeService()
    async with serving(fake, 10) as hub:
        first = await dial(hub, START)
        await first.send(bytes(3200))
        await turn(first, "one")
        await take(first, 2)
        first.transport.abort()
        await left_alone(hub, fake)
        second = await dial(hub, START | {"after_seq": 2})
        with anyio.fail_after(5):
            while (ack := msgspec.json.decode(await second.recv()))["type"] != "audio.ack":
                pass
        deaf = await dial(hub, START | {"resume": True}, "/v1/ingest/raw?events=turn.*")
        await turn(deaf, "two")
        assert [event["type"] for event in await take(deaf, 2)] == ["turn.completed"] * 2
    assert (ack["position"], "seq" in ack) == (100, False)


async def test_a_source_that_lost_its_connection_after_the_end_receives_the_last_events() -> None:
    fake = SlowEnd()
    async with serving(fake, 10) as hub:
        first = await dial(hub, START)
        await take(first, 1)
        await first.send('{"type":"session.end","client_id":"e-1"}')
        await fake.ending.wait()
        first.transport.abort()
        second = await dial(hub, START | {"resume": True, "after_seq": 1})
        await second.send('{"type":"session.end","client_id":"e-1"}')
        fake.may_end.set()
        assert [event["type"] for event in await take(second, 1)] == ["session.ended"]
        assert (await closed(second))[0] == 1000


class SlowEnd(FakeService):
    """A service whose sessions end when ``may_end`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.ending, self.may_end = anyio.Event(), anyio.Event()

    def session(self, session_id: str, *, keep: int = 1000) -> FakeSession:
        stand = self

        class Session(FakeSession):
            async def finish(self, reason: str = "source_ended") -> None:
                stand.ending.set()
                await stand.may_end.wait()
                await super().finish(reason)

        session = Session(self.topics, session_id, keep=keep)
        self.opened.append(session)
        return session
