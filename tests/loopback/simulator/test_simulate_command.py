"""``pipeline simulate``, run in-process until it is stopped."""

from pathlib import Path

import anyio
import msgspec
import pytest

from pipeline.cli.simulate import simulate
from pipeline.errors import InputError
from tests.support.rawhttp import ask


async def lines(capsys: pytest.CaptureFixture[str], n: int) -> list[dict[str, str]]:
    """Wait until so many lines are printed."""
    printed = ""
    with anyio.fail_after(5):
        while printed.count("\n") < n:
            await anyio.lowlevel.checkpoint()
            printed += capsys.readouterr().out
    return [msgspec.json.decode(line) for line in printed.splitlines()]


async def test_one_line_tells_where_the_servers_are(capsys: pytest.CaptureFixture[str]) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(simulate)
        (ready,) = await lines(capsys, 1)
        assert (await ask(ready["llm_url"])).text == "You said: hello"
        assert ready["stt_url"].startswith("ws://127.0.0.1:")
        assert ready["stt_url"].endswith("/v3/ws")
        tasks.cancel_scope.cancel()
    assert capsys.readouterr().out == ""


async def test_json_tells_everything_that_is_seen(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "scenario.jsonl"
    path.write_text('{"llm": "reply", "text": "hi"}\n')
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: simulate(path, json=True))
        (ready,) = await lines(capsys, 1)
        await ask(ready["llm_url"])
        seen = await lines(capsys, 3)
        assert [line["type"] for line in seen] == ["llm.request", "llm.done", "llm.closed"]
        assert seen[0]["text"] == "hello"
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("bad", [None, b"\xff\xfe", b'{"stt": "nonsense"}'])
async def test_a_file_that_is_no_scenario_is_refused(bad: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "scenario.jsonl"
    if bad is not None:
        path.write_bytes(bad)
    with pytest.raises(InputError):
        await simulate(path)
