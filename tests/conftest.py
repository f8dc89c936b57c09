"""The event loop of every test: virtual time, on which an hour of sleep takes no time.

``anyio.wait_all_tasks_blocked()`` polls every 0.1 s and so may move the virtual clock by that
much. A worker thread does not stop the clock: while one works, a deadline may expire early.
"""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support import profiles

profiles.load()

#: seconds of real time for a thread or signal to wake a loop without timers
PATIENCE = 10.0

Backend = tuple[str, Mapping[str, Any]]


class JumpingSelector(selectors.DefaultSelector):
    """A selector that never waits: it moves its clock to the next timer when nothing is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0  #: seconds

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(PATIENCE if timeout is None else 0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError(
                "deadlock: every task waits, and no timer, socket or thread can wake one"
            )
        self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop that reads the clock of its selector."""

    def __init__(self) -> None:
        self.clock = JumpingSelector()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


@pytest.fixture
def anyio_backend() -> Backend:
    return "asyncio", {"loop_factory": VirtualTimeLoop}
