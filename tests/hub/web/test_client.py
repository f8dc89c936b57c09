"""What the JavaScript client decides, and that it and the Python one agree."""

import subprocess

import msgspec
import pytest

from pipeline.protocol.close_codes import may_reconnect
from tests.support.node import NODE, SCRIPTS

TESTS = sorted(path.name for path in SCRIPTS.glob("*.test.mjs"))


@pytest.mark.parametrize("script", TESTS)
def test_what_it_decides(script: str) -> None:
    command = [str(NODE), "--test", "--test-reporter=spec", script]
    ran = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, timeout=30)
    assert ran.returncode == 0, ran.stdout


def test_both_clients_come_back_after_the_same_codes() -> None:
    program = (
        'import { mayReconnect } from "../../../pipeline/hub/web/client.js";'
        "console.log(JSON.stringify([...Array(4000).keys()].map((n) => mayReconnect(n + 1000))));"
    )
    command = [str(NODE), "--input-type=module", "--eval", program]
    ran = subprocess.run(command, cwd=SCRIPTS, capture_output=True, timeout=30, check=True)
    assert msgspec.json.decode(ran.stdout) == [may_reconnect(n) for n in range(1000, 5000)]
