"""The dependencies of a session: clients and observers that all sessions of a process share."""

import time
from collections.abc import Callable, Mapping
from typing import Protocol

import anyio
from msgspec import Struct

from pipeline.audio.pcm import Format
from pipeline.config.settings import DtmfSettings
from pipeline.interfaces.llm import Form, Gateway
from pipeline.interfaces.request_log import CallReport
from pipeline.interfaces.stt_client import Hear, SpeechToText
from pipeline.interfaces.tools import OfferedTools, Runner
from pipeline.protocol.events import Engine, Event
from pipeline.responses.dispatch import Clock
from pipeline.responses.rate_limit import Budget
from pipeline.session import timestamps
from pipeline.session.in_stream import InStreamSetup

Observe = Callable[[str, CallReport], None]  #: takes each call report, with its session's id
OnEvent = Callable[[str, Event], None]  #: takes every event but deltas, likewise


class AudioSink(Protocol):
    """Keeps the audio of a session; ``recordings.recorder`` has one."""

    def write(self, frame: bytes) -> None:
        """Take the next frame, in the session's format; never waits."""
        ...


class SessionDependencies(Struct, frozen=True):
    """Dependencies that every session of a process shares."""

    stt: Engine
    llm: Engine
    listen: Callable[[Format, Hear], SpeechToText]
    gateway: Gateway
    budget: Budget
    new_id: Callable[[], str]
    in_stream: InStreamSetup | None = None  #: replies on the speech-to-text connection
    forms: Mapping[str, Form] = {}  #: by prompt, of those whose replies must be JSON
    offered_tools: Mapping[str, OfferedTools] = {}  #: by prompt, of those that offer tools
    runner: Runner | None = None  #: runs tool calls
    dtmf: DtmfSettings = DtmfSettings()  #: turns made of a caller's keys
    stt_engines: Mapping[str, Engine] = {}  #: all of speech-to-text, by the name in its values
    agent_context: str = "auto"  #: as in the settings of speech-to-text
    observe: tuple[Observe, ...] = ()
    on_event: tuple[OnEvent, ...] = ()
    clock: Clock = anyio.current_time
    wall: timestamps.Clock = time.time_ns
