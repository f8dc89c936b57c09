"""Delivery worker: sends the outbox's deliveries to each receiver until delivered or given up."""

import logging
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import anyio
import msgspec
from anyio.abc import TaskGroup

from pipeline.errors import JournalError
from pipeline.interfaces.outbox import Delivery, Outbox, Remaining
from pipeline.runtime.supervision import Supervisor
from pipeline.runtime.tasks import plain_errors
from pipeline.webhooks.retry import (
    Delivered,
    DeliveryResponse,
    RetriesExhausted,
    RetryLater,
    Unsubscribed,
    next_step,
    reason_of,
)
from pipeline.webhooks.subscriptions import Hook, Subscriptions

MAX_CONCURRENT = 4  #: attempts of one webhook at a time
COUNT_INTERVAL = 5.0  #: seconds between two counts of the remaining deliveries
DRAIN_TIMEOUT = 1.0  #: seconds for due deliveries at shutdown
MAX_WAIT = 60.0  #: seconds; limited because the wall clock may be changed
READ_RETRY = 5.0  #: seconds until the outbox is read again after a failed read

logger = logging.getLogger(__name__)


class Post(Protocol):
    """Sends to receivers; ``client.Client`` satisfies it."""

    async def post(self, hook: Hook, message_id: str, body: bytes) -> DeliveryResponse: ...


#: called with each attempt's webhook and outcome: delivered, retried, failed
OnAttempt = Callable[[str, str], object]


def ignore_attempt(hook: str, outcome: str) -> None:
    """Default for ``on_attempt``."""


class _EventTime(msgspec.Struct):
    ts: str = ""


_event_time = msgspec.json.Decoder(_EventTime)


def body_of(delivery: Delivery) -> bytes:
    """Return the request body: the same bytes at every attempt."""
    return msgspec.json.encode({
        "type": delivery.type,
        "timestamp": _event_time.decode(delivery.event).ts,
        "data": msgspec.Raw(delivery.event),
    })  # fmt: skip


