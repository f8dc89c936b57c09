"""One session: audio in, speech-to-text, turns, requests, and every event into its log."""

import weakref
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial

import anyio
from anyio.abc import TaskGroup, TaskStatus

from pipeline.audio.pcm import AudioClock, Format, Framer
from pipeline.config.settings import Prompt
from pipeline.errors import GatewayError, InputError, JournalError, PipelineError, SttError
from pipeline.hub.fanout import Topic
from pipeline.interfaces.request_log import CallReport
from pipeline.interfaces.stt import Heard, Transcript
from pipeline.interfaces.turns import SpeechStarted, TurnEnded, TurnEvent
from pipeline.protocol.commands import (
    ClientCommand,
    ControlCommand,
    PlaybackReportCommand,
    ResponseCancelCommand,
    ResponseCreateCommand,
    SessionUpdateCommand,
    ToolResultCommand,
    TurnCommitCommand,
    TurnCreateCommand,
)
from pipeline.protocol.events import (
    ErrorDetail,
    ErrorEvent,
    Event,
    ResponseDelta,
    SessionCreated,
    SessionEnded,
    type_of,
)
from pipeline.responses.conversation import ConversationState
from pipeline.responses.dispatch import Dispatch
from pipeline.responses.scheduler import ResponseScheduler
from pipeline.runtime.tasks import plain_errors
from pipeline.session import turn_events
from pipeline.session.dependencies import AudioSink, SessionDependencies
from pipeline.session.in_stream import InStreamReplies
from pipeline.session.timestamps import Timestamps
from pipeline.session.usage_limits import Exhausted, SessionUsage
from pipeline.turns.tracker import TurnNumbers, TurnTracker

#: seconds for the first words of a last turn to come; after its onset it takes up to 1.2
#: (AssemblyAI docs and observations, 2026)
LAST_WORDS = 1.0
LAST_TURN = 5.0  #: seconds for the last turn to end that was ended by force
WRITTEN = 3.0  #: seconds for the last events to be written down and shown
GOODBYE = 2.0  #: seconds for what must still be said when a session is cut short
TYPED = -2  #: turns that come as text piece by piece count down from here; -1 is the tracker's


