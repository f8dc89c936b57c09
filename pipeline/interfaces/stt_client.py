"""Interface of a session's speech-to-text client."""

from collections.abc import Mapping
from typing import Any, Protocol

from anyio.abc import TaskStatus

from pipeline.interfaces.stt import Heard


class Hear(Protocol):
    """Callback for each value of a channel, in order; it must not wait."""

    def __call__(self, heard: Heard, channel: int = 0) -> None: ...


class SpeechToText(Protocol):
    """A stream of audio in, values out; ``stt.client`` implements it."""

    async def run(self, *, task_status: TaskStatus[None] = ...) -> None: ...

    async def send(self, frame: bytes) -> None: ...

    async def force_endpoint(self) -> None: ...

    async def update(self, changes: Mapping[str, Any]) -> None: ...

    async def agent_said(self, text: str) -> None:
        """Pass on what the agent said last; nothing happens where the server takes no context."""
        ...

    async def finish(self) -> None: ...
