"""The input of a session's turns: transcripts and typed text, tracked, scheduled and published."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import anyio
from anyio.abc import TaskGroup

from pipeline.audio.pcm import AudioClock
from pipeline.errors import GatewayError, InputError
from pipeline.interfaces.llm import Gateway
from pipeline.interfaces.stt import (
    Heard,
    StreamFailed,
    StreamOpened,
    StreamResumed,
    StreamUnanswered,
    Transcript,
)
from pipeline.interfaces.turns import SpeechStarted, TurnEnded, TurnEvent
from pipeline.protocol.commands import TurnCreateCommand
from pipeline.protocol.events import Engine, SessionUpdated
from pipeline.responses.dispatch import Dispatch
from pipeline.session import turn_events
from pipeline.session.in_stream import InStreamReplies
from pipeline.session.publisher import EventPublisher
from pipeline.turns.tracker import TurnNumbers, TurnTracker

MAX_SKIPPED = 20  #: messages that could not be processed, then the session ends

logger = logging.getLogger(__name__)


class TurnInput:
    """Passes what is heard or typed through tracker, scheduler and log in one step.

    It refers neither to the session nor to the speech-to-text client, which calls ``hear``: a
    reference cycle would keep an ended session until the next full garbage collection.
    """

    def __init__(  # noqa: PLR0913 - the parts that one turn event passes through
        self,
        speakers: Sequence[str | None],
        dispatch: Dispatch,
        publisher: EventPublisher,
        gateway: Gateway,
        in_stream: InStreamReplies | None,
        audio_clock: AudioClock,
        now: Callable[[], float],
        engines: Mapping[str, Engine],
    ) -> None:
        numbers = TurnNumbers()
        self._trackers = [TurnTracker(numbers, speaker=speaker) for speaker in speakers]
        self._typed = TurnTracker(numbers)  # a turn is typed beside one that is spoken
        self._dispatch = dispatch
        self._publisher = publisher
        self._gateway = gateway
        self._in_stream = in_stream
        self._audio_clock = audio_clock
        self._now = now
        self._engines = engines
        self.engine: Engine | None = None  #: of speech-to-text, once it has been heard
        self.has_lost_audio = False  #: speech-to-text did not hear all of it
        self._tasks: TaskGroup | None = None
        self._skipped = 0
        self._typed_turns = 0
        self._heard = anyio.Event()

    @property
    def is_open(self) -> bool:
        """Whether a turn is open on any channel."""
        return any(tracker.is_open for tracker in self._trackers)

    def begin(self, tasks: TaskGroup) -> None:
        """Keep a connection to the language model ready, in ``tasks``."""
        self._tasks = tasks
        tasks.start_soon(self._warm)

    def hear(self, heard: Heard, channel: int = 0) -> None:
        """Take in what speech-to-text heard on ``channel``; never waits.

        Nothing waits for another channel: a turn that ends is published and answered at once,
        and its number, start and end give its place. A message that cannot be processed, for
        whatever reason, is skipped and reported, up to ``MAX_SKIPPED``.
        """
        try:
            self._hear(heard, channel)
        except Exception as error:
            self._skipped += 1
            if self._skipped > MAX_SKIPPED:
                raise
            logger.exception("a message of speech-to-text was skipped")
            reason = f"a message of speech-to-text was skipped: {type(error).__name__}"
            self._publisher.publish(turn_events.internal_error(reason))

    def _hear(self, heard: Heard, channel: int) -> None:
        tracker = self._trackers[channel]
        speaker, events = tracker.speaker, tracker.feed(heard)
        if self._in_stream is not None:
            self._in_stream.hear(heard, events, tracker)
        if isinstance(heard, StreamOpened):
            self._follow_engine(heard.engine)
        published = turn_events.of_connection(heard, speaker)
        if published is not None:
            self._publisher.publish(published)
        if isinstance(heard, StreamUnanswered | StreamFailed) or (
            isinstance(heard, StreamResumed) and heard.lost_from is not None
        ):
            self.has_lost_audio = True
        self._take(events)
        self._heard.set()

    def _follow_engine(self, name: str) -> None:
        """Publish that another engine recognises from now on."""
        before, self.engine = self.engine, self._engines.get(name, self.engine)
        if before is not None and self.engine != before:
            self._publisher.publish(SessionUpdated(stt=self.engine))

    def typed(self, command: TurnCreateCommand) -> None:
        """Take in a turn that comes as text. Raises ``InputError`` for an empty one."""
        if not command.text.strip():
            raise InputError("turn.create: text is empty")
        if command.final and not self._typed.is_open:
            self._take(self._typed.create(command.text, command.speaker, command.language))
            return
        order = self._typed_turns
        self._take(
            self._typed.feed(
                Transcript(
                    order,
                    command.text,
                    ended=command.final,
                    speaker=command.speaker,
                    language=command.language,
                )
            )
        )
        self._typed_turns += command.final

    def keyed(self, number: str) -> None:
        """Take in a number that the caller has typed on a telephone, beside any open turn."""
        self._take(self._typed.create(number))

    def finish(self) -> None:
        """End the open turns: no more input comes."""
        for tracker in (*self._trackers, self._typed):
            self._take(tracker.finish())

    async def wait(self, seconds: float, *, is_open: bool) -> None:
        """Wait at most ``seconds`` until a turn is open, or none is."""
        with anyio.move_on_after(seconds):
            while self.is_open != is_open:
                self._heard = anyio.Event()
                await self._heard.wait()

    def _take(self, events: Sequence[TurnEvent]) -> None:
        now = self._now()
        for event in events:
            spoken_at = None
            if isinstance(event, TurnEnded) and event.end is not None:
                spoken_at = self._audio_clock.heard_at(event.end)
            steps = self._dispatch.scheduler.heard(event, now, spoken_at)
            self._dispatch.start_calls(steps)
            published = turn_events.of_turn(event, now, spoken_at)
            if published is not None:
                self._publisher.publish(published)
            if isinstance(event, SpeechStarted) and self._tasks is not None:
                self._tasks.start_soon(self._warm)
            self._dispatch.publish(steps)

    async def _warm(self) -> None:
        """Open a connection before the turn ends; a failure shows when a request is sent."""
        with suppress(GatewayError):
            await self._gateway.warm()
