"""Sessions at their spending limits: the reason, the last answer, and the rest of the day."""

import json
from typing import Any

import anyio
import pytest
from websockets.asyncio.client import connect

from pipeline.app import app as app_module
from pipeline.config.settings import LimitSettings
from tests.support.service import FRAME, service

LINES = ({"llm": "reply", "text": "One two three four five six seven eight nine ten."},)


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "LOOK", 0.02)


async def events_of(url: str, *messages: str | bytes) -> list[dict[str, Any]]:
    """Begin a session, say ``messages`` until it is over, and return its events."""
    events: list[dict[str, Any]] = []
    with anyio.fail_after(15):
        async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:

            async def speak() -> None:
                while True:
                    for message in messages:
                        await socket.send(message)
                        await anyio.sleep(0.02)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(speak)
                async for frame in socket:
                    events.append(json.loads(frame))
                    if events[-1]["type"] == "session.ended":
                        tasks.cancel_scope.cancel()
                        break
    return events


async def test_a_session_ends_when_its_speech_to_text_is_used_up() -> None:
    async with service((), limits=LimitSettings(session_minutes=0.5 / 60)) as (url, sim, _):
        events = await events_of(url, '{"type":"session.start"}', *[FRAME] * 500)
        stt = await sim.stt.closed(1)
    (error,) = [event["error"] for event in events if event["type"] == "error"]
    assert (error["type"], error["code"]) == ("limit_reached", "limits.session_minutes")
    assert events[-1]["reason"] == "limit"
    assert stt.control_types == ["Terminate"]
    assert stt.audio_ms < 1500


async def test_a_session_ends_when_its_tokens_are_used_up_and_asks_for_no_more() -> None:
    start = '{"type":"session.start","audio":null}'
    turn = '{"type":"turn.create","text":"Spend, and spend again."}'
    limits = LimitSettings(session_tokens=40, when_spent="end")
    async with service(LINES, limits=limits, policy="queue") as (
        url,
        sim,
        _,
    ):
        events = await events_of(url, start, *[turn] * 500)
        asked = len(sim.llm.requests)
    codes = [event["error"].get("code") for event in events if event["type"] == "error"]
    assert "limits.session_tokens" in codes
    assert (events[-1]["type"], events[-1]["reason"]) == ("session.ended", "limit")
    assert asked < 20
    created = [event for event in events if event["type"] == "response.created"]
    assert len([event for event in events if event["type"] == "response.done"]) == len(created)


async def test_when_the_day_is_used_up_sessions_end_and_no_new_one_begins() -> None:
    async with service((), limits=LimitSettings(day_minutes=0.3 / 60)) as (url, _, _):
        events = await events_of(url, '{"type":"session.start"}', *[FRAME] * 500)
        assert events[-1]["reason"] == "limit"
        async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
            await socket.send('{"type":"session.start"}')
            error = json.loads(await socket.recv())["error"]
        assert error["code"] == 4429
        assert "no new sessions: the service has today used its" in error["message"]


async def test_a_spent_day_stops_the_requests_of_a_session_that_goes_on() -> None:
    limits = LimitSettings(day_tokens=5)
    async with service(LINES, limits=limits, policy="queue") as (url, _, _):
        with anyio.fail_after(15):
            async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
                await socket.send('{"type":"session.start","audio":null}')
                await socket.send('{"type":"turn.create","text":"Spend it."}')
                kinds = [json.loads(await socket.recv())["type"]]
                while kinds[-1] != "error":
                    kinds.append(json.loads(await socket.recv())["type"])
                await socket.send('{"type":"turn.create","text":"And again."}')
                await socket.send('{"type":"session.end"}')
                events = [json.loads(frame) async for frame in socket]
    assert [event["type"] for event in events] == [
        "turn.completed",
        "response.skipped",
        "session.ended",
    ]
    assert events[-1]["reason"] == "limit"
