"""In-memory outbox: webhook deliveries that are lost with the process."""

import logging
from collections.abc import Callable, Mapping
from secrets import token_hex

from pipeline.interfaces.outbox import Delivery, Due, Remaining, Wanted
from pipeline.protocol.events import Frame

MAX_PENDING = 1000  #: deliveries of one webhook; past that the oldest is dropped

logger = logging.getLogger(__name__)


def new_id() -> str:
    return f"msg_{token_hex(12)}"


class _PendingDelivery:
    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.due = 0.0
        self.tries = 0
        self.failed = False


class OutboxInMemory:
    """The newest deliveries of each webhook; satisfies ``Outbox``."""

    def __init__(self, wanted: Wanted, *, most: int = MAX_PENDING) -> None:
        self._wanted = wanted
        self._most = most
        self._hooks: dict[str, dict[str, _PendingDelivery]] = {}
        self._wake: Callable[[], object] = _no_worker

    def listen(self, wake: Callable[[], object]) -> None:
        self._wake = wake

    def add(self, frame: Frame) -> None:
        """Add deliveries of an event to the webhooks that subscribe to it."""
        hooks = self._wanted(frame.type)
        for hook in hooks:
            waiting = self._hooks.setdefault(hook, {})
            waiting[new_id()] = _PendingDelivery(frame)
            if len(waiting) > self._most:
                lost = next(iter(waiting))
                del waiting[lost]
                logger.error("webhook %s: more than %d deliveries are pending, so %s is dropped; a"
                             " file as journal.store keeps all of them", hook, self._most,
                             lost)  # fmt: skip
        if hooks:
            self._wake()

    async def fetch_due(self, hook: str, now: float, limit: int) -> Due:
        waiting = self._hooks.get(hook, {})
        open_ones = sorted(
            ((each.due, delivery_id) for delivery_id, each in waiting.items() if not each.failed),
            key=lambda pair: pair[0],
        )
        due = [delivery_id for at, delivery_id in open_ones if at <= now]
        return Due(
            [_delivery(delivery_id, waiting[delivery_id]) for delivery_id in due[:limit]],
            next((at for at, _ in open_ones if at > now), None),
        )

    async def mark_delivered(self, delivery_id: str) -> None:
        for waiting in self._hooks.values():
            waiting.pop(delivery_id, None)

    async def reschedule(self, delivery_id: str, due: float, error: str) -> None:
        for waiting in self._hooks.values():
            if delivery_id in waiting:
                waiting[delivery_id].due = due
                waiting[delivery_id].tries += 1

    async def give_up(self, delivery_id: str, now: float, error: str) -> None:
        for waiting in self._hooks.values():
            if delivery_id in waiting:
                waiting[delivery_id].tries += 1
                waiting[delivery_id].failed = True

    async def give_up_all(self, hook: str, now: float, error: str) -> None:
        for each in self._hooks.get(hook, {}).values():
            each.failed = True

    async def retry(self, now: float) -> None:
        for waiting in self._hooks.values():
            for each in waiting.values():
                if each.failed:
                    each.failed, each.tries, each.due = False, 0, now
        self._wake()

    async def remaining(self) -> Mapping[str, Remaining]:
        return {
            hook: Remaining(
                pending=sum(not each.failed for each in waiting.values()),
                failed=sum(each.failed for each in waiting.values()),
            )
            for hook, waiting in self._hooks.items()
        }


def _delivery(delivery_id: str, waiting: _PendingDelivery) -> Delivery:
    return Delivery(delivery_id, waiting.frame.type, waiting.frame.data, waiting.tries)


def _no_worker() -> None:
    """Default wake-up callback, before a delivery worker listens."""
