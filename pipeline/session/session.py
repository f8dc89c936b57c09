"""One session: audio in, speech-to-text, turns, requests, and every event into its log."""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup, TaskStatus
from msgspec import UNSET

from pipeline.audio.pcm import AudioClock, Format, Framer
from pipeline.config.settings import Prompt
from pipeline.errors import (
    InputError,
    JournalError,
    PipelineError,
    SessionUnavailable,
    SttError,
)
from pipeline.hub.fanout import Topic
from pipeline.protocol.commands import ClientCommand, ControlCommand
from pipeline.protocol.events import (
    ErrorDetail,
    ErrorEvent,
    SessionCreated,
    SessionEnded,
    SourceInterrupted,
    SourceResumed,
    type_of,
)
from pipeline.responses.conversation import ConversationState
from pipeline.responses.dispatch import Dispatch
from pipeline.responses.scheduler import ResponseScheduler
from pipeline.responses.spending import PromptSpending, SpentLimit
from pipeline.runtime.tasks import plain_errors
from pipeline.session import turn_events
from pipeline.session.agent_context import AgentContext, prompt_of
from pipeline.session.commands import CommandHandler
from pipeline.session.dependencies import AudioSink, SessionDependencies
from pipeline.session.in_stream import InStreamReplies
from pipeline.session.key_input import KeyInput
from pipeline.session.publisher import EventPublisher
from pipeline.session.turn_input import TurnInput
from pipeline.session.usage_limits import Exhausted, SessionUsage

#: seconds for the first words of a last turn to come; after its onset it takes up to 1.2
#: (AssemblyAI docs and observations, 2026)
LAST_WORDS = 1.0
LAST_TURN = 5.0  #: seconds for the last turn to end after a forced endpoint
WRITTEN = 3.0  #: seconds for the last events to be stored and shown

logger = logging.getLogger(__name__)