class DeliveryWorker:
    """Sends due deliveries, to each webhook independently; ``delivering`` runs one."""

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        hooks: Sequence[Hook],
        subscriptions: Subscriptions,
        outbox: Outbox,
        post: Post,
        clock: Callable[[], float],
        on_attempt: OnAttempt,
    ) -> None:
        """``clock`` returns Unix seconds."""
        self.remaining: Mapping[str, Remaining] = {}  #: by webhook, as last counted
        self.disabled: set[str] = set()  #: webhooks that returned 410
        self._hooks = hooks
        self._subscriptions = subscriptions
        self._outbox = outbox
        self._post = post
        self._clock = clock
        self._on_attempt = on_attempt
        self._held_until = dict.fromkeys((hook.name for hook in hooks), 0.0)  # Unix seconds
        self._in_progress = {hook.name: set[str]() for hook in hooks}
        self._idle: set[str] = set()  # webhooks without due deliveries
        self._wake_events = {hook.name: anyio.Event() for hook in hooks}
        self._idle_changed = anyio.Event()
        self._supervisor = Supervisor()
        outbox.listen(self.wake)

    def wake(self) -> None:
        """Check again for due deliveries."""
        for woken in self._wake_events.values():
            woken.set()

    async def retry(self) -> None:
        """Retry the deliveries that were given up. Raises ``JournalError``."""
        await self._outbox.retry(self._clock())

    async def run(self, supervisor: Supervisor) -> None:
        """Deliver until cancelled."""
        self._supervisor = supervisor
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(supervisor.run, "webhook counts", self._count)
            for hook in self._hooks:
                tasks.start_soon(supervisor.run, _task_of(hook), self._deliver, hook)

    async def finish(self) -> None:
        """Wait until no delivery is due."""
        self._idle.clear()
        self.wake()
        while self._wake_events.keys() - self._idle - self.disabled:
            self._idle_changed = anyio.Event()
            await self._idle_changed.wait()

    async def _count(self) -> None:
        unknown: set[str] = set()
        while True:
            try:
                self.remaining = await self._outbox.remaining()
            except JournalError as error:
                logger.warning("webhooks: %s", error)
            for name in self.remaining.keys() - self._wake_events.keys() - unknown:
                unknown.add(name)
                logger.warning("webhook %s is not in the settings but has %d pending deliveries",
                               name, self.remaining[name].pending)  # fmt: skip
            await anyio.sleep(COUNT_INTERVAL)

    async def _deliver(self, hook: Hook) -> None:
        in_progress = self._in_progress[hook.name]
        async with anyio.create_task_group() as tasks:
            while hook.name not in self.disabled:
                woken = self._wake_events[hook.name] = anyio.Event()
                wait = await self._start_due(hook, tasks)
                if not (in_progress or woken.is_set()) and wait > 0:
                    self._idle.add(hook.name)
                    self._idle_changed.set()
                with anyio.move_on_after(wait):
                    await woken.wait()
                self._idle.discard(hook.name)
        self._idle_changed.set()

    async def _start_due(self, hook: Hook, tasks: TaskGroup) -> float:
        """Start due deliveries within the limit; return the seconds to sleep at most."""
        in_progress, now = self._in_progress[hook.name], self._clock()
        held = self._held_until[hook.name] - now
        if held > 0 or len(in_progress) >= MAX_CONCURRENT:
            return min(held, MAX_WAIT) if held > 0 else MAX_WAIT
        known = set(in_progress)  # a delivery settled during the read may still be in it
        try:
            found = await self._outbox.fetch_due(hook.name, now, 2 * MAX_CONCURRENT)
        except JournalError as error:
            logger.warning("webhook %s: cannot read due deliveries: %s", hook.name, error)
            return READ_RETRY
        started = [delivery for delivery in found.due if delivery.id not in known]
        for delivery in started[: MAX_CONCURRENT - len(in_progress)]:
            in_progress.add(delivery.id)
            tasks.start_soon(self._try, hook, delivery)
        until = MAX_WAIT if found.next is None else found.next - now
        return min(max(until, 0.0), MAX_WAIT)

    async def _try(self, hook: Hook, delivery: Delivery) -> None:
        try:
            answer = await self._answer(hook, delivery)
            await self._settle(hook, delivery, answer)
        except JournalError as error:
            logger.warning("webhook %s: the outcome of %s was not stored, so it will be sent again:"
                           " %s", hook.name, delivery.id, error)  # fmt: skip
        except Exception as error:  # noqa: BLE001 - any: it costs this attempt only
            delay = self._supervisor.note(_task_of(hook), error)
            self._held_until[hook.name] = self._clock() + delay  # it is still due
        finally:
            self._in_progress[hook.name].discard(delivery.id)
            self._wake_events[hook.name].set()

    async def _answer(self, hook: Hook, delivery: Delivery) -> DeliveryResponse:
        """Send a delivery; an unforeseen failure counts as a failed attempt."""
        try:
            return await self._post.post(hook, delivery.id, body_of(delivery))
        except Exception as error:  # noqa: BLE001 - any: it costs this attempt only
            self._supervisor.note(_task_of(hook), error)
            return DeliveryResponse(None, f"internal error: {type(error).__name__}: {error}"[:200])

    async def _settle(self, hook: Hook, delivery: Delivery, answer: DeliveryResponse) -> None:
        tries, now, why = delivery.tries + 1, self._clock(), reason_of(answer)
        match next_step(answer, tries, hook.retries, random.random()):
            case Delivered():
                self._on_attempt(hook.name, "delivered")
                await self._outbox.mark_delivered(delivery.id)
            case RetryLater(wait, hold):
                self._on_attempt(hook.name, "retried")
                logger.info("webhook %s: %s will be sent to %s again in %.0f s: %s", hook.name,
                            delivery.id, hook.host, wait, why)  # fmt: skip
                self._held_until[hook.name] = max(self._held_until[hook.name], now + hold)
                await self._outbox.reschedule(delivery.id, now + wait, why)
            case RetriesExhausted():
                self._on_attempt(hook.name, "failed")
                logger.error("webhook %s: gave up %s of type %s after %d attempts: %s", hook.name,
                             delivery.id, delivery.type, tries, why)  # fmt: skip
                await self._outbox.give_up(delivery.id, now, why)
            case Unsubscribed():
                self._on_attempt(hook.name, "failed")
                await self._disable(hook, why)

    async def _disable(self, hook: Hook, why: str) -> None:
        if hook.name in self.disabled:
            return
        self.disabled.add(hook.name)
        self._subscriptions.cancel(hook.name)
        logger.error("webhook %s: %s returned 410 Gone, so nothing is sent there until the service"
                     " restarts; remove it from the settings", hook.name, hook.host)  # fmt: skip
        await self._outbox.give_up_all(hook.name, self._clock(), why)


def _task_of(hook: Hook) -> str:
    return f"webhook {hook.name}"


@asynccontextmanager
async def delivering(
    worker: DeliveryWorker, supervisor: Supervisor | None = None
) -> AsyncGenerator[DeliveryWorker]:
    """Deliver while the block runs; on exit, deliver what is due within ``DRAIN_TIMEOUT``."""
    async with plain_errors(), anyio.create_task_group() as tasks:
        tasks.start_soon(worker.run, supervisor or Supervisor())
        try:
            yield worker
        finally:
            with anyio.move_on_after(DRAIN_TIMEOUT, shield=True):
                await worker.finish()
            tasks.cancel_scope.cancel()
