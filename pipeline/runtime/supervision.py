"""Supervision of background tasks: a failure is logged and counted, and the task is restarted.

A background task serves all sessions, so no exception may end it for good, foreseen or not. The
delay before a restart grows; a task that fails again and again is reported by ``failing``.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from threading import Event as ThreadEvent
from typing import TypeVarTuple, Unpack

import anyio
import anyio.to_thread

FIRST_DELAY = 1.0  #: seconds before the first restart, doubled up to ``MAX_DELAY``
MAX_DELAY = 60.0  #: seconds
STEADY = 300.0  #: seconds without a failure, after which a task counts as recovered
REPEATED = 3  #: failures from which on a task is reported as failing
FINAL_ATTEMPTS = 3  #: of a thread that fails while the service stops

Given = TypeVarTuple("Given")

logger = logging.getLogger(__name__)


class _Failures:
    """Failures of one task since it was last steady."""

    def __init__(self) -> None:
        self.count = 0
        self.last = 0.0  # seconds, on anyio's clock
        self.reason = ""
        self.essential = False


class Supervisor:
    """Runs background tasks and restarts those that fail."""

    def __init__(self, on_failure: Callable[[str], object] = lambda name: None) -> None:
        """``on_failure`` is called with the task's name at each failure."""
        self._on_failure = on_failure
        self._failures: dict[str, _Failures] = {}

    @property
    def failing(self) -> Mapping[str, str]:
        """Reasons of the tasks that keep failing, by name."""
        return {name: each.reason for name, each in self._repeated().items()}

    @property
    def essential_failing(self) -> Mapping[str, str]:
        """The part of ``failing`` without which the service should take no sessions."""
        return {name: each.reason for name, each in self._repeated().items() if each.essential}

    async def run(
        self,
        name: str,
        body: Callable[[Unpack[Given]], Awaitable[object]],
        *given: *Given,
        essential: bool = False,
    ) -> None:
        """Run ``body`` until it returns; restart it after a delay when it raises."""
        while True:
            try:
                await body(*given)
            except Exception as error:  # noqa: BLE001 - any: the next run may succeed
                delay = self.note(name, error, essential=essential)
            else:
                return
            await anyio.sleep(delay)

    async def run_thread(
        self, name: str, work: Callable[[], object], stopping: ThreadEvent
    ) -> None:
        """Run blocking ``work`` in a thread until it returns; restart it when it raises.

        Cancelling does not end it: ``work`` returns soon after ``stopping`` is set.
        """
        limiter = anyio.CapacityLimiter(1)
        attempts = FINAL_ATTEMPTS
        with anyio.CancelScope(shield=True):
            while attempts:
                try:
                    await anyio.to_thread.run_sync(work, limiter=limiter)
                except Exception as error:  # noqa: BLE001 - any: the next run may succeed
                    delay = self.note(name, error, essential=True)
                else:
                    return
                attempts -= stopping.is_set()
                await anyio.to_thread.run_sync(stopping.wait, delay, limiter=limiter)

    def note(self, name: str, error: BaseException, *, essential: bool = False) -> float:
        """Log and count a failure; return the seconds to wait before the next attempt."""
        now = anyio.current_time()
        failures = self._failures.setdefault(name, _Failures())
        if now - failures.last > STEADY:
            failures.count = 0
        failures.count += 1
        failures.last, failures.essential = now, essential
        failures.reason = f"{type(error).__name__}: {error}"[:200]
        if failures.count & (failures.count - 1) == 0:  # 1, 2, 4, ...: the log stays readable
            logger.error("%s failed (%d in a row)", name, failures.count, exc_info=error)
        self._on_failure(name)
        return min(FIRST_DELAY * 2.0 ** min(failures.count - 1, 10), MAX_DELAY)

    def _repeated(self) -> Mapping[str, _Failures]:
        steady = anyio.current_time() - STEADY
        return {
            name: failures
            for name, failures in self._failures.items()
            if failures.count >= REPEATED and failures.last > steady
        }
