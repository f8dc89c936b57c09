"""What anyio's task groups leave to say: errors as themselves, and tasks that leave nothing."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVarTuple, Unpack

import anyio
from anyio.abc import TaskGroup

Given = TypeVarTuple("Given")


@asynccontextmanager
async def plain_errors() -> AsyncGenerator[None]:
    """Let the one error of a block out as itself, not in the group of a task group around it."""
    try:
        yield
    except BaseExceptionGroup as group:
        first, *others = group.exceptions
        if others:
            raise
        raise first from None


class Helpers:
    """Tasks beside a block, called off where it ends, each by a scope of its own.

    One that is cancelled by the scope of its group ends with an exception, which a task group
    (anyio 4.16) leaves in a cycle with every frame it went through: all that these hold stays
    in memory until a full collection, and of those there are few.
    """

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._scopes: dict[anyio.CancelScope, None] = {}
        self._none = anyio.Event()

    def start(self, body: Callable[[Unpack[Given]], Awaitable[object]], *given: *Given) -> None:
        scope = anyio.CancelScope()
        self._scopes[scope] = None
        self._tasks.start_soon(self._run, scope, body, *given)

    async def call_off(self) -> None:
        """Cancel those that go on, and wait until they have ended."""
        if self._scopes:
            for scope in tuple(self._scopes):
                scope.cancel()
            await self._none.wait()

    async def _run(
        self,
        scope: anyio.CancelScope,
        body: Callable[[Unpack[Given]], Awaitable[object]],
        *given: *Given,
    ) -> None:
        try:
            with scope:
                await body(*given)
        finally:
            del self._scopes[scope]
            if not self._scopes:
                self._none.set()
