"""Speech-to-text client of a session without audio, whose turns come as text."""

from collections.abc import Mapping
from typing import Any

import anyio
from anyio.abc import TaskStatus

from pipeline.errors import InputError


class NoAudio:
    """Delivers no value; runs until ``finish``."""

    def __init__(self) -> None:
        self._over = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await self._over.wait()

    async def send(self, frame: bytes) -> None:
        """Refuse ``frame``. Raises ``InputError``."""
        raise InputError("this session takes no audio: its turns come as text")

    async def force_endpoint(self) -> None:
        """Do nothing: no turn is open."""

    async def update(self, changes: Mapping[str, Any]) -> None:
        """Refuse ``changes``. Raises ``InputError``."""
        raise InputError(
            f"this session has no speech-to-text, so it cannot change {', '.join(changes)}"
        )

    async def agent_said(self, text: str) -> None:
        """Do nothing: nothing is recognised."""

    async def finish(self) -> None:
        self._over.set()
