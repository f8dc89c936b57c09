"""The JavaScript client in a real Node against a real server: coming back, talking, refusals."""

import json
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pipeline.config.settings import ServeSettings
from pipeline.hub.auth.grants import Grant
from pipeline.hub.auth.tokens import Access
from pipeline.hub.server import Hub, serve
from pipeline.ingest.raw import RawAdapter
from pipeline.protocol.events import ResponseDelta
from tests.support import fault_proxy
from tests.support.fake_service import FakeService
from tests.support.node import as_json, node
from tests.support.service import service

ADAPTERS = {"raw": RawAdapter}
STORY = "One two three four five six seven eight nine ten eleven twelve."


def delta(text: str) -> ResponseDelta:
    return ResponseDelta(response_id="r1", delta=text)


@asynccontextmanager
async def serving(fake: FakeService, port: int = 0, **more: Any) -> AsyncGenerator[Hub]:
    async with serve(fake, ServeSettings(port=port), adapters=ADAPTERS, **more) as hub:
        yield hub


def text_of(events: Sequence[dict[str, Any]]) -> str:
    kind = "response.output_text.delta"
    return "".join(event["delta"] for event in events if event["type"] == kind)


async def test_a_response_cut_in_its_middle_is_taken_up_without_loss() -> None:
    lines = [{"llm": "reply", "text": STORY, "token_ms": 150}]
    async with (
        service(lines) as (url, _, app),
        fault_proxy(url) as proxy,
        node("talk.mjs", url, as_json(audio=None, sessionId="call-1")) as talk,
    ):
        await talk.until(type="session.created")
        async with node("follow.mjs", proxy.url, as_json(session="call-1", afterSeq=0)) as follow:
            await talk.tell("createTurn", "Tell me a story.")
            for _ in range(2):
                await follow.until(type="response.output_text.delta")
                await proxy.kill_all()
                await follow.until(state="live")
            assert "response.done" not in {event["type"] for event in follow.events}
            done = await follow.until(type="response.done")
            await talk.tell("end")
            await follow.until(over=True)
        await talk.until(over=True)
        topic = app.topics.get("call-1")
        assert topic is not None
        said = [json.loads(frame.data) for frame in topic.log.read(0, 1000)]
    assert follow.events == said
    assert text_of(follow.events) == done["text"] == STORY
    assert talk.events == said


async def test_a_server_that_stops_and_comes_back_is_waited_for() -> None:
    fake = FakeService()
    session = fake.session("s1")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"ws://127.0.0.1:{port}"
    async with node("follow.mjs", url, as_json(session="s1", afterSeq=0)) as follow:
        await follow.until(state="waiting")  # no server listens yet
        async with serving(fake, port):
            session.publish(delta("a"))
            await follow.until(seq=1)
        session.publish(delta("b"))
        async with serving(fake, port):
            session.publish(delta("c"))
            session.end("client")
            await follow.until(over=True)
    assert text_of(follow.events) == "abc"


async def test_a_connection_that_says_nothing_any_more_is_given_up() -> None:
    fake = FakeService()
    session = fake.session("s1")
    async with (
        serving(fake) as hub,
        fault_proxy(("127.0.0.1", hub.port)) as proxy,
        node(
            "follow.mjs",
            f"ws://127.0.0.1:{proxy.port}",
            as_json(session="s1", afterSeq=0, silence=1),
        ) as follow,
    ):
        session.publish(delta("a"))
        await follow.until(seq=1)
        proxy.blackhole()
        session.publish(delta("b"))
        await follow.until(state="waiting")
        proxy.heal()
        session.publish(delta("c"))
        session.end("client")
        await follow.until(over=True)
    assert text_of(follow.events) == "abc"


async def test_what_was_forgotten_comes_as_one_resync_and_then_the_rest() -> None:
    fake = FakeService()
    session = fake.session("s1", keep=3)
    session.publish(*map(delta, "abcdefgh"))
    async with (
        serving(fake) as hub,
        node("follow.mjs", hub.url, as_json(session="s1", afterSeq=2)) as follow,
    ):
        await follow.until(type="session.resync")
        session.publish(delta("i"))
        session.end("client")
        assert await follow.until(over=True) == {"over": True}
    assert [(one["type"], one.get("from_seq"), one["seq"]) for one in follow.events] == [
        ("session.resync", 3, 8),
        ("response.output_text.delta", None, 9),
        ("session.ended", None, 10),
    ]


