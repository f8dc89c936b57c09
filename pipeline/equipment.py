"""What a session needs of the rooms, and every session of a process shares."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import anyio
from anyio.abc import TaskStatus
from msgspec import Struct

from pipeline import stamps
from pipeline.audio.pcm import Format
from pipeline.completions import Form, Gateway
from pipeline.events import Engine, Event
from pipeline.requests.budget import Budget
from pipeline.requests.dispatch import Clock
from pipeline.requests.response import CallReport
from pipeline.speech import Heard
from pipeline.toolbox import Kit, Runner
from pipeline.unasked import Ordered

Observe = Callable[[str, CallReport], None]  #: is told of each call, with its session's id
OnEvent = Callable[[str, Event], None]  #: is told of every event but deltas, likewise


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


class Tape(Protocol):
    """Keeps the audio of a session; ``recordings.recorder`` has one."""

    def write(self, frame: bytes) -> None:
        """Take the next frame, in the session's format; never waits."""
        ...


class Equipment(Struct, frozen=True):
    """What every session of a process shares."""

    stt: Engine
    llm: Engine
    listen: Callable[[Format, Hear], SpeechToText]
    gateway: Gateway
    budget: Budget
    new_id: Callable[[], str]
    in_stream: Ordered | None = None  #: answers come with what is heard
    forms: Mapping[str, Form] = {}  #: by prompt, of those whose replies must be JSON
    kits: Mapping[str, Kit] = {}  #: by prompt, of those that offer tools
    runner: Runner | None = None  #: carries the tools' calls out
    observe: tuple[Observe, ...] = ()
    on_event: tuple[OnEvent, ...] = ()
    clock: Clock = anyio.current_time
    wall: stamps.Clock = time.time_ns
