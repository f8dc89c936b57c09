"""Event loop lag: the delay that every task of the process waits for."""

import logging
from collections.abc import Callable

import anyio

EVERY = 0.25  #: seconds
LONG = 1.0  #: seconds that are worth a line in the log

logger = logging.getLogger(__name__)


async def watch_lag(report: Callable[[float], object]) -> None:
    """Report by how many seconds a short sleep overran, repeatedly, until cancelled."""
    while True:
        due = anyio.current_time() + EVERY
        await anyio.sleep_until(due)
        late = anyio.current_time() - due
        report(late)
        if late > LONG:
            logger.warning("the event loop stood still for %.1f s", late)
