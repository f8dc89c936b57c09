"""What a running server writes to stderr: JSON lines that hold neither a secret nor a word."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.commandline import pipeline
from tests.support.serving import begin, finish, serving, speak, until

KEY, TOKEN, PHRASE = "canary-key-0001", "canary-token-0002", "yellow canary bird"
LINES: list[dict[str, Any]] = [
    {"stt": "connection", "key": KEY},
    {"stt": "partial", "at_ms": 100, "text": f"a {PHRASE}"},
    {"stt": "end", "at_ms": 200, "text": f"A {PHRASE}."},
    {"stt": "end", "at_ms": 500, "text": f"A second {PHRASE}."},
    {"stt": "drop", "at_ms": 700},
    {"stt": "connection", "key": KEY},
    {"stt": "end", "at_ms": 900, "text": "And goodbye."},
    {"llm": "server", "key": KEY},
    {"llm": "reply", "match": "goodbye", "text": f"Keep your {PHRASE}."},
    {"llm": "error", "match": "second", "status": 400, "message": f"no {PHRASE} with {KEY}"},
    {"llm": "reply", "match": "canary", "text": f"The {PHRASE} sings.", "token_ms": 30},
]
CONFIG = """
[serve]
log = "json"
log_level = "debug"
[serve.tokens.operator]
secret = "env:CANARY_TOKEN"
[stt]
key = "env:CANARY_KEY"
[llm]
key = "env:CANARY_KEY"
"""


async def logged(folder: Path, *, text: bool) -> str:
    """Return the log of a server after a whole session and a refused client."""
    config = folder / "pipeline.toml"
    config.write_text(CONFIG)
    env = {"CANARY_KEY": KEY, "CANARY_TOKEN": TOKEN, "PIPELINE_SERVE__LOG_TEXT": str(text).lower()}
    async with serving(LINES, "--config", config, env=env) as served:
        with pytest.raises(InvalidStatus):
            await connect(f"{served.url}/v1/events?token={TOKEN}", proxy=None)
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        address = f"{served.url}/v1/ingest/raw"
        async with connect(address, proxy=None, additional_headers=bearer) as socket:
            await begin(socket, "call-1")
            await speak(socket, 1.6)
            events = await until(socket, "response.done", holding="Keep your")
            await finish(socket)
        assert {"stt.interrupted", "stt.resumed"} <= {event["type"] for event in events}
        assert "failed" in {event.get("status") for event in events}
        served.process.send(signal.SIGTERM)
        return await served.process.stderr()


async def test_no_secret_and_no_word_is_ever_logged_even_when_debugging(tmp_path: Path) -> None:
    written = await logged(tmp_path, text=False)
    assert not [canary for canary in (KEY, TOKEN, PHRASE) if canary in written]
    lines = [json.loads(line) for line in written.splitlines()]
    assert all({"ts", "level", "logger", "message"} <= line.keys() for line in lines)
    ended = next(line for line in lines if line["message"] == "response failed")
    assert ended["session_id"] == "call-1"
    assert ended["response_id"].startswith("r_")
    made = next(line for line in lines if line["message"] == "call completed")
    assert made["request_id"]
    assert made["response_id"]


async def test_what_was_said_is_logged_where_that_is_asked_for_and_secrets_are_not(
    tmp_path: Path,
) -> None:
    written = await logged(tmp_path, text=True)
    assert f"A {PHRASE}." in written
    assert f"Keep your {PHRASE}." in written
    assert KEY not in written
    assert TOKEN not in written
    assert f"no {PHRASE} with" not in written  # a record quotes no request: request_text is off


async def test_a_server_that_cannot_start_says_so_in_json_too() -> None:
    json_log = {"PIPELINE_SERVE__LOG": "json"}
    async with serving() as first:
        port = first.url.rpartition(":")[2]
        engines = ("--stt", first.sim.stt_url, "--llm", first.sim.llm_url, "--model", "scripted")
        ran = await pipeline("serve", "--port", port, *engines, env=json_log)
    assert ran.code == 2
    last = json.loads(ran.err.splitlines()[-1])
    assert last["level"] == "error"
    assert f"port {port} is taken" in last["message"]
