"""Sessions over a journal's file: killed, restarted, in trouble; nothing shown is lost."""

import json
import signal
import sqlite3
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from websockets.asyncio.client import connect as connect_websocket

from pipeline.app.plan import plan
from pipeline.app.startup import open_app
from pipeline.client.connect import connect
from pipeline.config.settings import (
    JournalSettings,
    LlmSettings,
    ServeSettings,
    Settings,
    SttSettings,
)
from pipeline.errors import SttError
from pipeline.hub.server import serve
from pipeline.ingest.raw import RawAdapter
from pipeline.journal.sqlite import stored_sessions
from pipeline.protocol.commands import StartCommand
from pipeline.protocol.events import UnknownEvent
from tests.support import simulate
from tests.support.commandline import pipeline, running
from tests.support.waiting import until

SLOW = [{"llm": "reply", "text": "One two three four five six seven eight", "token_ms": 100}]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


async def follow(url: str, session_id: str, *, after_seq: int, until: str) -> list[dict[str, Any]]:
    """Return the session's events behind ``after_seq``, up to the first of type ``until``."""
    got: list[dict[str, Any]] = []
    with anyio.fail_after(10):
        async with connect(url, session_id, after_seq=after_seq) as events:
            async for event in events:
                assert not isinstance(event, UnknownEvent)
                got.append(json.loads(events.raw))
                if got[-1]["type"] == until:
                    break
    return got


async def test_after_kill_9_in_mid_response_a_subscriber_resumes_without_loss(
    journal: Path,
) -> None:
    async with simulate(SLOW) as sim:
        words = ["serve", "--port", 0, "--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "m"]
        words += ["--journal", journal]
        async with running(*words) as server:
            url = (await server.line(holding="listening on")).split()[-1]
            async with connect_websocket(f"{url}/v1/ingest/raw", proxy=None) as source:
                await source.send('{"type":"session.start","session_id":"call"}')
                await source.send('{"type":"turn.create","text":"Count."}')
                delta = "response.output_text.delta"
                before = await follow(url, "call", after_seq=0, until=delta)
                await server.stop(signal.SIGKILL)
        async with running(*words) as server:
            url = (await server.line(holding="listening on")).split()[-1]
            seen = before[-1]["seq"]
            after = await follow(url, "call", after_seq=seen, until="session.ended")
            whole = await follow(url, "call", after_seq=0, until="session.ended")
            await server.stop(signal.SIGTERM)
    assert whole == before + after
    assert [event["seq"] for event in whole] == list(range(1, len(whole) + 1))
    first, second = whole[0]["epoch"], whole[-1]["epoch"]
    assert [event["epoch"] for event in whole] == [first] * (len(whole) - 2) + [second] * 2
    assert second > first
    done, ended = whole[-2:]
    assert (done["type"], done["status"], done["reason"]) == (
        "response.done",
        "failed",
        "owner_lost",
    )
    assert done["text"] == "".join(e["delta"] for e in whole if e["type"] == delta)
    assert (ended["type"], ended["reason"]) == ("session.ended", "owner_lost")


async def ready(url: str) -> int:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(url.replace("ws:", "http:") + "/readyz")).status_code


async def test_while_the_disk_takes_nothing_nothing_is_shown_and_no_session_begins(
    journal: Path,
) -> None:
    async with simulate([]) as sim:
        settings = Settings(
            stt=SttSettings(engine=sim.stt_url, key="env:NONE"),
            llm=LlmSettings(engine=sim.llm_url, key="env:NONE", model="scripted"),
            serve=ServeSettings(port=0),
            journal=JournalSettings(store=str(journal)),
        )
        async with (
            open_app(settings, plan(settings, {}), on_progress=lambda line: None) as app,
            serve(app, settings.serve, adapters={"raw": RawAdapter}) as hub,
            connect_websocket(f"{hub.url}/v1/ingest/raw", proxy=None) as source,
            connect_websocket(f"{hub.url}/v1/ingest/raw", proxy=None) as another,
        ):
            await source.send('{"type":"session.start"}')
            shown = [json.loads(await source.recv())]
            with sqlite3.connect(journal, isolation_level=None) as thief:  # as a full disk would
                thief.execute("BEGIN IMMEDIATE")
                await source.send('{"type":"turn.create","text":"Hello."}')
                await until(lambda: app.trouble is not None)
                degraded = json.loads(await source.recv())
                assert await ready(hub.url) == 503
                await another.send('{"type":"session.start"}')
                await another.wait_closed()
                thief.execute("ROLLBACK")
            thief.close()
            recovered = json.loads(await source.recv())
            await source.send('{"type":"session.end"}')
            shown += [json.loads(text) async for text in source]
            assert await ready(hub.url) == 200
    assert another.close_code == 4013
    assert degraded["error"]["type"] == recovered["error"]["type"] == "journal_error"
    assert "seq" not in degraded
    assert [event["seq"] for event in shown] == list(range(1, len(shown) + 1))
    assert shown[-1]["type"] == "session.ended"


async def test_a_session_that_never_began_leaves_nothing_in_the_file(journal: Path) -> None:
    async with simulate([{"stt": "connection", "key": "another"}]) as sim:
        settings = Settings(
            stt=SttSettings(engine=sim.stt_url, key="env:NONE"),
            llm=LlmSettings(engine=sim.llm_url, key="env:NONE", model="scripted"),
            journal=JournalSettings(store=str(journal)),
        )
        async with open_app(settings, plan(settings, {}), on_progress=lambda line: None) as app:
            with pytest.raises(SttError):
                async with app.open(StartCommand(), source="test"):
                    pass
            assert app.sessions() == []
    assert stored_sessions(journal) == []


async def test_the_file_is_listed_and_exported_while_the_service_writes_it(journal: Path) -> None:
    async with simulate([]) as sim:
        words = ["serve", "--port", 0, "--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "m"]
        async with running(*words, "--journal", journal) as server:
            url = (await server.line(holding="listening on")).split()[-1]
            async with connect_websocket(f"{url}/v1/ingest/raw", proxy=None) as source:
                await source.send('{"type":"session.start","session_id":"call"}')
                await source.send('{"type":"turn.create","text":"Hello."}')
                await source.send('{"type":"session.end"}')
                shown = [str(text) async for text in source]
            env = {"PIPELINE_JOURNAL__STORE": str(journal)}
            listed = await pipeline("sessions", "--json", env=env)
            events = await pipeline("export", "call", "--jsonl", env=env)
            text = await pipeline("export", "call", "--md", "--journal", journal)
            unknown = await pipeline("export", "gone", "--journal", journal)
    assert [json.loads(line)["id"] for line in listed.out.splitlines()] == ["call"]
    assert events.out.splitlines() == shown
    assert "** Hello." in text.out
    assert (unknown.code, unknown.err) == (
        1,
        f"error: journal {journal}: there is no session 'gone'\n",
    )


async def test_without_a_file_there_is_nothing_to_list() -> None:
    ran = await pipeline("sessions")
    assert ran.code == 2
    assert "name one with --journal" in ran.err
