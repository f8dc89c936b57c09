"""Event loop lag: the delay that every task waits for; ``loop_stall`` names its causes."""

from collections.abc import Callable

import anyio

EVERY = 0.25  #: seconds


async def watch_lag(report: Callable[[float], object]) -> None:
    """Report by how many seconds a short sleep overran, repeatedly, until cancelled."""
    while True:
        due = anyio.current_time() + EVERY
        await anyio.sleep_until(due)
        report(anyio.current_time() - due)
