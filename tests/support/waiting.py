"""Polling for a condition that a thread or the kernel changes, without an event to wait for."""

from collections.abc import Callable

import anyio


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - see above
            await anyio.sleep(0.005)
