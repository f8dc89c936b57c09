"""Speech-to-text for a session without audio: its turns come as text."""

from collections.abc import Mapping
from typing import Any

import anyio
from anyio.abc import TaskStatus

from pipeline.errors import InputError


class NoAudio:
    """Hears nothing until it is told to finish."""

    def __init__(self) -> None:
        self._over = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await self._over.wait()

    async def send(self, frame: bytes) -> None:
        """Refuse ``frame``. Raises ``InputError``."""
        raise InputError("this session takes no audio: its turns come as text")

    async def force_endpoint(self) -> None:
        """There is no turn that audio has begun."""

    async def update(self, changes: Mapping[str, Any]) -> None:
        """Refuse ``changes``. Raises ``InputError``."""
        raise InputError(f"no speech-to-text runs here that could be told {', '.join(changes)}")

    async def finish(self) -> None:
        self._over.set()
