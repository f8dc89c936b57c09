"""Deleting a session: over HTTP with a token that allows it, and by command without a service."""

import signal
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from tests.support.commandline import pipeline
from tests.support.serving import Served, begin, call, finish, serving

LINES: list[dict[str, Any]] = [
    {"stt": "end", "at_ms": 200, "text": "A canary."},
    {"llm": "reply", "text": "A yellow one."},
]
CONFIG = """
[serve.tokens.operator]
secret = "env:OPERATOR"
[serve.tokens.viewer]
secret = "env:VIEWER"
scopes = ["subscribe"]
[serve.tokens.caller]
secret = "env:CALLER"
session = "call-2"
"""
TOKENS = {"OPERATOR": "operator-1", "VIEWER": "viewer-22", "CALLER": "caller-33"}


async def erase(served: Served, session_id: str, token: str = "") -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else None
    answer = await served.request(
        f"/v1/sessions/{session_id}", method="DELETE", headers=headers
    )  # fmt: skip
    return answer.status_code, answer.text.strip()


def written(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())


async def test_an_ended_session_is_deleted_and_a_live_one_is_not(tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    async with serving(LINES, "--journal", journal) as served:
        async with connect(f"{served.url}/v1/ingest/raw", proxy=None) as socket:
            await begin(socket, "call-1")
            status, said = await erase(served, "call-1")
            assert (status, said) == (409, "session call-1 goes on: end it first")
            await finish(socket)
        await call(served.url, "call-2")
        assert b"canary" in written(tmp_path)
        assert await erase(served, "call-2") == (200, "deleted")
        assert b"canary" not in written(tmp_path)
        listed = (await served.request("/v1/sessions")).json()["sessions"]
        assert [session["id"] for session in listed] == ["call-1"]
        assert "call-2" not in (await served.request("/v1/requests")).text
        async with connect(f"{served.url}/v1/events?session_id=call-2", proxy=None) as late:
            await late.wait_closed()
            assert late.close_code == 4404
        assert await erase(served, "call-2") == (404, "there is no session 'call-2'")
        assert (await served.request("/v1/sessions/call-2")).status_code == 405
        ran = await pipeline("sessions", "--journal", journal, "--delete", "call-1")
        assert ran.code == 1
        assert "in use by another service" in ran.err
        assert "DELETE /v1/sessions/" in ran.err
        await served.process.stop(signal.SIGTERM)
    ran = await pipeline("sessions", "--journal", journal, "--delete", "call-1")
    assert (ran.code, ran.out) == (0, "deleted call-1\n")
    assert (await pipeline("sessions", "--journal", journal)).out == ""


async def test_only_a_token_for_control_of_that_session_deletes_it(tmp_path: Path) -> None:
    config = tmp_path / "pipeline.toml"
    config.write_text(CONFIG)
    async with serving(LINES, "--config", config, env=TOKENS) as served:
        bearer = {"Authorization": f"Bearer {TOKENS['OPERATOR']}"}
        for name in ("call-1", "call-2"):
            await call(served.url, name, seconds=0.1, headers=bearer)
        assert (await erase(served, "call-1"))[0] == 401
        assert (await erase(served, "call-1", TOKENS["VIEWER"]))[0] == 403
        assert (await erase(served, "call-1", TOKENS["CALLER"]))[0] == 403
        assert await erase(served, "call-2", TOKENS["CALLER"]) == (200, "deleted")
        assert await erase(served, "call-1", TOKENS["OPERATOR"]) == (200, "deleted")
