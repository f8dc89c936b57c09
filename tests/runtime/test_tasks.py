"""Tasks beside a block: called off where it ends, and nothing is left of them."""

import gc
import weakref

import anyio
import pytest

from pipeline.runtime.tasks import Helpers


class Thing:
    """Something that a task holds."""


async def hold(thing: Thing) -> None:
    await anyio.sleep_forever()


async def test_they_are_called_off_and_waited_for() -> None:
    ended: list[str] = []

    async def linger() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
            ended.append("linger")

    async with anyio.create_task_group() as tasks:
        helpers = Helpers(tasks)
        helpers.start(linger)
        await anyio.sleep(1)
        await helpers.call_off()
        assert ended == ["linger"]
        await helpers.call_off()  # there is nobody any more


async def test_what_fails_fails_the_block() -> None:
    async def fail() -> None:
        raise ValueError("no")

    async def block() -> None:
        async with anyio.create_task_group() as tasks:
            helpers = Helpers(tasks)
            helpers.start(fail)
            helpers.start(anyio.sleep_forever)
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup):
        await block()


async def test_nothing_that_they_held_waits_for_the_collector() -> None:
    async def block() -> weakref.ref[Thing]:
        thing = Thing()
        async with anyio.create_task_group() as tasks:
            helpers = Helpers(tasks)
            helpers.start(hold, thing)
            await anyio.sleep(1)
            await helpers.call_off()
        return weakref.ref(thing)

    gc.collect()
    gc.disable()
    try:
        gone = await block()
        await anyio.sleep(1)
        assert gone() is None
    finally:
        gc.enable()
