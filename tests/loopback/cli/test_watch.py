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


async def test_a_late_subscriber_sees_the_same_events_as_the_first() -> None:
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


async def test_with_tokens_only_clients_with_a_token_can_watch() -> None:
    tokens = {
        "PIPELINE_SERVE__TOKENS__BOARD__SECRET": "env:BOARD",
        "PIPELINE_SERVE__TOKENS__BOARD__SCOPES": '["subscribe"]',
        "PIPELINE_SERVE__TOKENS__PHONE__SECRET": "env:PHONE",
        "PIPELINE_SERVE__TOKENS__PHONE__SCOPES": '["ingest"]',
    }
    secrets = {"BOARD": "hush-board", "PHONE": "hush-phone"}
    async with (
        simulate(SPEECH) as sim,
        running(
            *("serve", "--port", 0, "--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "m"),
            env=tokens | secrets,
        ) as server,
    ):
        line = await server.line(holding="listening on")
        assert line.endswith(" --token env:BOARD")
        url = line.split()[2].rstrip(";")
        without = await pipeline("watch", url)
        other = await pipeline("watch", url, env={"PIPELINE_TOKEN": "hush-phone"})
        right = await pipeline("watch", url, "--session", "s", "--token", "env:BOARD", env=secrets)
    assert (without.code, other.code, right.code) == (3, 3, 3)
    assert "HTTP 401: a bearer token is missing or wrong" in without.err
    assert "HTTP 403: this token does not allow to subscribe" in other.err
    assert "there is no session 's'" in right.err  # the token was accepted


async def test_a_token_on_the_command_line_is_refused_and_not_repeated() -> None:
    ran = await pipeline("watch", "--token", "hush-board")
    assert ran.code == 2
    assert ran.err == "error: --token: expected env:NAME or file:PATH, never the token itself\n"
