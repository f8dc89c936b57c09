"""Condition variable for tests that wait until the simulator has recorded something."""

from collections.abc import Callable

import anyio


class Watch:
    """Wakes waiting tasks after every change; costs nothing while no task waits."""

    def __init__(self) -> None:
        self._changed: anyio.Event | None = None

    def notify(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self._changed is None:
                self._changed = anyio.Event()
            await self._changed.wait()