async def test_every_session_is_followed_and_new_ones_too() -> None:
    fake = FakeService()
    old = fake.session("old")
    async with (
        serving(fake) as hub,
        fault_proxy(("127.0.0.1", hub.port)) as proxy,
        node("follow.mjs", f"http://127.0.0.1:{proxy.port}", as_json(afterSeq=0)) as follow,
    ):
        old.publish(delta("a"))
        await follow.until(session_id="old")
        await proxy.kill_all()
        old.publish(delta("b"))
        fake.session("new").publish(delta("c"))
        await follow.until(session_id="new")
    assert text_of(follow.events) == "abc"


async def test_a_refusal_ends_it_with_its_code() -> None:
    async with (
        serving(FakeService()) as hub,
        node("follow.mjs", hub.url, as_json(session="unknown")) as follow,
    ):
        over = await follow.until(over=True)
    assert (over["code"], over["error"]) == (4404, "there is no session 'unknown'")


async def test_a_wrong_token_ends_it_and_a_right_one_comes_in() -> None:
    fake = FakeService()
    fake.session("s1").end("client")
    access = Access({"right": Grant()})
    async with serving(fake, access=access) as hub:
        for token, code in (("wrong", 401), ("", 401), ("not a token", None), ("right", None)):
            options = as_json(session="s1", afterSeq=0, token=token)
            async with node("follow.mjs", hub.url, options) as follow:
                over = await follow.until(over=True)
            assert over.get("code") == code
            assert ("error" in over) == (token != "right")
        async with node("talk.mjs", hub.url, as_json(token="wrong")) as talk:
            assert (await talk.until(over=True))["code"] == 401
        async with node("talk.mjs", hub.url, as_json(token="right")) as talk:
            await talk.tell("end")
            assert await talk.until(over=True) == {"over": True}


async def test_every_command_reaches_the_session() -> None:
    lines = [{"llm": "reply", "text": STORY, "token_ms": 200}]
    async with (
        service(lines) as (url, sim, _),
        node("talk.mjs", url, as_json(audio=None)) as talk,
    ):
        await talk.tell("createTurn", "Tell me", {"final": False})
        await talk.until(type="turn.updated")
        await talk.tell("createTurn", "Tell me a story.", {"speaker": "A"})
        first = await talk.until(type="response.output_text.delta")
        response_id = first["response_id"]
        await talk.tell("reportPlayback", response_id, {"characters": 2})
        await talk.tell("update", {"vars": {"mood": "glad"}})
        await talk.tell("cancelResponse", response_id)
        done = await talk.until(type="response.done")
        assert done["status"] == "cancelled"
        await talk.tell("createResponse", "reply")
        await talk.until(type="response.output_text.delta")
        await talk.tell("createResponse", "no such prompt")
        refused = await talk.until(type="error")
        assert "no such prompt" in refused["error"]["message"]
        await talk.tell("end")
        await talk.until(over=True)
    assert [event["type"] for event in talk.events if event["type"].startswith("turn")] == [
        "turn.updated",
        "turn.completed",
    ]
    assert "error" not in talk.lines[-1]
    assert len(sim.llm.requests) == 2


async def test_audio_becomes_turns_and_a_source_that_is_cut_off_hears_the_end() -> None:
    lines = [
        {"stt": "end", "at_ms": 400, "text": "Tell me a story."},
        {"llm": "reply", "text": STORY, "token_ms": 40},
    ]
    async with (
        service(lines) as (url, _, _),
        fault_proxy(url) as proxy,
        node("talk.mjs", proxy.url, as_json()) as talk,
    ):
        for _ in range(10):
            await talk.tell("audio", [0] * 1600)
        await talk.until(type="response.output_text.delta")
        await proxy.kill_all()
        await talk.until(over=True)
    assert [event["seq"] for event in talk.events] == list(range(1, len(talk.events) + 1))
    assert text_of(talk.events) == STORY
    assert talk.events[-1]["type"] == "session.ended"


async def test_who_reads_slowly_is_waited_for_and_misses_nothing() -> None:
    fake = FakeService()
    session = fake.session("s1", keep=20_000)
    session.publish(*(delta("x") for _ in range(12_000)))
    session.end("client")
    options = as_json(session="s1", afterSeq=0, slow=True)
    async with serving(fake) as hub, node("follow.mjs", hub.url, options) as follow:
        await follow.until(over=True)
    assert [event["seq"] for event in follow.events] == list(range(1, 12_002))
    assert "paused" in follow.states
