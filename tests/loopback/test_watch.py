"""``pipeline watch`` beside ``pipeline serve``, as two processes."""

import anyio
import msgspec
from websockets.asyncio.client import connect

from tests.support import simulate
from tests.support.commandline import pipeline, running

SPEECH = [{"stt": "end", "at_ms": 200, "text": "Hello there."}]


async def hold_a_session(server: str, session_id: str) -> list[bytes]:
    """Send half a second of silence as session ``session_id``; return the events that came."""
    events: list[bytes] = []
    async with connect(f"{server}/v1/ingest/raw", compression=None, proxy=None) as socket:
        await socket.send(
            msgspec.json.encode({"type": "session.start", "session_id": session_id}), text=True
        )
        for _ in range(10):
            await socket.send(bytes(1600))
        await socket.send('{"type": "session.end"}', text=True)
        async for event in socket:
            assert isinstance(event, str)
            events.append(event.encode())
    return events


async def test_who_comes_late_sees_what_the_first_one_saw() -> None:
    async with simulate(SPEECH) as sim:
        words = ["--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "m"]
        async with running("serve", "--port", 0, *words) as server:
            line = await server.line(holding="listening on")
            url = line.split()[-1]
            with anyio.fail_after(20):
                first = await hold_a_session(url, "s_one")
            late = await pipeline("watch", url, "--session", "s_one", "--after-seq", 0, "--json")
            lines = await pipeline("watch", url, "--session", "s_one", "--after-seq", 0)
    assert late.code == lines.code == 0
    assert late.out.encode().splitlines() == [
        event for event in first if b'"heartbeat"' not in event[:40]
    ]
    assert "turn 1: Hello there." in lines.out
    assert "answer to 1: You said: Hello there." in lines.out
