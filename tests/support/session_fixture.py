"""A session with fake speech-to-text and gateway; the rest is real."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from itertools import count
from types import TracebackType
from typing import Any

import anyio
import msgspec
from anyio.abc import TaskStatus

from pipeline.audio.pcm import Format
from pipeline.config.settings import Prompt
from pipeline.errors import GatewayLost
from pipeline.hub.fanout import Topic, Topics
from pipeline.interfaces.llm import Accepted, CompletionRequest, Finished, Form, Piece, TextDelta
from pipeline.interfaces.request_log import CallReport
from pipeline.interfaces.stt import Heard, StreamClosed, Transcript, Word
from pipeline.interfaces.stt_client import Hear, SpeechToText
from pipeline.journal.log import KEEP, SessionLog
from pipeline.protocol.events import Engine, Frame
from pipeline.responses.rate_limit import Budget
from pipeline.session.channels import Channels
from pipeline.session.dependencies import Observe, OnEvent, SessionDependencies
from pipeline.session.in_stream import InStreamSetup
from pipeline.session.session import Session, open_session

SECOND = b"\0" * 32_000


class Speech:
    """A fake speech-to-text connection; the test sends its transcripts."""

    def __init__(self, hear: Callable[[Heard], None], refusal: Exception | None = None) -> None:
        self.hear = hear
        self.refusal = refusal
        self.sent = 0
        self.heard_audio = b""
        self.forced = 0
        self.updates: list[dict[str, Any]] = []
        self.context: list[str] = []
        self.terminated = False
        self.finishing = False
        self._over = anyio.Event()
        self._failure: Exception | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        if self.refusal is not None:
            raise self.refusal
        task_status.started()
        try:
            await self._over.wait()
        finally:
            self.terminated = True
        if self._failure is not None:
            raise self._failure

    async def send(self, frame: bytes) -> None:
        self.sent += len(frame)
        self.heard_audio += frame

    async def force_endpoint(self) -> None:
        self.forced += 1

    async def update(self, changes: Mapping[str, Any]) -> None:
        self.updates.append(dict(changes))

    async def agent_said(self, text: str) -> None:
        self.context.append(text)

    async def finish(self) -> None:
        self.finishing = True
        self.hear(StreamClosed())
        self._over.set()

    def fail(self, error: Exception) -> None:
        self._failure = error
        self._over.set()


class ScriptedReply(AbstractAsyncContextManager["ScriptedReply"]):
    """A reply that sends a word every ``gap`` seconds."""

    def __init__(self, gateway: "ScriptedGateway", request: CompletionRequest) -> None:
        self.gateway = gateway
        self.request = request
        words = gateway.replies.pop(0) if gateway.replies else gateway.words
        self._left: list[Piece] = [
            Accepted("q-1"),
            *(TextDelta(word) for word in words),
            Finished("stop", complete=True),
        ]

    async def __aenter__(self) -> "ScriptedReply":
        self.gateway.requests.append(self.request)
        self.gateway.open_now += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.gateway.open_now -= 1

    async def receive(self) -> Sequence[Piece]:
        if not self._left:
            return []
        await anyio.sleep(self.gateway.gap)
        if self.gateway.failure is not None:
            raise self.gateway.failure
        return [self._left.pop(0)]

    def begin(self) -> None: ...

    def drop(self) -> None: ...

    @property
    def sent(self) -> bool:
        return False

    @property
    def streams(self) -> bool:
        return True

    def commit(self) -> None:
        pass


class ScriptedGateway:
    def __init__(self) -> None:
        self.words = ["One", " two", "."]
        self.replies: list[list[str]] = []  # used before ``words``, one for each request
        self.gap = 1.0  # seconds
        self.failure: GatewayLost | None = None
        self.requests: list[CompletionRequest] = []
        self.open_now = 0
        self.warmed = 0

    def open(self, request: CompletionRequest, *, speculative: bool = False) -> ScriptedReply:
        return ScriptedReply(self, request)

    async def warm(self) -> None:
        self.warmed += 1


class Stage:
    """A session, what stands around it, and what it published."""

    def __init__(
        self,
        *,
        refusal: Exception | None = None,
        forms: Mapping[str, Form] | None = None,
        observe: tuple[Observe, ...] = (),
        on_event: tuple[OnEvent, ...] = (),
        in_stream: "Callable[[Stage], InStreamSetup] | None" = None,
        audio: Format | None = None,
        listen: Callable[[Format, Hear], SpeechToText] | None = None,
        keep: int = KEEP,
        stt_engines: Mapping[str, Engine] | None = None,
        **prompt: Any,
    ) -> None:
        """``listen`` is a speech-to-text to use in place of the scripted one."""
        self.gateway = ScriptedGateway()
        self.reports: list[CallReport] = []
        self.events: list[dict[str, Any]] = []
        topics = Topics()
        log = SessionLog("s1", keep=keep)
        topic = topics.open(log)
        log.listen(partial(self._show, topic))
        speech: list[Speech] = []

        def scripted(audio: Format, hear: Hear) -> SpeechToText:
            ears = (partial(hear, channel=channel) for channel in range(audio.channels))
            speech.extend(Speech(ear, refusal) for ear in ears)
            return speech[0] if audio.channels == 1 else Channels(audio, speech, hear)

        engine = Engine(name="custom", url="test:", model="m")
        ids = (f"r{n}" for n in count(1))
        dependencies = SessionDependencies(
            stt=engine,
            llm=engine,
            listen=listen or scripted,
            gateway=self.gateway,
            budget=Budget(0),
            new_id=lambda: next(ids),
            forms=forms or {},
            in_stream=in_stream(self) if in_stream else None,
            stt_engines=stt_engines or {},
            observe=(lambda _, call: self.reports.append(call), *observe),
            on_event=on_event,
        )
        prompts = {"reply": Prompt(system="Be brief.", **prompt)}
        self.session = Session(topic, log.append, prompts, dependencies, audio or Format())
        self.speeches = speech  #: one for each channel

    @property
    def speech(self) -> Speech:
        return self.speeches[0]

    def _show(self, topic: Topic, frame: Frame) -> None:
        topic.publish(frame)
        self.events.append(msgspec.json.decode(frame.data))

    def open(self) -> AbstractAsyncContextManager[Session]:
        return open_session(self.session, "test")

    def said(self, *types: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] in types]

    def types(self) -> list[str]:
        return [event["type"] for event in self.events]


def turn(order: int, text: str, end: float = 0.0) -> Transcript:
    return Transcript(order, text, ended=True, words=(Word(text, 0.0, end),))
