"""What ``pipeline serve`` shows to Prometheus."""

import json

import anyio
import httpx
from websockets.asyncio.client import connect

from tests.support import simulate
from tests.support.commandline import running

LINES = [{"llm": "reply", "match": "secret", "text": "It is a canary.", "token_ms": 100}]


async def test_a_scrape_shows_the_sessions_and_calls_of_a_running_server() -> None:
    async with simulate(LINES) as sim:
        words = ("--port", 0, "--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "scripted")
        async with running("serve", *words) as server:
            line = await server.line(holding="listening on")
            url = line.split()[2].removesuffix(";")
            with anyio.fail_after(20):
                during, after = await _scrapes(url)
    assert "pipeline_sessions 1.0" in during
    assert "pipeline_calls_in_flight 1.0" in during
    assert "pipeline_subscribers 1.0" in during
    assert "pipeline_sessions 0.0" in after
    assert "pipeline_sessions_begun_total 1.0" in after
    assert 'pipeline_sessions_ended_total{reason="source_ended"} 1.0' in after
    assert 'pipeline_sockets_closed_total{code="1000"} 1.0' in after
    assert 'pipeline_requests_refused_total{status="404"} 1.0' in after
    assert "pipeline_journal_well 1.0" in after
    assert any(line.startswith("pipeline_event_loop_lag_seconds_bucket") for line in after)
    assert any(line.startswith('pipeline_calls_total{host="127.0.0.1:') for line in after)
    assert "pipeline_turns_total 1.0" in after
    ended = 'pipeline_responses_total{model="scripted",prompt="reply",reason="",status="completed"}'
    assert f"{ended} 1.0" in after
    assert not any(word in "\n".join(after) for word in ("canary", "secret", "call-1"))


async def _scrapes(url: str) -> tuple[list[str], list[str]]:
    """Return the page while a call runs, and once its session has ended."""
    page = url.replace("ws:", "http:") + "/metrics"
    async with (
        httpx.AsyncClient(trust_env=False) as client,
        connect(f"{url}/v1/ingest/raw", proxy=None) as socket,
    ):
        await socket.send(json.dumps({"type": "session.start", "session_id": "call-1"}))
        await socket.send(json.dumps({"type": "turn.create", "text": "The secret?"}))
        async for frame in socket:
            if "output_text.delta" in str(frame):
                break
        during = await client.get(page)
        await socket.send('{"type":"session.end"}')
        async for _ in socket:
            pass
        assert (await client.get(page + "/nothing")).status_code == 404
        after = await client.get(page)
    assert during.headers["content-type"].startswith("text/plain")
    return during.text.splitlines(), after.text.splitlines()