class Session:
    """One live session: joins speech-to-text, turns, responses and the log."""

    def __init__(  # noqa: PLR0913 - what is its own, beside the shared dependencies
        self,
        topic: Topic,
        append: Callable[..., object],
        prompts: Mapping[str, Prompt],
        dependencies: SessionDependencies,
        audio: Format,
        *,
        real_time: bool = True,
    ) -> None:
        """``real_time``: false where the audio is not as fast as it was spoken."""
        self.topic = topic
        self.failure: PipelineError | None = None  #: the error of speech-to-text that ended it
        self.begun = False  #: its first event has its place in the log
        self.audio_sink: AudioSink | None = None  #: records the audio; sample 0 is at 0 of `t`
        self._dependencies = dependencies
        self._format = audio
        self._framer = Framer(audio)
        self._now = dependencies.clock
        self._clock = AudioClock(real_time=real_time)
        self._prompts = prompts
        self._is_ending_at_limit = False
        self._finishing = False
        self._finished = anyio.Event()
        self._stalled = anyio.Event()
        self._stall_reason = ""
        speakers = audio.speakers or (None,)
        self._channels = len(speakers)
        self._context = AgentContext(prompt_of(dependencies.agent_context, prompts))
        self.publisher = EventPublisher(
            topic.id, append, self._clock, dependencies, self._context.note
        )
        self._spending = PromptSpending()
        conversation = ConversationState(
            dependencies.budget,
            dependencies.llm.model or "",
            dependencies.new_id,
            topic.id,
            self._spending,
        )
        conversation.real_time = real_time
        self._scheduler = ResponseScheduler(
            prompts, conversation, dependencies.forms, dependencies.offered_tools
        )
        gateway = dependencies.gateway
        self._in_stream: InStreamReplies | None = None
        if dependencies.in_stream is not None:
            self._in_stream = InStreamReplies(
                dependencies.in_stream, topic.id, self.publisher.publish
            )
            gateway = self._in_stream.gateway
        self._dispatch = Dispatch(
            self._scheduler, gateway, self.publisher, self._now, dependencies.runner
        )
        self._turns = TurnInput(
            speakers,
            self._dispatch,
            self.publisher,
            gateway,
            self._in_stream,
            self._clock,
            self._now,
            dependencies.stt_engines,
        )
        self._stt = dependencies.listen(audio, self._turns.hear)
        self._keys = KeyInput(dependencies.dtmf, self.publisher, self._turns.keyed, self._now)
        self._commands = CommandHandler(
            self._turns,
            self._keys,
            self._dispatch,
            self._stt,
            prompts,
            self._now,
            in_stream=self._in_stream is not None,
        )

    def __repr__(self) -> str:
        return f"<Session {self.id}: {self._clock.position:.1f} s, {self._dispatch!r}>"

    @property
    def id(self) -> str:
        return self.topic.id

    @property
    def in_flight(self) -> int:
        """Number of language model calls under way."""
        return self._dispatch.in_flight

    @property
    def turns(self) -> int:
        """Number of ended turns."""
        return self._scheduler.totals(0.0).turns

    @property
    def has_lost_audio(self) -> bool:
        """Whether speech-to-text did not hear all of the audio."""
        return self._turns.has_lost_audio

    @property
    def heard(self) -> float:
        """Seconds of audio so far."""
        return self._clock.position

    @property
    def position(self) -> float:
        """Seconds of audio received from the source."""
        return self._clock.position + self._format.seconds(self._framer.pending)

    @property
    def failed_responses(self) -> int:
        return self.publisher.failed_responses

    @property
    def limit_reached(self) -> bool:
        """Whether a usage limit ended it, or kept a request from being sent."""
        return self._is_ending_at_limit or self._spending.has_refused

    @property
    def transcribes_past_limits(self) -> bool:
        """Whether a limit on tokens or cost can stop its requests alone.

        In-stream, the service sends the requests: only the end of the session stops them.
        """
        return self._in_stream is None

    @property
    def spent(self) -> SessionUsage:
        """What the session has cost so far."""
        totals = self._scheduler.totals(self._clock.position * self._channels)
        cost = 0.0 if totals.cost is UNSET else totals.cost
        tokens = totals.input_tokens + totals.output_tokens
        return SessionUsage(totals.audio_seconds, tokens, cost)

    # --- input ---------------------------------------------------------------------------------

    async def audio(self, data: bytes) -> None:
        """Take audio of any length in the session's format; ignore it past a usage limit."""
        if self._is_ending_at_limit:
            return
        for frame in self._framer.feed(data):
            await self._send(frame)

    async def command(self, command: ClientCommand) -> None:
        """Carry out a client's command. Raises ``InputError`` for one that cannot be."""
        if isinstance(command, ControlCommand) and command.session_id not in (None, self.id):
            raise InputError(f"{type_of(command)}: session_id is not this session's")
        if self._is_ending_at_limit:
            raise InputError(f"{type_of(command)}: the session has reached its limit, and ends")
        if self._stall_reason:
            raise SessionUnavailable(self._stall_reason)
        await self._commands.carry_out(command)

    def source_lost(self) -> None:
        """Publish that the source's connection was lost."""
        self.publisher.publish(SourceInterrupted())

    def source_returned(self, away: float) -> None:
        """Publish that a source is there again, after ``away`` seconds without one."""
        self.publisher.publish(SourceResumed(away=round(away, 3)))

    async def _send(self, frame: bytes) -> None:
        self._clock.advance(self._format.seconds(len(frame)), self._now())
        if self.audio_sink is not None:
            self.audio_sink.write(frame)
        await self._stt.send(frame)

    # --- end -----------------------------------------------------------------------------------

    async def finish(self, reason: str = "source_ended") -> None:
        """Finish and answer the last turn, then end. Returns when every event is shown.

        Raises ``JournalError`` when the journal cannot store the last events.
        """
        if self._finishing:
            await self._finished.wait()  # a usage limit and the source may end it at once
        else:
            self._finishing = True
            try:
                await self._finish(reason)
            finally:
                self._finished.set()
        with anyio.move_on_after(WRITTEN) as patience:
            await self.topic.ended.wait()
        if patience.cancelled_caught:
            raise JournalError(f"the last events of session {self.id} wait to be written down")

    async def _finish(self, reason: str) -> None:
        rest = self._framer.flush()
        if rest:
            await self._send(rest)
        if self._in_stream is not None:
            await self._await_in_stream_replies()
        await self._stt.finish()
        if self._in_stream is not None:
            self._in_stream.close()
        self._keys.finish()
        self._turns.finish()
        self._dispatch.carry_out(self._scheduler.finish(self._now()))
        await self._dispatch.settled()
        self._end("limit" if self._spending.has_refused else reason)

    def limit_requests(self, limit: Exhausted | None) -> None:
        """Send no more requests and go on transcribing while a limit is reached."""
        spent = None if limit is None else SpentLimit(limit.limit, str(limit))
        self._spending.stop(spent)
        if spent is not None and self._spending.is_new(spent):
            self.publisher.publish(ErrorEvent(error=spent.error()))

    async def stop_at_limit(self, limit: Exhausted) -> None:
        """Publish the limit, take no more input, and end once the last turn is answered."""
        self._is_ending_at_limit = True
        detail = ErrorDetail(type="limit_reached", message=str(limit), code=limit.limit)
        self.publisher.publish(ErrorEvent(error=detail))
        await self.finish("limit")

    def abort(self, reason: str) -> None:
        """End every response and the session, now."""
        if not self.publisher.closed:
            self._dispatch.carry_out(self._scheduler.abort(reason, self._now()))
            self._end(reason)

    async def _await_in_stream_replies(self) -> None:
        """Wait for the replies that are due in-stream; after Terminate they may not come."""
        await self._turns.wait(LAST_WORDS, is_open=True)
        if self._turns.is_open:
            await self._stt.force_endpoint()
            await self._turns.wait(LAST_TURN, is_open=False)
        await self._dispatch.settled()

    def _end(self, reason: str) -> None:
        if not self.publisher.closed:
            totals = self._scheduler.totals(self._clock.position)
            self.publisher.publish(SessionEnded(reason=reason, totals=totals))
            self.publisher.close()
            self._dispatch.close()
            self._stalled.set()  # ends the task that waits for it

    def stall(self, reason: str) -> None:
        """End the session soon, because its events cannot be stored; takes no more commands.

        Called while an event is appended, so that nothing else may be published here.
        """
        self._stall_reason = reason
        self._stalled.set()

    async def _end_when_stalled(self) -> None:
        await self._stalled.wait()
        if self._stall_reason:
            self.abort("error")
            raise SessionUnavailable(self._stall_reason)

    # --- start ---------------------------------------------------------------------------------

    async def begin(self, tasks: TaskGroup, source: str) -> None:
        """Start listening; returns once speech-to-text answered, or ``failure`` is set."""
        tasks.start_soon(self._keep_deadlines, tasks, name=f"deadlines of {self.id}")
        tasks.start_soon(self._keys.run, name=f"keys of {self.id}")
        tasks.start_soon(self._context.run, self._stt, name=f"context of {self.id}")
        self._turns.begin(tasks)
        tasks.start_soon(self._end_when_stalled, name=f"journal of {self.id}")
        await tasks.start(self._listen, name=f"speech-to-text of {self.id}")
        if self.failure is None:
            self.begun = True
            self.publisher.publish(
                SessionCreated(
                    source=source,
                    stt=self._turns.engine or self._dependencies.stt,
                    llm=self._dependencies.llm,
                    prompts=tuple(self._prompts),
                )
            )

    async def _listen(self, *, task_status: TaskStatus[None]) -> None:
        try:
            await self._stt.run(task_status=task_status)
        except SttError as error:
            self.failure = error
            if self.begun:  # else no subscriber can know of it
                self.publisher.publish(turn_events.stt_error(str(error), error.code))
                self.abort("error")
            else:
                task_status.started()
        except Exception as error:
            if not self.begun:
                raise
            self._fail(error)

    async def _keep_deadlines(self, tasks: TaskGroup) -> None:
        try:
            await self._dispatch.run(tasks)
        except Exception as error:  # noqa: BLE001 - logged by ``_fail``
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """End this session, and no other, because of an unforeseen error."""
        logger.error("session %s failed", self.id, exc_info=error)
        self.failure = SessionUnavailable(f"internal error: {type(error).__name__}")
        self.publisher.publish(turn_events.internal_error(str(self.failure)))
        self.abort("error")


@asynccontextmanager
async def open_session(session: Session, source: str) -> AsyncGenerator[Session]:
    """Run ``session`` for the length of the block; leaving aborts it if it has not ended.

    Raises the ``SttError`` when speech-to-text cannot be had.
    """
    async with plain_errors(), anyio.create_task_group() as tasks:
        await session.begin(tasks, source)
        if session.failure is not None and not session.begun:
            raise session.failure
        reason = "shutdown"
        try:
            yield session
        except Exception:
            reason = "error"
            raise
        finally:
            session.abort(reason)
            tasks.cancel_scope.cancel()
