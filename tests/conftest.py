"""Every test's event loop: virtual time, on which an hour of sleep costs nothing.

``anyio.wait_all_tasks_blocked()`` polls every 0.1 s and so may move the virtual clock by that
much. A worker thread does not hold the clock: with one at work, deadlines leap.
"""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support import profiles

profiles.load()

#: seconds of real time for a thread or signal to wake a loop in which every task waits for ever
PATIENCE = 10.0

Backend = tuple[str, Mapping[str, Any]]


class JumpingSelector(selectors.DefaultSelector):
    """Returns at once, and moves its clock to the next timer when nothing else is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0  #: seconds

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(PATIENCE if timeout is None else 0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError("every task waits for something that cannot happen any more")
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
