"""``pipeline requests`` beside a running server, and on its journal file."""

import json
from pathlib import Path

import anyio
from websockets.asyncio.client import connect

from tests.support import simulate
from tests.support.commandline import RECORDING, Ran, pipeline, running

LINES = [
    {"llm": "error", "match": "break", "status": 500, "message": "out of order", "times": 0},
    {"llm": "reply", "text": "A canary.", "token_ms": 1},
]


async def test_the_requests_of_a_running_server_are_listed_and_kept_after_it(
    tmp_path: Path,
) -> None:
    journal = tmp_path / "journal.db"
    env = {"PIPELINE_JOURNAL__STORE": str(journal), "PIPELINE_LLM__ATTEMPTS": "1"}
    async with simulate(LINES) as sim:
        words = ("--port", 0, "--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "scripted")
        async with running("serve", *words, env=env) as server:
            url = (await server.line(holding="listening on")).split()[2].removesuffix(";")
            with anyio.fail_after(20):
                await _ask(url, "break it")
                await _ask(url, "say it")
            asked = await pipeline("requests", url, "--json")
            kept = await pipeline("requests", "--failed", "--since", "1h", "--json", env=env)
    failed, done = map(json.loads, asked.out.splitlines())
    assert (failed["outcome"], failed["status"]) == ("failed", 500)
    assert "out of order" in failed["body"]
    assert (done["outcome"], done["response"]["outcome"]) == ("completed", "completed")
    assert done["sent"].endswith("Z")
    assert [json.loads(line) for line in kept.out.splitlines()] == [failed]
    assert "canary" not in asked.out
    block = await pipeline("requests", "--support", failed["response_id"], env=env)
    assert block.out.count("out of order") == 2  # in the error, and in the whole body
    assert "break it" not in block.out
    assert sim.llm_url not in block.out
    unknown = await pipeline("requests", "--support", "r_nothing", env=env)
    assert (unknown.code, unknown.out) == (2, "")
    shown = await pipeline("requests", "--session", "break", env=env)
    head, row, said = shown.out.splitlines()
    assert head.split()[:2] == ["sent", "outcome"]
    assert "failed" in row
    assert "out of order" in said


async def _ask(url: str, text: str) -> None:
    async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
        start = {"type": "session.start", "session_id": text.split()[0], "audio": None}
        await socket.send(json.dumps(start))
        await socket.send(json.dumps({"type": "turn.create", "text": text}))
        await socket.send('{"type":"session.end"}')
        async for _ in socket:
            pass


async def test_a_journal_in_memory_has_nothing_to_list_and_the_error_names_the_setting(
    tmp_path: Path,
) -> None:
    ran = await pipeline("requests", env={"XDG_STATE_HOME": str(tmp_path)})
    assert ran.code == 2
    assert "journal.store" in ran.err


async def test_an_invalid_time_is_refused(tmp_path: Path) -> None:
    ran = await pipeline("requests", "--since", "yesterday", "--journal", tmp_path / "j")
    assert ran.code == 2
    assert "--since" in ran.err


async def _run(state: Path, *words: object, keep: str = "true") -> Ran:
    """Play a recording in which one turn ends, with ``state`` as the user's state directory."""
    turn = {"stt": "end", "at_ms": 500, "text": "Break it."}
    env = {"XDG_STATE_HOME": str(state), "PIPELINE_JOURNAL__RUN_REQUESTS": keep}
    refusing = {"llm": "error", "status": 400, "message": "out of order", "times": 0}
    async with simulate([turn, refusing]) as sim:
        engines = ("--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "scripted")
        return await pipeline("run", RECORDING, "--speed", 0, *engines, *words, env=env)


async def test_run_keeps_its_requests_for_the_user(tmp_path: Path) -> None:
    await _run(tmp_path)
    await _run(tmp_path)
    listed = await pipeline("requests", "--json", env={"XDG_STATE_HOME": str(tmp_path)})
    first, second = map(json.loads, listed.out.splitlines())
    assert first["status"] == second["status"] == 400
    assert first["response"]["outcome"] == "failed"
    file = tmp_path / "pipeline" / "requests.db"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


async def test_a_flag_and_a_setting_turn_the_log_off(tmp_path: Path) -> None:
    await _run(tmp_path, "--no-request-log")
    await _run(tmp_path, keep="false")
    assert not (tmp_path / "pipeline").exists()


async def test_a_directory_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file, so no directory can be made in it")
    ran, without = await _run(taken), await _run(taken, "--no-request-log")
    assert ran.err.count("warning: the request log") == 1
    assert "Traceback" not in ran.err
    assert ran.code == without.code
    assert ran.out.count("out of order") == without.out.count("out of order")
