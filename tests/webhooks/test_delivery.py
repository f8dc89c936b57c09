"""Deliveries on virtual time: when each try is made, and who waits for whom."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest

from pipeline.config.settings import WebhookSettings
from pipeline.interfaces.outbox import Due
from pipeline.journal.outbox_memory import OutboxInMemory
from pipeline.protocol.events import Frame
from pipeline.webhooks.delivery import MAX_CONCURRENT, DeliveryWorker, delivering, ignore_attempt
from pipeline.webhooks.retry import DeliveryResponse
from pipeline.webhooks.subscriptions import Hook, Subscriptions, hook_of
from tests.webhooks.test_signing import SECRET

DAY = 86400.0
OK = DeliveryResponse(204)
ENDED = Frame(7, "session.ended", b'{"type":"session.ended","seq":7,"ts":"2026-11-23T12:00:00Z"}')


def hook(name: str = "crm", **more: object) -> Hook:
    settings = WebhookSettings(url="https://example.com", **more)  # type: ignore[arg-type]
    return hook_of(name, settings, [SECRET])


class Peer:
    """Answers as scripted, by webhook, each time after ``takes`` seconds."""

    def __init__(self, answer: Callable[[str, int], DeliveryResponse], takes: float = 0.0) -> None:
        self.tries: list[tuple[float, str, str]] = []  #: when, webhook, message
        self.bodies: set[bytes] = set()
        self.under_way = 0
        self.most = 0  #: under way at once
        self._answer = answer
        self._takes = takes

    async def post(self, hook: Hook, message_id: str, body: bytes) -> DeliveryResponse:
        self.tries.append((anyio.current_time(), hook.name, message_id))
        self.bodies.add(body)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await anyio.sleep(self._takes if hook.name != "slow" else 10 * DAY)
        self.under_way -= 1
        return self._answer(hook.name, len(self.tries))


@asynccontextmanager
async def posting(
    peer: Peer, hooks: Sequence[Hook], most: int = 1000
) -> AsyncGenerator[tuple[OutboxInMemory, DeliveryWorker]]:
    subscriptions = Subscriptions(hooks)
    outbox = OutboxInMemory(subscriptions.wanted, most=most)
    clock = anyio.current_time
    worker = DeliveryWorker(hooks, subscriptions, outbox, peer, clock, ignore_attempt)
    async with delivering(worker):
        yield outbox, worker


@pytest.fixture(autouse=True)
def _no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.webhooks.delivery.random.random", lambda: 0.0)


async def test_it_is_tried_for_three_days_by_the_schedule_and_then_given_up() -> None:
    peer = Peer(lambda _name, _number: DeliveryResponse(500, "down"))
    async with posting(peer, [hook()]) as (outbox, _):
        outbox.add(ENDED)
        await anyio.sleep(30 * DAY)
        remaining = await outbox.remaining()
    waits = [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    assert [at for at, *_ in peer.tries] == [sum(waits[:n]) for n in range(10)]
    assert len({message for *_, message in peer.tries}) == 1
    assert len(peer.bodies) == 1
    assert (remaining["crm"].pending, remaining["crm"].failed) == (0, 1)


async def test_what_is_posted_is_type_time_and_the_event_as_it_was_shown() -> None:
    peer = Peer(lambda _name, _number: OK)
    async with posting(peer, [hook()]) as (outbox, _):
        outbox.add(ENDED)
        outbox.add(Frame(8, "speech.started", b"{}"))  # no webhook is subscribed to it
        await anyio.wait_all_tasks_blocked()
        assert (await outbox.remaining())["crm"].pending == 0
    assert peer.bodies == {
        b'{"type":"session.ended","timestamp":"2026-11-23T12:00:00Z","data":%b}' % ENDED.data
    }


class Slow(OutboxInMemory):
    """What it tells is as old as a look takes."""

    async def fetch_due(self, hook: str, now: float, limit: int) -> Due:
        seen = await super().fetch_due(hook, now, limit)
        await anyio.sleep(0.3)
        return seen


async def test_one_that_is_settled_during_a_look_is_not_tried_once_more() -> None:
    peer = Peer(lambda _name, _number: OK, takes=0.5)
    hooks = [hook()]
    subscriptions = Subscriptions(hooks)
    outbox = Slow(subscriptions.wanted)
    worker = DeliveryWorker(hooks, subscriptions, outbox, peer, anyio.current_time, ignore_attempt)
    async with delivering(worker):
        for _number in range(20):
            outbox.add(ENDED)
            await anyio.sleep(0.07)
        await anyio.sleep(10)
    assert len(peer.tries) == 20


async def test_what_was_given_up_is_retried_on_request() -> None:
    peer = Peer(lambda _, tries: DeliveryResponse(500) if tries == 1 else OK)
    async with posting(peer, [hook(retries=())]) as (outbox, worker):
        outbox.add(ENDED)
        await anyio.sleep(DAY)
        assert len(peer.tries) == 1
        await worker.retry()
        await anyio.sleep(1)
        assert (await outbox.remaining())["crm"].pending == 0
    assert len(peer.tries) == 2


async def test_one_that_never_answers_delays_no_other() -> None:
    peer = Peer(lambda _name, _number: OK)
    async with posting(peer, [hook("slow"), hook("fast")]) as (outbox, _):
        for _number in range(50):
            outbox.add(ENDED)
        await anyio.sleep(1)
        names = [name for _, name, _ in peer.tries]
    assert (names.count("slow"), names.count("fast")) == (MAX_CONCURRENT, 50)


async def test_so_many_are_under_way_at_once_and_every_one_arrives() -> None:
    peer = Peer(lambda _name, _number: OK, takes=1.0)
    async with posting(peer, [hook()]) as (outbox, _):
        for _number in range(4 * MAX_CONCURRENT):
            outbox.add(ENDED)
        await anyio.sleep(4.5)
    assert peer.most == MAX_CONCURRENT
    assert len({message for *_, message in peer.tries}) == 4 * MAX_CONCURRENT


async def test_a_receiver_that_asks_for_a_pause_gets_it_for_everything() -> None:
    peer = Peer(lambda _, tries: DeliveryResponse(429, retry_after=60.0) if tries == 1 else OK)
    async with posting(peer, [hook()]) as (outbox, _):
        outbox.add(ENDED)
        await anyio.sleep(10)
        outbox.add(ENDED)
        await anyio.sleep(100)
    assert [at for at, *_ in peer.tries] == [0.0, 60.0, 60.0]


async def test_one_that_is_gone_gets_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    peer = Peer(lambda name, _: DeliveryResponse(410) if name == "gone" else OK)
    async with posting(peer, [hook("gone"), hook("here")]) as (outbox, worker):
        outbox.add(ENDED)
        await anyio.sleep(1)
        outbox.add(ENDED)
        await anyio.sleep(DAY)
        remaining = await outbox.remaining()
        assert worker.disabled == {"gone"}
    assert [name for _, name, _ in peer.tries].count("gone") == 1
    assert [name for _, name, _ in peer.tries].count("here") == 2
    assert (remaining["gone"].pending, remaining["gone"].failed) == (0, 1)
    assert "webhook gone: example.com returned 410 Gone" in caplog.text


async def test_what_waits_in_memory_is_bounded_and_the_loss_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    peer = Peer(lambda _name, _number: OK)
    async with posting(peer, [hook("slow")], most=10) as (outbox, _):
        for _number in range(12):
            outbox.add(ENDED)
        assert (await outbox.remaining())["slow"].pending == 10
    assert caplog.text.count("is dropped") == 2


async def test_leaving_delivers_what_is_due_and_waits_a_moment_only() -> None:
    quick, slow = Peer(lambda _name, _number: OK, takes=0.5), Peer(lambda _name, _number: OK)
    async with posting(quick, [hook()]) as (outbox, _):
        for _number in range(5):
            outbox.add(ENDED)
    assert (await outbox.remaining())["crm"].pending == 0
    left_at = anyio.current_time()
    async with posting(slow, [hook("slow")]) as (outbox, _):
        outbox.add(ENDED)
    assert anyio.current_time() - left_at == pytest.approx(1.0)
    assert (await outbox.remaining())["slow"].pending == 1
