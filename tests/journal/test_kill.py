"""Killed in the middle of writing, again and again: what was shown is there, and goes on."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.journal.opening import open_journal
from pipeline.journal.sqlite import stored_events, stored_sessions
from pipeline.protocol.events import (
    ResponseDelta,
    ResponseDone,
    SessionEnded,
    UnknownEvent,
    decode_event,
)

LIVES = int(os.environ.get("PIPELINE_TEST_KILLS", "8"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the writer is a thread: it keeps real time


def live_and_die(path: Path, session_id: str, after: int) -> int:
    """Write in another process, kill it once ``after`` events were shown; return how many were."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.journal_writer", str(path), session_id],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        shown = 0
        for line in process.stdout:
            shown = int(line)
            if shown >= after:
                process.kill()
                break
        lines = process.stdout.read().splitlines(keepends=True)
        return max([shown, *(int(line) for line in lines if line.endswith("\n"))])


@pytest.fixture
def killed(tmp_path: Path) -> tuple[Path, dict[str, int]]:
    rng = random.Random(6)
    path = tmp_path / "journal.db"
    return path, {
        f"life-{life}": live_and_die(path, f"life-{life}", rng.randrange(1, 3000))
        for life in range(LIVES)
    }


async def test_after_kill_9_nothing_shown_is_lost(killed: tuple[Path, dict[str, int]]) -> None:
    path, shown = killed
    async with open_journal(str(path)):
        pass
    assert {session.id for session in stored_sessions(path)} == set(shown)
    for session_id, count in shown.items():
        events = [decode_event(text) for text in stored_events(path, session_id)]
        known = [event for event in events if not isinstance(event, UnknownEvent)]
        assert [event.seq for event in known] == list(range(1, len(events) + 1))
        assert len(events) >= count + 2
        first, second = known[0].epoch, known[-1].epoch
        assert [event.epoch for event in known] == [first] * (len(events) - 2) + [second] * 2
        assert second > first
        text = "".join(event.delta for event in known if isinstance(event, ResponseDelta))
        done, ended = known[-2:]
        assert isinstance(done, ResponseDone)
        assert (done.reason, done.text) == ("owner_lost", text)
        assert isinstance(ended, SessionEnded)
