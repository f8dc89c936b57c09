"""Delivers what the outbox holds, to each receiver by itself, until it was taken or given up."""

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
from pipeline.runtime.tasks import plain_errors
from pipeline.webhooks.retry import (
    Delivered,
    DeliveryResponse,
    GiveUp,
    RetryLater,
    Unsubscribed,
    after,
    told,
)
from pipeline.webhooks.subscriptions import Hook, Subscriptions

AT_ONCE = 4  #: tries of one webhook under way
COUNT = 5.0  #: seconds between two counts of what is left
GOODBYE = 1.0  #: seconds for what is due when we stop
LONGEST_NAP = 60.0  #: seconds; a wall clock may be set
TROUBLE = 5.0  #: seconds until the outbox is read again when it could not be

logger = logging.getLogger(__name__)


class Post(Protocol):
    """Posts to receivers; ``client.Client`` satisfies it."""

    async def post(self, hook: Hook, message_id: str, body: bytes) -> DeliveryResponse: ...


OnTry = Callable[[str, str], object]  #: is told of each try: webhook; delivered, retried, failed


def unnoticed(hook: str, outcome: str) -> None:
    """Nobody is told of tries."""


class _Head(msgspec.Struct):
    ts: str = ""


_head = msgspec.json.Decoder(_Head)


def body_of(delivery: Delivery) -> bytes:
    """Return what is posted: the same bytes at every try."""
    return msgspec.json.encode({
        "type": delivery.type,
        "timestamp": _head.decode(delivery.event).ts,
        "data": msgspec.Raw(delivery.event),
    })  # fmt: skip


