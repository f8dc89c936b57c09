"""Supervision of background tasks on virtual time: restarts, delays, and what is reported."""

from itertools import pairwise
from threading import Event as ThreadEvent

import anyio
import pytest

from pipeline.runtime.supervision import MAX_DELAY, REPEATED, STEADY, Supervisor

UNFORESEEN = [OverflowError, RecursionError, KeyError, AssertionError, UnicodeError, MemoryError]


@pytest.mark.parametrize("kind", UNFORESEEN)
async def test_a_task_that_raises_anything_is_counted_and_restarted(
    kind: type[Exception],
) -> None:
    failures: list[str] = []
    starts: list[float] = []

    async def body(first: int) -> None:
        starts.append(anyio.current_time() - first)
        if len(starts) < 4:
            raise kind("odd")

    begin = anyio.current_time()
    await Supervisor(failures.append).run("catalog", body, begin)  # type: ignore[arg-type]
    assert failures == ["catalog"] * 3
    assert starts == pytest.approx([0, 1, 3, 7])


async def test_the_delay_before_a_restart_has_a_limit() -> None:
    starts: list[float] = []

    async def body() -> None:
        starts.append(anyio.current_time())
        raise KeyError

    with anyio.move_on_after(20 * MAX_DELAY):
        await Supervisor().run("catalog", body)
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert max(gaps) == pytest.approx(MAX_DELAY)


async def test_only_a_task_that_keeps_failing_is_reported_and_it_recovers() -> None:
    supervisor = Supervisor()
    for number in range(REPEATED):
        assert not supervisor.failing, number
        supervisor.note("webhook crm", OverflowError("too large"))
    supervisor.note("once", KeyError("x"))
    assert supervisor.failing == {"webhook crm": "OverflowError: too large"}
    assert not supervisor.essential_failing
    await anyio.sleep(STEADY + 1)
    assert not supervisor.failing
    supervisor.note("webhook crm", OverflowError("too large"))
    assert not supervisor.failing, "the count begins anew"


async def test_an_essential_task_that_keeps_failing_is_distinguished() -> None:
    supervisor = Supervisor()

    async def body() -> None:
        raise KeyError("x")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: supervisor.run("limits", body, essential=True))
        await anyio.sleep(10)
        assert list(supervisor.essential_failing) == ["limits"]
        tasks.cancel_scope.cancel()


async def test_cancelling_ends_a_supervised_task() -> None:
    with anyio.move_on_after(1) as scope:
        await Supervisor().run("forever", anyio.sleep_forever)
    assert scope.cancelled_caught


async def test_a_thread_that_raises_is_restarted_and_ends_when_it_returns() -> None:
    stopping = ThreadEvent()
    runs: list[int] = []
    stopping.set()  # no delay

    def work() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise OSError("EIO")

    await Supervisor().run_thread("writer", work, stopping)
    assert len(runs) == 3


async def test_a_thread_that_fails_while_the_service_stops_is_given_up() -> None:
    stopping = ThreadEvent()
    stopping.set()
    failures: list[str] = []

    def work() -> None:
        raise OSError("EIO")

    await Supervisor(failures.append).run_thread("writer", work, stopping)
    assert len(failures) == 3
