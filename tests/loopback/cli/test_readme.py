"""The commands of README.md as printed, pasted in order into one shell."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from pipeline.embedded import weights
from tests.support.commandline import environment

ROOT = Path(__file__).parents[3]
PATIENCE = 240  #: seconds; the models are loaded four times

pytestmark = [pytest.mark.engines, pytest.mark.timeout(PATIENCE + 30)]

#: a network of its own, so that the ports that are printed are free
APART = ["unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]

#: what a response fails with when the model gets too little of the processor
LATE = "sent no first token within"

READY = f'. "{ROOT}/scripts/provision.sh" && ready test "$TEST_EXTRAS"'


def commands() -> list[str]:
    """Return the lines of README.md that a reader types."""
    blocks = re.findall(
        r"^```console\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def pasted(lines: list[str]) -> str:
    """Return a script that runs ``lines``, then stops their servers, and tells each exit code."""
    steps = [f'{line}\necho "exit code $?"' for line in lines]
    stop = 'for job in $(jobs -p); do kill "$job"; wait "$job"; echo "stopped with $?"; done'
    return "\n".join([*steps, stop])


def succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder that looks like the project, for files that the commands write."""
    for entry in ROOT.iterdir():
        if entry.name != ".git":
            (tmp_path / entry.name).symlink_to(entry)
    return tmp_path


def run(script: str, place: Path) -> str:
    apart = APART if shutil.which("unshare") and succeeds([*APART, "true"]) else []
    (place / "pasted").write_text(script, "utf-8")
    with subprocess.Popen(
        [*apart, "bash", "pasted"],
        cwd=place,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            return shell.communicate(timeout=PATIENCE)[0]
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            raise


@pytest.mark.skipif(not weights.installed(), reason="the models are not installed")
@pytest.mark.skipif(not succeeds(["bash", "-c", READY]), reason=".venv is not of scripts/test")
def test_the_commands_of_the_readme_work_as_printed(place: Path) -> None:
    lines = commands()
    output = run(pasted(lines), place)
    if LATE in output:
        pytest.skip("this machine is too busy for the embedded models")
    assert re.findall(r"^exit code (\d+)$", output, re.MULTILINE) == ["0"] * len(lines), output
    servers = sum(line.endswith("&") for line in lines)
    assert re.findall(r"^stopped with (\d+)$", output, re.MULTILINE) == ["143"] * servers, output
    for sign in ("  say: ", "# Session standup", "*actions to 1", " --> "):
        assert sign in output, output
