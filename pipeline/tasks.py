"""What anyio's task groups leave to say: errors that come out as themselves."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


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
