"""Multi-channel speech-to-text: one connection for each channel of an audio stream."""

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
from anyio.abc import TaskStatus

from pipeline.audio.pcm import Format
from pipeline.errors import SttError
from pipeline.interfaces.stt import StreamFailed
from pipeline.interfaces.stt_client import Hear, SpeechToText


class Channels:
    """Transcribes each channel separately. Satisfies ``interfaces.stt_client.SpeechToText``.

    All channels must begin before the session does. A channel that fails later is reported, and
    the others go on; the session ends with the last one.
    """

    def __init__(self, audio: Format, clients: Sequence[SpeechToText], hear: Hear) -> None:
        self._audio = audio
        self._clients = clients
        self._hear = hear
        self._left = len(clients)  # those that did not fail
        self._begun = False

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run all channels until all are closed. Raises a ``SttError`` as a client does."""
        try:
            async with anyio.create_task_group() as tasks:
                async with anyio.create_task_group() as opening:
                    for channel in range(len(self._clients)):
                        opening.start_soon(tasks.start, self._follow, channel)
                self._begun = True
                task_status.started()
        except BaseExceptionGroup as group:
            failures, rest = group.split(SttError)
            if rest is not None or failures is None:
                raise
            raise _first(failures) from None

    async def _follow(self, channel: int, *, task_status: TaskStatus[None]) -> None:
        try:
            await self._clients[channel].run(task_status=task_status)
        except SttError as error:
            self._left -= 1
            if not self._begun or not self._left:
                raise
            self._hear(StreamFailed(str(error), error.code), channel)

    async def send(self, frame: bytes) -> None:
        """Send each channel its part of ``frame``."""
        for client, part in zip(self._clients, self._audio.deinterleave(frame), strict=True):
            await client.send(part)

    async def force_endpoint(self) -> None:
        """End the open turn of every channel."""
        for client in self._clients:
            await client.force_endpoint()

    async def update(self, changes: Mapping[str, Any]) -> None:
        """Change parameters of every channel. Raises ``SettingsError`` before any was changed."""
        for client in self._clients:
            await client.update(changes)

    async def agent_said(self, text: str) -> None:
        """Pass on what the agent said last to every channel."""
        for client in self._clients:
            await client.agent_said(text)

    async def finish(self) -> None:
        """Terminate every channel, and wait for the last turn of each."""
        async with anyio.create_task_group() as tasks:
            for client in self._clients:
                tasks.start_soon(client.finish)


def _first(failures: BaseExceptionGroup[SttError]) -> SttError:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
