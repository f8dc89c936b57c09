"""Additions to anyio's task groups: unwrapped errors, background tasks without leaks."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVarTuple, Unpack

import anyio
from anyio.abc import TaskGroup

from pipeline.errors import PipelineError

Given = TypeVarTuple("Given")


@asynccontextmanager
async def plain_errors() -> AsyncGenerator[None]:
    """Raise the only error of a block itself, without the exception group of its task group.

    Of several errors that this package raises on purpose, the first is raised.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        first, *others = group.exceptions
        if others and not all(isinstance(each, PipelineError) for each in group.exceptions):
            raise
        raise first from None


class BackgroundTasks:
    """Background tasks of a block, cancelled at its end, each by its own cancel scope.

    A task cancelled by the scope of its group ends with an exception, which a task group
    (anyio 4.16) leaves in a reference cycle with every frame that it passed: the objects of
    these frames stay in memory until a full garbage collection, which is rare.
    """

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._scopes: dict[anyio.CancelScope, None] = {}
        self._none = anyio.Event()

    def start(self, body: Callable[[Unpack[Given]], Awaitable[object]], *given: *Given) -> None:
        scope = anyio.CancelScope()
        self._scopes[scope] = None
        self._tasks.start_soon(self._run, scope, body, *given)

    async def cancel(self) -> None:
        """Cancel the running tasks and wait until they have ended."""
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
