"""The whole service over real sockets: scripted servers upstream, clients downstream."""

import json
from typing import Any

import anyio
import pytest
from websockets.asyncio.client import connect

from tests.support.service import SUPERSEDE, received, service, speak


async def test_audio_goes_in_and_events_come_back_on_the_same_socket() -> None:
    async with service(SUPERSEDE) as (url, sim, _):
        async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
            await speak(socket, 1.2)
            got = [json.loads(frame) for frame in await received(socket)]
        await sim.llm.closed(1)
    assert [event["seq"] for event in got] == list(range(1, len(got) + 1))
    done = [event for event in got if event["type"] == "response.done"]
    assert [(one["status"], one.get("reason")) for one in done] == [
        ("cancelled", "superseded"),
        ("completed", None),
    ]
    assert done[1]["text"] == "Both are booked."
    assert got[-1]["type"] == "session.ended"
    assert sim.llm.requests[0].was_cancelled
    assert sim.stt.connections[0].control[-1][1] == {"type": "Terminate"}


async def test_a_late_joiner_gets_exactly_what_the_first_subscriber_got() -> None:
    first: list[str] = []
    ingested: list[str] = []
    seen: list[str] = []
    async with service(SUPERSEDE) as (url, _, _), anyio.create_task_group() as tasks:

        async def follow() -> None:
            query = "/v1/events?session_id=*&after_seq=0"
            async with connect(url + query, proxy=None) as subscriber:
                async for frame in subscriber:
                    first.append(str(frame))
                    if '"session.ended"' in str(frame):
                        return

        tasks.start_soon(follow)
        await anyio.sleep(0.1)
        async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
            await speak(socket, 1.2, "call-1")
            ingested += await received(socket)
        query = "/v1/events?session_id=call-1&after_seq=0"
        async with connect(url + query, proxy=None) as late:
            seen += [str(await late.recv()) for _ in ingested]
    assert seen == ingested
    assert [frame for frame in first if '"heartbeat"' not in frame] == ingested


async def test_several_sessions_at_once_do_not_mix() -> None:
    got: dict[str, list[dict[str, Any]]] = {}
    names = [f"call-{n}" for n in range(8)]
    async with service(()) as (url, sim, _), anyio.create_task_group() as tasks:

        async def talk(name: str) -> None:
            async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
                await socket.send(json.dumps({"type": "session.start", "session_id": name}))
                await socket.send(json.dumps({"type": "turn.create", "text": f"I am {name}"}))
                await socket.send('{"type":"session.end"}')
                got[name] = [json.loads(frame) for frame in await received(socket)]

        for name in names:
            tasks.start_soon(talk, name)
    assert sorted(got) == names
    for name, heard in got.items():
        assert {event["session_id"] for event in heard} == {name}
        done = next(event for event in heard if event["type"] == "response.done")
        assert name in done["text"]
    assert len(sim.llm.requests) == 8


async def test_a_guess_is_adopted_and_saves_what_it_started_early() -> None:
    lines = (
        {"stt": "pause", "at_ms": 200, "text": "what time is it"},
        {"stt": "end", "at_ms": 900, "text": "What time is it?"},
        {"llm": "reply", "text": "It is noon.", "first_token_ms": 200},
    )
    async with (
        service(lines, speculate=True) as (url, sim, _),
        connect(f"{url}/v1/ingest/raw", proxy=None) as socket,
    ):
        await speak(socket, 1.4)
        got = [json.loads(frame) for frame in await received(socket)]
    created = next(event for event in got if event["type"] == "response.created")
    completed = next(event for event in got if event["type"] == "turn.completed")
    done = next(event for event in got if event["type"] == "response.done")
    assert created["speculative"]
    assert created["seq"] > completed["seq"]
    assert done["status"] == "completed"
    assert done["times"]["lead"] > 0
    assert len(sim.llm.requests) == 1


async def test_a_wrong_guess_is_never_published() -> None:
    lines = (
        {"stt": "pause", "at_ms": 200, "text": "what time"},
        {"stt": "partial", "at_ms": 500, "text": "what time does it start"},
        {"stt": "end", "at_ms": 700, "text": "What time does it start?"},
        {"llm": "reply", "match": "start", "text": "At eight."},
        {"llm": "reply", "text": "It is noon, and this is long.", "token_ms": 50},
    )
    async with service(lines, speculate=True) as (url, sim, _):
        async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
            await speak(socket, 1.2)
            frames = await received(socket)
        await sim.llm.closed(1)
    assert not any("noon" in frame for frame in frames)
    totals = json.loads(frames[-1])["totals"]
    assert totals["discarded"] == 1
    assert totals["speculative"] == totals["discarded"] + totals["adopted"]
    assert totals["wasted_tokens"] > 0
    assert sim.llm.requests[0].was_cancelled


async def test_speech_to_text_that_refuses_is_an_error_event_of_the_client() -> None:
    lines = ({"stt": "connection", "key": "another"},)
    async with service(lines) as (url, _, app):
        async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
            await socket.send('{"type":"session.start"}')
            got = json.loads(await socket.recv())
            await socket.wait_closed()
        assert got["type"] == "error"
        assert "ASSEMBLYAI_API_KEY" in got["error"]["message"]
        assert socket.close_code == 4400
        assert app.sessions() == []


async def test_the_limit_on_sessions_is_kept() -> None:
    async with (
        service((), max_sessions=1) as (url, _, _),
        connect(f"{url}/v1/ingest/raw", proxy=None) as one,
        connect(f"{url}/v1/ingest/raw", proxy=None) as two,
    ):
        await one.send('{"type":"session.start"}')
        assert json.loads(await one.recv())["type"] == "session.created"
        await two.send('{"type":"session.start"}')
        await two.wait_closed()
        assert two.close_code == 4429


@pytest.mark.parametrize("policy", ["queue", "parallel", "conflate"])
async def test_other_policies_cancel_nothing(policy: str) -> None:
    async with (
        service(SUPERSEDE, policy=policy) as (url, _, _),
        connect(f"{url}/v1/ingest/raw", proxy=None) as socket,
    ):
        await speak(socket, 1.2)
        got = [json.loads(frame) for frame in await received(socket)]
    done = [event["status"] for event in got if event["type"] == "response.done"]
    assert done == ["completed", "completed"]
