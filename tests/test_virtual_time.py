"""The virtual clock of the other tests."""

import time

import anyio
import pytest


async def test_an_hour_of_sleep_costs_no_real_time() -> None:
    began = time.monotonic()
    await anyio.sleep(3600)
    assert anyio.current_time() == pytest.approx(3600)
    assert time.monotonic() - began < 1


async def test_sleepers_wake_in_the_order_of_their_times() -> None:
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await anyio.sleep(seconds)
        woken.append((name, anyio.current_time()))

    async with anyio.create_task_group() as tg:
        for name, seconds in [("late", 30.0), ("early", 0.001), ("middle", 29.999)]:
            tg.start_soon(sleeper, name, seconds)
    assert woken == [("early", 0.001), ("middle", 29.999), ("late", 30.0)]


async def test_a_deadline_strikes_at_its_exact_time() -> None:
    with anyio.move_on_after(60) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert anyio.current_time() == pytest.approx(60)


async def test_work_without_timers_moves_no_clock() -> None:
    for _ in range(100):
        await anyio.lowlevel.checkpoint()
    assert anyio.current_time() == 0
