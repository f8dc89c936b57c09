"""The embedded engines with their real models: one child process for the test session."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from pipeline.embedded import weights
from pipeline.embedded.process import Engines

PATIENCE = 20.0  #: seconds to wait for a line of their log


class Running:
    """The engines of this test session, and their log."""

    def __init__(self, engines: Engines, log: Path) -> None:
        self.stt_url = engines.stt_url
        self.llm_url = engines.llm_url
        self.llm_model = engines.llm_model
        self._log = log
        self._read = log.stat().st_size

    def forget(self) -> None:
        self._read = self._log.stat().st_size

    async def logged(self, pattern: str) -> re.Match[str]:
        """Wait for a log line that matches ``pattern``, written since ``forget``."""
        with anyio.fail_after(PATIENCE):
            while True:
                text = self._log.read_bytes()[self._read :].decode()
                if found := re.search(pattern, text):
                    return found
                await anyio.sleep(0.01)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    if not weights.installed():
        pytest.skip("the models are not installed: pipeline local --install")
    log = tmp_path_factory.mktemp("engines") / "stderr"
    command = [sys.executable, "-m", "pipeline", "local", "--json"]
    with (
        log.open("wb") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr) as process,
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        yield Running(Engines(**json.loads(line)), log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143


@pytest.fixture
def engines(running: Running) -> Running:
    running.forget()
    return running
