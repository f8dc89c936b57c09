"""The speech-to-text client interface of a session."""

from collections.abc import Mapping
from typing import Any, Protocol

from anyio.abc import TaskStatus

from pipeline.interfaces.stt import Heard


class Hear(Protocol):
    """Is told what speech-to-text heard, on which channel, as it comes; never waits."""

    def __call__(self, heard: Heard, channel: int = 0) -> None: ...


class SpeechToText(Protocol):
    """What a session needs of ``stt``; ``stt.client`` satisfies it."""

    async def run(self, *, task_status: TaskStatus[None] = ...) -> None: ...

    async def send(self, frame: bytes) -> None: ...

    async def force_endpoint(self) -> None: ...

    async def update(self, changes: Mapping[str, Any]) -> None: ...

    async def finish(self) -> None: ...
