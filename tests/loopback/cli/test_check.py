"""``pipeline check`` as a process."""

from pathlib import Path
from typing import Any

import msgspec

from tests.support import simulate
from tests.support.commandline import pipeline
from tests.support.serving import serving


def settings(folder: Path, stt: str, llm: str, store: str = "memory", record: str = "") -> Path:
    file = folder / "pipeline.toml"
    file.write_text(
        f'[stt]\nengine = "{stt}"\nconnect_timeout = 1.0\n'
        f'[llm]\nengine = "{llm}"\nmodel = "any"\n'
        f'[serve]\nport = 0\n[journal]\nstore = "{store}"\nrecord = "{record}"\n'
    )
    return file


def findings(out: str) -> dict[str, dict[str, Any]]:
    return {line["what"]: line for line in map(msgspec.json.decode, out.splitlines())}


async def test_available_engines_and_files_are_ok(tmp_path: Path) -> None:
    async with simulate() as simulation:
        sound = str(tmp_path / "sound")
        file = settings(tmp_path, simulation.stt_url, simulation.llm_url, record=sound)
        ran = await pipeline("check", "--live", "--json", "--config", file)
        seen = await simulation.stt.closed(1)
    assert ran.code == 0, ran.out + ran.err
    failed = [one for one in findings(ran.out).values() if one["verdict"] == "fail"]
    assert not failed
    assert {"stt, live", "llm, live", "recordings"} <= findings(ran.out).keys()
    assert (seen.audio_ms, seen.control_types) == (1000, ["Terminate"])


async def test_unreachable_engines_are_named_and_the_rest_is_checked(tmp_path: Path) -> None:
    async with simulate() as simulation:
        url = simulation.stt_url
    no_folder = str(tmp_path / "pipeline.toml" / "all.db")
    file = settings(tmp_path, url, "http://127.0.0.1:9/v1", no_folder, no_folder)
    ran = await pipeline("check", "--live", "--json", "--config", file)
    found = findings(ran.out)
    failed = {what for what, finding in found.items() if finding["verdict"] == "fail"}
    assert ran.code == 3
    assert failed == {"journal", "recordings", "stt, live", "llm, live"}
    assert "is it running" in found["stt, live"]["said"]
    assert "all.db cannot be written to" in found["journal"]["said"]


async def test_a_missing_key_is_reported_with_a_remedy_and_a_key_is_never_printed(
    tmp_path: Path,
) -> None:
    file = settings(tmp_path, "assemblyai", "assemblyai")
    without = await pipeline("check", "--config", file)
    assert without.code == 2
    there = await pipeline("check", "--config", file, env={"ASSEMBLYAI_API_KEY": "s3cr3t"})
    assert there.code == 0
    assert "env:ASSEMBLYAI_API_KEY" in there.out
    assert "s3cr3t" not in there.out + there.err


async def test_a_server_of_ours_on_the_port_is_no_failure_and_another_one_is(
    tmp_path: Path,
) -> None:
    async with serving() as served:
        assert await port_check(tmp_path, served.url.rpartition(":")[2]) == (
            "ok",
            f"pipeline serves on {served.url.removeprefix('ws://')} already",
        )
        verdict, said = await port_check(tmp_path, served.sim.llm_url.rpartition(":")[2])
        assert verdict == "fail"
        assert "stop what listens there" in said


async def port_check(folder: Path, port: str) -> tuple[str, str]:
    config = folder / "check.toml"
    config.write_text(f"[serve]\nport = {port.partition('/')[0]}\n")
    ran = await pipeline("check", "--json", "--config", config)
    found = findings(ran.out)["port"]
    return found["verdict"], found["said"]