class DeliveryWorker:
    """Posts what is due, to each webhook by itself; ``delivering`` runs one."""

    def __init__(  # noqa: PLR0913 - what it is joined to
        self,
        hooks: Sequence[Hook],
        subscriptions: Subscriptions,
        outbox: Outbox,
        post: Post,
        clock: Callable[[], float],
        on_try: OnTry,
    ) -> None:
        """``clock`` returns Unix seconds."""
        self.left: Mapping[str, Remaining] = {}  #: by webhook, as last counted
        self.disabled: set[str] = set()  #: webhooks that answered 410
        self._hooks = hooks
        self._subscriptions = subscriptions
        self._outbox = outbox
        self._post = post
        self._clock = clock
        self._on_try = on_try
        self._held = dict.fromkeys((hook.name for hook in hooks), 0.0)  # Unix seconds
        self._under_way = {hook.name: set[str]() for hook in hooks}
        self._idle: set[str] = set()  # webhooks of which nothing is due
        self._news = {hook.name: anyio.Event() for hook in hooks}
        self._rest = anyio.Event()
        outbox.listen(self.wake)

    def wake(self) -> None:
        """Look again what is due."""
        for news in self._news.values():
            news.set()

    async def retry(self) -> None:
        """Try again what was given up. Raises ``JournalError``."""
        await self._outbox.retry(self._clock())

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._count)
            for hook in self._hooks:
                tasks.start_soon(self._deliver, hook)

    async def finish(self) -> None:
        """Return once nothing is due."""
        self._idle.clear()
        self.wake()
        while self._news.keys() - self._idle - self.disabled:
            self._rest = anyio.Event()
            await self._rest.wait()

    async def _count(self) -> None:
        strangers: set[str] = set()
        while True:
            try:
                self.left = await self._outbox.left()
            except JournalError as error:
                logger.warning("webhooks: %s", error)
            for name in self.left.keys() - self._news.keys() - strangers:
                strangers.add(name)
                logger.warning("webhook %s is not in the settings, and %d deliveries wait for it",
                               name, self.left[name].pending)  # fmt: skip
            await anyio.sleep(COUNT)

    async def _deliver(self, hook: Hook) -> None:
        under_way = self._under_way[hook.name]
        async with anyio.create_task_group() as tasks:
            while hook.name not in self.disabled:
                news = self._news[hook.name] = anyio.Event()
                nap = await self._begin(hook, tasks)
                if not (under_way or news.is_set()) and nap > 0:
                    self._idle.add(hook.name)
                    self._rest.set()
                with anyio.move_on_after(nap):
                    await news.wait()
                self._idle.discard(hook.name)
        self._rest.set()

    async def _begin(self, hook: Hook, tasks: TaskGroup) -> float:
        """Begin what is due, as far as there is room; return for how long to sleep at most."""
        under_way, now = self._under_way[hook.name], self._clock()
        held = self._held[hook.name] - now
        if held > 0 or len(under_way) >= AT_ONCE:
            return min(held, LONGEST_NAP) if held > 0 else LONGEST_NAP
        known = set(under_way)  # one that is settled while we look is seen as it was before
        try:
            look = await self._outbox.look(hook.name, now, 2 * AT_ONCE)
        except JournalError as error:
            logger.warning("webhook %s: what is due cannot be read: %s", hook.name, error)
            return TROUBLE
        fresh = [delivery for delivery in look.due if delivery.id not in known]
        for delivery in fresh[: AT_ONCE - len(under_way)]:
            under_way.add(delivery.id)
            tasks.start_soon(self._try, hook, delivery)
        until = LONGEST_NAP if look.next is None else look.next - now
        return min(max(until, 0.0), LONGEST_NAP)

    async def _try(self, hook: Hook, delivery: Delivery) -> None:
        try:
            answer = await self._post.post(hook, delivery.id, body_of(delivery))
            await self._settle(hook, delivery, answer)
        except JournalError as error:
            logger.warning("webhook %s: %s was tried, and is again: %s", hook.name, delivery.id,
                           error)  # fmt: skip
        finally:
            self._under_way[hook.name].discard(delivery.id)
            self._news[hook.name].set()

    async def _settle(self, hook: Hook, delivery: Delivery, answer: DeliveryResponse) -> None:
        tries, now, why = delivery.tries + 1, self._clock(), told(answer)
        match after(answer, tries, hook.retries, random.random()):
            case Delivered():
                self._on_try(hook.name, "delivered")
                await self._outbox.made(delivery.id)
            case RetryLater(wait, hold):
                self._on_try(hook.name, "retried")
                logger.info("webhook %s: %s goes to %s again in %.0f s: %s", hook.name,
                            delivery.id, hook.host, wait, why)  # fmt: skip
                self._held[hook.name] = max(self._held[hook.name], now + hold)
                await self._outbox.put_off(delivery.id, now + wait, why)
            case GiveUp():
                self._on_try(hook.name, "failed")
                logger.error("webhook %s: %s of type %s is given up after %d tries: %s", hook.name,
                             delivery.id, delivery.type, tries, why)  # fmt: skip
                await self._outbox.give_up(delivery.id, now, why)
            case Unsubscribed():
                self._on_try(hook.name, "failed")
                await self._disable(hook, why)

    async def _disable(self, hook: Hook, why: str) -> None:
        if hook.name in self.disabled:
            return
        self.disabled.add(hook.name)
        self._subscriptions.cancel(hook.name)
        logger.error("webhook %s: %s wants nothing any more (410), so nothing is sent there until"
                     " we are started again; take it out of the settings", hook.name,
                     hook.host)  # fmt: skip
        await self._outbox.give_up_all(hook.name, self._clock(), why)


@asynccontextmanager
async def delivering(worker: DeliveryWorker) -> AsyncGenerator[DeliveryWorker]:
    """Deliver while the block lasts, and for a moment what is due when it is left."""
    async with plain_errors(), anyio.create_task_group() as tasks:
        tasks.start_soon(worker.run)
        try:
            yield worker
        finally:
            with anyio.move_on_after(GOODBYE, shield=True):
                await worker.finish()
            tasks.cancel_scope.cancel()