class Session:
    """Joins the rooms. What is heard runs through tracker, ledger and log in one go."""

    def __init__(
        self,
        topic: Topic,
        append: Callable[..., object],
        prompts: Mapping[str, Prompt],
        dependencies: SessionDependencies,
        audio: Format,
    ) -> None:
        self.topic = topic
        self.failure: PipelineError | None = None  #: why speech-to-text ended it
        self.failed_responses = 0
        self.begun = False  #: its first event has its place in the log
        self.tape: AudioSink | None = None  #: records its audio, sample 0 at 0 of the audio clock
        self._append = append
        self._dependencies = dependencies
        self._format = audio
        self._framer = Framer(audio)
        self._now = dependencies.clock
        self._stamp = Timestamps(dependencies.wall)
        self._clock = AudioClock()
        numbers = TurnNumbers()
        speakers = audio.speakers or (None,)
        self._trackers = [TurnTracker(numbers, speaker=speaker) for speaker in speakers]
        conversation = ConversationState(
            dependencies.budget, dependencies.llm.model or "", dependencies.new_id, topic.id
        )
        self._scheduler = ResponseScheduler(
            prompts, conversation, dependencies.forms, dependencies.kits
        )
        me: Session = weakref.proxy(self)  # what it holds may not hold it: circles are kept long
        self._unasked: InStreamReplies | None = None
        self._gateway = dependencies.gateway
        if dependencies.in_stream is not None:
            publish = partial(Session.publish, me)
            self._unasked = InStreamReplies(dependencies.in_stream, topic.id, publish)
            self._gateway = self._unasked.gateway
        self._dispatch = Dispatch(
            self._scheduler, self._gateway, me, self._now, dependencies.runner
        )
        self._prompts = prompts
        self._stt = dependencies.listen(audio, partial(Session.hear, me))
        self._tasks: TaskGroup | None = None
        self._typing = False  # a turn that comes as text is open
        self._typed_turns = 0  # so many of those have ended
        self._finishing = False
        self._is_out = False  # of what it may spend
        self._heard = anyio.Event()  # something was
        self._ended = False

    def __repr__(self) -> str:
        return f"<Session {self.id}: {self._clock.position:.1f} s, {self._dispatch!r}>"

    @property
    def id(self) -> str:
        return self.topic.id

    @property
    def in_flight(self) -> int:
        """How many calls of the language model are under way."""
        return self._dispatch.in_flight

    @property
    def spent(self) -> SessionUsage:
        """What it has cost so far."""
        totals = self._scheduler.totals(self._clock.position * len(self._trackers))
        return SessionUsage(totals.audio_seconds, totals.input_tokens + totals.output_tokens)

    # --- what clients do -----------------------------------------------------------------------

    async def audio(self, data: bytes) -> None:
        """Take audio of any length in the session's format; once a limit is reached, none."""
        if self._is_out:
            return
        for frame in self._framer.feed(data):
            await self._send(frame)

    async def command(self, command: ClientCommand) -> None:
        """Carry out what a client asks. Raises ``InputError`` for what makes no sense."""
        if isinstance(command, ControlCommand) and command.session_id not in (None, self.id):
            raise InputError(f"{type_of(command)}: session_id is not this session's")
        if self._is_out:
            raise InputError(f"{type_of(command)}: the session has reached its limit, and ends")
        await self._carry_out(command)

    async def _carry_out(self, command: ClientCommand) -> None:
        match command:
            case TurnCommitCommand():
                await self._stt.force_endpoint()
            case TurnCreateCommand():
                self._typed(command)
            case ResponseCancelCommand() | ResponseCreateCommand():
                self._responses(command)
            case PlaybackReportCommand():
                self._played(command)
            case SessionUpdateCommand():
                await self._update(command)
            case ToolResultCommand(call_id=call_id, result=result):
                if not self._dispatch.tool_result(call_id, result):
                    raise InputError(f"tool.result: no call {call_id[:64]!r} waits for a client")
            case _:
                raise InputError(f"{type_of(command)} means nothing in a running session")

    async def finish(self, reason: str = "source_ended") -> None:
        """The source is over: hear the last turn out, answer it, end. Returns when all is shown.

        Raises ``JournalError`` when that waits for a disk that takes nothing.
        """
        if not self._finishing:
            self._finishing = True
            rest = self._framer.flush()
            if rest:
                await self._send(rest)
            if self._unasked is not None:
                await self._hear_answers_out()
            await self._stt.finish()
            if self._unasked is not None:
                self._unasked.over()
            for tracker in self._trackers:
                self._turn_events(tracker.finish())
            self._dispatch.do(self._scheduler.finish(self._now()))
            await self._dispatch.settled()
            self._end(reason)
        with anyio.move_on_after(WRITTEN) as patience:
            await self.topic.ended.wait()
        if patience.cancelled_caught:
            raise JournalError(f"the last events of session {self.id} wait to be written down")

    async def run_out(self, limit: Exhausted) -> None:
        """Take nothing more, say why, and end once the last turn is answered."""
        self._is_out = True
        detail = ErrorDetail(type="limit_reached", message=str(limit), code=limit.limit)
        self.publish(ErrorEvent(error=detail))
        await self.finish("limit")

    async def _hear_answers_out(self) -> None:
        """Wait for what is due in-stream: it is not known whether it comes after the goodbye."""
        await self._until_turn(LAST_WORDS, is_open=True)
        if self._speaking:
            await self._stt.force_endpoint()
            await self._until_turn(LAST_TURN, is_open=False)
        await self._dispatch.settled()

    async def _until_turn(self, seconds: float, *, is_open: bool) -> None:
        with anyio.move_on_after(seconds):
            while self._speaking != is_open:
                self._heard = anyio.Event()
                await self._heard.wait()

    @property
    def _speaking(self) -> bool:
        return any(tracker.is_open for tracker in self._trackers)

    # --- what the rooms tell -------------------------------------------------------------------

    def hear(self, heard: Heard, channel: int = 0) -> None:
        """Take in what speech-to-text heard; called as it comes, never waits.

        Nothing is held back for another channel: a turn that ends is told and answered at once,
        and its number, start and end say where it belongs.
        """
        tracker = self._trackers[channel]
        speaker, events = tracker.speaker, tracker.feed(heard)
        if self._unasked is not None:
            self._unasked.hear(heard, events, tracker)
        told = turn_events.of_connection(heard, speaker)
        if told is not None:
            self.publish(told)
        self._turn_events(events)
        self._heard.set()

    def publish(self, event: Event) -> None:
        """Give ``event`` the next place in the log."""
        if self._ended:
            return
        self._append(event, t=round(self._clock.position * 1000), ts=self._stamp())
        if type(event) is not ResponseDelta:
            for on_event in self._dependencies.on_event:
                on_event(self.id, event)

    def report(self, call: CallReport) -> None:
        if call.outcome == "failed" or call.reason == "cut":
            self.failed_responses += 1
        for observe in self._dependencies.observe:
            observe(self.id, call)

    # --- its life ------------------------------------------------------------------------------

    async def begin(self, tasks: TaskGroup, source: str) -> None:
        """Start listening; returns once speech-to-text answered, or ``failure`` is set."""
        self._tasks = tasks
        tasks.start_soon(self._dispatch.run, tasks, name=f"deadlines of {self.id}")
        tasks.start_soon(self._warm)
        await tasks.start(self._listen, name=f"speech-to-text of {self.id}")
        if self.failure is None:
            self.begun = True
            self.publish(
                SessionCreated(
                    source=source,
                    stt=self._dependencies.stt,
                    llm=self._dependencies.llm,
                    prompts=tuple(self._prompts),
                )
            )

    def cut_short(self, reason: str) -> None:
        """End every response and the session, now."""
        if not self._ended:
            self._dispatch.do(self._scheduler.abort(reason, self._now()))
            self._end(reason)

    async def _listen(self, *, task_status: TaskStatus[None]) -> None:
        try:
            await self._stt.run(task_status=task_status)
        except SttError as error:
            self.failure = error
            if self.begun:  # somebody may be listening already
                self.publish(turn_events.stt_error(str(error), error.code))
                self.cut_short("error")
            else:
                task_status.started()

    async def _warm(self) -> None:
        """Have a connection ready before the turn ends; a failure will show when it matters."""
        with suppress(GatewayError):
            await self._gateway.warm()

    async def _send(self, frame: bytes) -> None:
        self._clock.advance(self._format.seconds(len(frame)), self._now())
        if self.tape is not None:
            self.tape.write(frame)
        await self._stt.send(frame)

    def _turn_events(self, events: list[TurnEvent]) -> None:
        now = self._now()
        for event in events:
            spoken_at = None
            if isinstance(event, TurnEnded) and event.end is not None:
                spoken_at = self._clock.heard_at(event.end)
            steps = self._scheduler.heard(event, now, spoken_at)
            self._dispatch.call(steps)
            told = turn_events.of_turn(event, now, spoken_at)
            if told is not None:
                self.publish(told)
            if isinstance(event, SpeechStarted) and self._tasks is not None:
                self._tasks.start_soon(self._warm)
            self._dispatch.tell(steps)

    def _typed(self, command: TurnCreateCommand) -> None:
        if not command.text.strip():
            raise InputError("turn.create: text is empty")
        if command.final and not self._typing:
            self._turn_events(self._trackers[0].create(command.text, command.speaker))
            return
        order = TYPED - self._typed_turns
        self._turn_events(
            self._trackers[0].feed(
                Transcript(order, command.text, ended=command.final, speaker=command.speaker)
            )
        )
        self._typing = not command.final
        self._typed_turns += command.final

    def _responses(self, command: ResponseCancelCommand | ResponseCreateCommand) -> None:
        now = self._now()
        if isinstance(command, ResponseCancelCommand):
            self._dispatch.do(self._scheduler.cancel(command.response_id, now))
            return
        prompt = command.prompt
        if prompt is not None and prompt not in self._prompts:
            known = ", ".join(self._prompts)
            raise InputError(f"response.create: no prompt {prompt!r}; there is {known}")
        self._dispatch.do(self._scheduler.create(prompt, now))

    async def _update(self, command: SessionUpdateCommand) -> None:
        if command.stt:
            await self._stt.update(command.stt)
        if command.vars and self._unasked is not None:
            raise InputError("session.update: vars cannot change in-stream, where they went along")
        self._scheduler.set_vars(command.vars)

    def _played(self, command: PlaybackReportCommand) -> None:
        if command.text is None and command.characters is None:
            raise InputError("playback.report: text or characters is needed")
        self._scheduler.played(
            command.response_id, text=command.text, characters=command.characters
        )

    def _end(self, reason: str) -> None:
        if not self._ended:
            totals = self._scheduler.totals(self._clock.position)
            self.publish(SessionEnded(reason=reason, totals=totals))
            self._ended = True
            self._dispatch.close()


@asynccontextmanager
async def open_session(session: Session, source: str) -> AsyncGenerator[Session]:
    """Run ``session`` for as long as the block lasts; leaving cuts short what has not ended.

    Raises the ``SttError`` when speech-to-text cannot be had.
    """
    async with plain_errors(), anyio.create_task_group() as tasks:
        await session.begin(tasks, source)
        if session.failure is not None and not session.begun:
            raise session.failure
        reason = "shutdown"
        try:
            yield session
        except PipelineError:
            reason = "error"
            raise
        finally:
            session.cut_short(reason)
            tasks.cancel_scope.cancel()
