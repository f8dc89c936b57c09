"""Background tasks of a block: cancelled at its end, without leaks."""

import gc
import weakref

import anyio
import pytest

from pipeline.runtime.tasks import BackgroundTasks


class Thing:
    """Something that a task holds."""


async def hold(thing: Thing) -> None:
    await anyio.sleep_forever()


async def test_background_tasks_are_cancelled_and_awaited() -> None:
    ended: list[str] = []

    async def linger() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
            ended.append("linger")

    async with anyio.create_task_group() as tasks:
        background = BackgroundTasks(tasks)
        background.start(linger)
        await anyio.sleep(1)
        await background.cancel()
        assert ended == ["linger"]
        await background.cancel()  # no task is left


async def test_an_error_in_a_background_task_fails_the_block() -> None:
    async def fail() -> None:
        raise ValueError("no")

    async def block() -> None:
        async with anyio.create_task_group() as tasks:
            background = BackgroundTasks(tasks)
            background.start(fail)
            background.start(anyio.sleep_forever)
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup):
        await block()


async def test_objects_of_cancelled_tasks_are_freed_without_garbage_collection() -> None:
    async def block() -> weakref.ref[Thing]:
        thing = Thing()
        async with anyio.create_task_group() as tasks:
            background = BackgroundTasks(tasks)
            background.start(hold, thing)
            await anyio.sleep(1)
            await background.cancel()
        return weakref.ref(thing)

    gc.collect()
    gc.disable()
    try:
        gone = await block()
        await anyio.sleep(1)
        assert gone() is None
    finally:
        gc.enable()
