"""Exceptions that nothing foresees, raised at a webhook delivery: they cost an attempt only."""

from collections.abc import Callable

import anyio
import pytest

from pipeline.interfaces.outbox import Due
from pipeline.journal.outbox_memory import OutboxInMemory
from pipeline.runtime.supervision import Supervisor
from pipeline.webhooks.delivery import DeliveryWorker, delivering, ignore_attempt
from pipeline.webhooks.retry import DeliveryResponse
from pipeline.webhooks.subscriptions import Subscriptions
from tests.webhooks.test_delivery import ENDED, OK, Peer, hook

Answer = Callable[[str, int], DeliveryResponse]

UNFORESEEN = [OverflowError, RecursionError, KeyError, AssertionError, UnicodeError, MemoryError]


@pytest.mark.parametrize("kind", UNFORESEEN)
async def test_an_unforeseen_error_of_a_post_counts_as_a_failed_attempt(
    kind: type[Exception],
) -> None:
    def answer(name: str, tries: int) -> DeliveryResponse:
        if tries == 1:
            raise kind("odd")
        return OK

    await deliver(OutboxInMemory, answer, tasks=["webhook crm"])


@pytest.mark.parametrize("kind", UNFORESEEN)
async def test_an_unforeseen_error_of_the_outbox_is_noted_and_the_delivery_made(
    kind: type[Exception],
) -> None:
    class Odd(OutboxInMemory):
        """Fails the first time that it is read and the first time that it is changed."""

        looks = makes = 0

        async def fetch_due(self, hook: str, now: float, limit: int) -> Due:
            self.looks += 1
            if self.looks == 2:
                raise kind("odd")
            return await super().fetch_due(hook, now, limit)

        async def mark_delivered(self, delivery_id: str) -> None:
            self.makes += 1
            if self.makes == 1:
                raise kind("odd")
            await super().mark_delivered(delivery_id)

    def answer(name: str, tries: int) -> DeliveryResponse:
        return OK

    await deliver(Odd, answer, tasks=["webhook crm", "webhook crm"])


async def deliver(make: type[OutboxInMemory], answer: Answer, tasks: list[str]) -> None:
    failures: list[str] = []
    hooks = [hook()]
    subscriptions = Subscriptions(hooks)
    outbox = make(subscriptions.wanted)
    peer = Peer(answer)
    worker = DeliveryWorker(hooks, subscriptions, outbox, peer, anyio.current_time, ignore_attempt)
    async with delivering(worker, Supervisor(failures.append)):
        await anyio.sleep(1)
        outbox.add(ENDED)
        await anyio.sleep(60)
        remaining = await outbox.remaining()
    assert failures == tasks
    assert len(peer.tries) == 2
    assert (remaining["crm"].pending, remaining["crm"].failed) == (0, 0)
